"""The portal's way to the API: ordinary requests with the visitor's own token, answered in this process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.errors import ArmError

OTHER_VERSION = "2024-03-01"
MOST_PAGES = 50
NONE: Mapping[str, str] = {}
REQUEST_ID = "x-ms-request-id"


def api_version_of(path: str) -> str:
    """The api-version to ask with; pure."""
    return NEWEST_API_VERSION if "/microsoft.virtualmachineimages/" in path.lower() else OTHER_VERSION


@dataclass(frozen=True)
class ApiClient:
    """Asks the API as one visitor.

    `base_url` is where the visitor reaches the service; `token` proves who they are; `source` is their address.
    """

    api: ASGIApp
    base_url: str
    token: str
    source: str = ""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] = NONE,
        part: str = "",
        asks_for: Mapping[str, str] = NONE,
        **named: str,
    ) -> Any:
        """The JSON of an answer, or its text; None when there is none.

        `part` is the range of a file that is wanted, `asks_for` are other headers, such as `If-Match`.

        Raises: `ArmError` for what the API refuses, with the id of the request among its headers.
        """
        found, _ = await self._answered(
            method, path, body=body, form=form, query={**query, **named}, headers={**asks_for, "Range": part}
        )
        return found

    async def with_etag(self, path: str) -> tuple[dict[str, Any], str]:
        """The JSON object of a GET, and the ETag of the state that it shows. Raises: `ArmError`."""
        found, headers = await self._answered("GET", path)
        return found, headers.get("ETag", "")

    async def _answered(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] = NONE,
        headers: Mapping[str, str] = NONE,
    ) -> tuple[Any, httpx.Headers]:
        sent = httpx.Headers({"Authorization": f"Bearer {self.token}"} if self.token else {}, encoding="utf-8")
        sent.update({name: value for name, value in headers.items() if value})
        asked = {"api-version": api_version_of(path), **query}
        content = None
        if body is not None:
            content = await run_in_threadpool(json.dumps, body)
            sent["Content-Type"] = "application/json"
        transport = httpx.ASGITransport(self.api, client=(self.source, 0))
        async with httpx.AsyncClient(transport=transport, base_url=self.base_url) as http:
            try:
                answer = await http.request(
                    method, quoted(path), params=asked, content=content, data=form, headers=sent
                )
            except httpx.InvalidURL as error:
                raise ArmError(400, "InvalidUri", f"the address cannot be asked for: {error}") from error
        found = await run_in_threadpool(_content_of, answer)
        if answer.status_code >= 400:
            raise refusal(answer.status_code, found, request_id=answer.headers.get(REQUEST_ID, ""))
        return found, answer.headers

    async def readable(self, path: str) -> dict[str, Any]:
        """The JSON object of a GET; an empty one when it is not there, or may not be read."""
        try:
            found: dict[str, Any] = await self.ask("GET", path)
        except ArmError as error:
            if error.status not in {403, 404}:
                raise
            return {}
        return found

    async def every(
        self, path: str, *, most_pages: int = MOST_PAGES, query: Mapping[str, str] = NONE
    ) -> list[dict[str, Any]]:
        """All items of a list, page after page."""
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = dict(query)
        for _ in range(most_pages):
            answer = await self.ask("GET", path, query=asked)
            found += answer["value"]
            following = httpx.URL(answer.get("nextLink") or "")
            if not following.query:
                break
            asked = {name: value for name, value in following.params.items() if name != "api-version"}
        return found


def _content_of(answer: httpx.Response) -> Any:
    """The JSON or text of an answer, which may have megabytes; pure."""
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return None if not answer.content else answer.json() if is_json else answer.text


def quoted(path: str) -> str:
    """A path (perhaps with a query) that can be sent as it is; pure."""
    plain, mark, query = path.partition("?")
    return quote(plain, safe="/:@!$&'()*+,;=~-._") + mark + query


def refusal(status: int, body: Any, *, request_id: str = "") -> ArmError:
    """An answer's error as the error it was, with the id of the request by which the service's log has it; pure."""
    error = body.get("error") if isinstance(body, dict) else None
    headers = {REQUEST_ID: request_id} if request_id else {}
    if isinstance(error, dict):
        message, details = str(error.get("message", "")), error.get("details") or ()
        return ArmError(status, str(error.get("code", "")), message, details=details, headers=headers)
    if isinstance(error, str):  # OAuth's shape (RFC 6749, section 5.2)
        return ArmError(status, error, str(body.get("error_description", "")), headers=headers)
    if isinstance(body, dict) and "message" in body:  # the oldest api-versions do not wrap errors
        return ArmError(status, str(body.get("code", "")), str(body["message"]), headers=headers)
    return ArmError(status, str(status), "the request was refused", headers=headers)
