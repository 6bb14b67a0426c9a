"""One visit of a page: who comes, where from, and what they may ask the API for."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from vmkiln.errors import ArmError
from vmkiln.portal import session, trail
from vmkiln.portal.api_client import ApiClient
from vmkiln.portal.rendering import HEADERS, page

PREFIX = trail.PREFIX
LOGIN = f"{PREFIX}/login"
MOST_FORM_BYTES = 4 * 1024 * 1024
MOST_FIELDS = 20


@dataclass(frozen=True)
class Visit:
    """A request for a page, and the API as its visitor may use it; `id` is the ARM id in the page's address."""

    request: Request
    api: ApiClient

    @property
    def id(self) -> str:
        """The ARM id that the page shows."""
        return self.request.url.path.removeprefix(PREFIX).rstrip("/")

    async def form(self) -> dict[str, str]:
        """The fields of a form that a page of ours sent. Raises: `ArmError`."""
        session.check_own_page(self.request, self.api.base_url)
        length = self.request.headers.get("content-length", "")
        if not length.isdecimal() or int(length[:20]) > MOST_FORM_BYTES:
            raise ArmError(413, "RequestEntityTooLarge", f"a form may have at most {MOST_FORM_BYTES} bytes")
        content = await self.request.body()
        try:
            return await run_in_threadpool(_fields, content)
        except ValueError as error:
            raise ArmError(400, "InvalidForm", f"the form cannot be read: {error}") from error


def _fields(content: bytes) -> dict[str, str]:
    return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))


Page = Callable[[Visit], Awaitable[Response]]


def go_to(path: str) -> Response:
    """Send the visitor to another page of ours."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def base_url_of(request: Request) -> str:
    """Where the visitor reaches the service."""
    return f"{request.url.scheme}://{request.url.netloc}"


def visited(api: ASGIApp, show: Page, *, is_public: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """A page for Starlette. A visitor without a login is sent to it; a refusal of the API is shown in its own words."""

    async def answer(request: Request) -> Response:
        base_url = base_url_of(request)
        token = session.token_of(request)
        if not token and not is_public:
            return go_to(LOGIN)
        try:
            source = request.client.host if request.client else ""
            return await show(Visit(request, ApiClient(api, base_url, token, source)))
        except ArmError as error:
            if error.status == 401 and not is_public:
                response = go_to(LOGIN)
                session.end(response)
                return response
            return await error_page(error, is_inside=bool(token))

    return answer


async def error_page(error: ArmError, *, is_inside: bool, **values: Any) -> Response:
    """What was refused, with every mistake that the API names."""
    title = "Not found" if error.status == 404 else "Refused"
    return await page("error.html", status=error.status, error=error, is_inside=is_inside, title=title, **values)
