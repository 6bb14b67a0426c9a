"""Files that the API sends, passed on to a visitor piece by piece: one of gigabytes is never held here."""

from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmkiln.portal.api_client import OTHER_VERSION

PASSED_ON = {b"range", b"if-range", b"host", b"user-agent"}


class PassedOn(Response):
    """What the API answers under a path, asked with the visitor's token and only the headers that choose a part.

    It is always a file to keep, named `name`, and never something that a browser shows.
    """

    def __init__(self, api: ASGIApp, path: str, token: str, *, name: str) -> None:
        super().__init__()
        self._api, self._path, self._token, self._name = api, path, token, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, and send on what comes, with our headers in place of those that would say how to show it."""
        headers = [(name, value) for name, value in scope["headers"] if name in PASSED_ON]
        headers.append((b"authorization", f"Bearer {self._token}".encode("latin-1")))
        asked_for = {
            **scope,
            "path": self._path,
            "raw_path": quote(self._path).encode(),
            "root_path": "",
            "query_string": f"api-version={OTHER_VERSION}".encode(),
            "headers": headers,
        }
        ours = [
            (b"content-disposition", f"attachment; filename*=UTF-8''{quote(self._name, safe='')}".encode()),
            (b"x-content-type-options", b"nosniff"),
            *((name, value) for name, value in self.raw_headers if name == b"set-cookie"),
        ]

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in dict(ours)]
                message = {**message, "headers": [*kept, *ours]}
            await send(message)

        await self._api(asked_for, receive, send_on)
