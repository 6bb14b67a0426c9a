"""One visit of a page: who comes, where from, and what they may ask the API for."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from vmkiln.errors import ArmError
from vmkiln.portal import scheme, session, told, trail
from vmkiln.portal.api_client import ApiClient
from vmkiln.portal.rendering import HEADERS, OfVisit, filled_in_for, page
from vmkiln.portal.told import Done

PREFIX = trail.PREFIX
LOGIN = session.LOGIN
MOST_FORM_BYTES = 4 * 1024 * 1024
MOST_FIELDS = 100
UNSEEN = "secret."  # how the name of a field begins whose value no page has again
KEPT = "kept"  # a form that was sent when the session had ended, as JSON
MOST_KEPT_LETTERS = 1024 * 1024
LOGINS = "/providers/Vmkiln.Builds/logins"
RENEWALS = "/providers/Vmkiln.Builds/sessions/renew"


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
        except (ValueError, RecursionError) as error:
            raise ArmError(400, "InvalidForm", f"the form cannot be read: {error}") from error


def _fields(content: bytes) -> dict[str, str]:
    found = _sent(content)
    if KEPT not in found or "next" in found:  # the login's own form carries it on
        return found
    kept = json.loads(found[KEPT])
    if not isinstance(kept, dict):
        raise ValueError("what was kept of a form is none")
    return {str(name): str(value) for name, value in kept.items()}


def _sent(content: bytes) -> dict[str, str]:
    return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))


Page = Callable[[Visit], Awaitable[Response]]


def go_to(path: str) -> Response:
    """Send the visitor to another page of ours."""
    return RedirectResponse(path, status_code=303, headers=HEADERS)


def done(what: Done, name: str, path: str) -> Response:
    """Send the visitor to another page of ours, which says what was done with what is called `name`."""
    response = go_to(path)
    told.tell(response, what, name)
    return response


def check_typed(form: Mapping[str, str], name: str, what: str) -> None:
    """Whoever deletes something has written its name; in any case, for so are names of Azure's. Raises: `ArmError`."""
    if form.get("name", "").strip().lower() != name.lower():
        raise ArmError(400, "InvalidParameter", f"write the name of the {what} to delete it", target="name")


def base_url_of(request: Request) -> str:
    """Where the visitor reaches the service."""
    return f"{request.url.scheme}://{request.url.netloc}"


def visited(api: ASGIApp, show: Page, *, is_public: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """A page for Starlette; a refusal of the API is shown in its own words. A session is renewed while it is used.

    A visitor without a login is sent to it, and comes back to the page, or to the form that was sent.
    """

    async def answer(request: Request) -> Response:
        base_url = base_url_of(request)
        token = session.token_of(request)
        source = request.client.host if request.client else ""
        visit = Visit(request, ApiClient(api, base_url, token, source))
        text = told.told(request)
        with filled_in_for(OfVisit(text, scheme.chosen(request), session.name_of(token))):
            try:
                response = await (show(visit) if token or is_public else _to_login(visit))
            except ArmError as error:
                return told.once(await _refused(visit, error, is_public=is_public), text)
        told.once(response, text)
        if not is_public and session.wants_renewal(token):
            await _renew(visit, response)
        return response

    return answer


def _address_of(request: Request) -> str:
    """The page that is asked for, with its query; pure."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


async def _refused(visit: Visit, error: ArmError, *, is_public: bool) -> Response:
    if error.status == 401 and not is_public:
        try:
            return await _to_login(visit)
        except ArmError as other:
            error = other
    wanted = _address_of(visit.request) if visit.request.method == "GET" else ""
    return await error_page(error, is_inside=bool(visit.api.token), wanted=wanted)


async def _to_login(visit: Visit) -> Response:
    """The way to the login and back; a form that was sent is kept over it."""
    request = visit.request
    if request.method != "POST":
        response = go_to(session.login_address(_address_of(request)))
    else:
        sent = {name: value for name, value in (await visit.form()).items() if not name.startswith(UNSEEN)}
        kept = await run_in_threadpool(json.dumps, sent)
        response = await login_page(visit, status=401, wanted=request.url.path, kept=kept, has_ended=True)
    if visit.api.token:
        session.end(response)
    return response


async def provider_of(visit: Visit) -> Mapping[str, str]:
    """The issuer at which people log in, by its `issuer` and `name`; both '' when there is none."""
    answer = await replace(visit.api, token="").ask("GET", LOGINS)
    return answer["value"][0] if answer["value"] else {"issuer": "", "name": ""}


async def login_page(
    visit: Visit,
    *,
    status: int = 200,
    wanted: str = "",
    kept: str = "",
    code: str = "",
    app_id: str = "",
    error: ArmError | None = None,
    has_ended: bool = False,
) -> Response:
    """The form to log in with. `kept` is a form that waits, as JSON; `code` that of a link which logs in once."""
    too_large = len(kept) > MOST_KEPT_LETTERS
    return await page(
        "login.html",
        status=status,
        title="Log in to vmkiln",
        wanted=session.own_address(wanted),
        kept="" if too_large else kept,
        is_lost=too_large,
        code=code,
        app_id=app_id,
        error=error,
        has_ended=has_ended,
        provider=(await provider_of(visit))["name"],
    )


async def _renew(visit: Visit, response: Response) -> None:
    """Put a new token in place of the visitor's; where that is refused the old one lasts to its end."""
    try:
        answer = await visit.api.ask("POST", RENEWALS)
    except ArmError as error:
        if error.status in {400, 403}:  # a token of another issuer, or a login too long ago: it stays so
            session.refuse_renewal(visit.api.token)
        return
    session.begin(response, str(answer["access_token"]), seconds=int(answer["expires_in"]))


async def error_page(error: ArmError, *, is_inside: bool, **values: Any) -> Response:
    """What was refused, with every mistake that the API names."""
    title = "Not found" if error.status == 404 else "Not answered" if error.status >= 500 else "Refused"
    return await page("error.html", status=error.status, error=error, is_inside=is_inside, title=title, **values)
