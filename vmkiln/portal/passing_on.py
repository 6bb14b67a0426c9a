"""Files that the API sends, passed on to a visitor piece by piece: one of gigabytes is never held here."""

from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmkiln.portal.api_client import api_version_of

PASSED_ON = {b"range", b"if-range", b"host", b"user-agent"}


class PassedOn(Response):
    """What the API answers under a path, asked with the visitor's token and only the headers that choose a part.

    It is a file to keep, named `name`, and never something that a browser shows; but with `shown_as`, the type of what
    we have made ourselves, it is shown as that and as nothing else, and no browser keeps it.
    """

    def __init__(self, api: ASGIApp, path: str, token: str, *, name: str, shown_as: str = "") -> None:
        super().__init__()
        self._api, self._path, self._token, self._name, self._shown_as = api, path, token, name, shown_as

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, and send on what comes, with our headers in place of those that would say how to show it."""
        headers = [(name, value) for name, value in scope["headers"] if name in PASSED_ON]
        headers.append((b"authorization", f"Bearer {self._token}".encode("latin-1")))
        asked_for = {
            **scope,
            "path": self._path,
            "raw_path": quote(self._path).encode(),
            "root_path": "",
            "query_string": f"api-version={api_version_of(self._path)}".encode(),
            "headers": headers,
        }
        how = "inline" if self._shown_as else "attachment"
        ours = [
            (b"content-disposition", f"{how}; filename*=UTF-8''{quote(self._name, safe='')}".encode()),
            (b"x-content-type-options", b"nosniff"),
            *((name, value) for name, value in self.raw_headers if name == b"set-cookie"),
        ]

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                is_shown = self._shown_as and message["status"] < 400
                shown = [(b"content-type", self._shown_as.encode()), (b"cache-control", b"no-store")]
                all_ours = [*ours, *(shown if is_shown else [])]
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in dict(all_ours)]
                message = {**message, "headers": [*kept, *all_ours]}
            await send(message)

        await self._api(asked_for, receive, send_on)
