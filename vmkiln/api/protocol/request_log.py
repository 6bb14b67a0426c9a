"""The log of requests, when it is asked for: method, path, status, duration, caller, ids. Never a query or a header.

A query may hold signatures and filters, a header a token; what is left is made harmless and cut to a length.
"""

import logging
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmkiln.audit.act import plain

LOGGER = "vmkiln.requests"
SEEN = "vmkiln.seen"
MOST_PATH_LETTERS = 2000
MOST_METHOD_LETTERS = 20
log = logging.getLogger(LOGGER)


@dataclass
class Seen:
    """What is known of a request when its answer is there."""

    status: int = 0
    caller: str = ""
    request_id: str = ""
    correlation_id: str = ""


def saw(scope: Scope, *, caller: str, request_id: str, correlation_id: str) -> None:
    """Tell the log who asked, and the ids of the request; nothing happens when there is no log."""
    seen = scope.get(SEEN)
    if isinstance(seen, Seen):
        seen.caller, seen.request_id, seen.correlation_id = caller, request_id, correlation_id


def with_request_log(application: ASGIApp) -> ASGIApp:
    """The application, each of its requests one line in the log when it is over."""
    log.setLevel(logging.INFO)  # it was asked for, whatever the level of the other loggers is

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        began = time.monotonic()
        seen = scope[SEEN] = Seen()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
            await send(message)

        try:
            await application(scope, receive, told)
        finally:
            _tell(scope, seen, milliseconds=round((time.monotonic() - began) * 1000))

    return answer


def _tell(scope: Scope, seen: Seen, *, milliseconds: int) -> None:
    client = scope.get("client")
    parts: dict[str, str | int] = {
        "method": plain(scope["method"], MOST_METHOD_LETTERS),
        "path": plain(scope["path"], MOST_PATH_LETTERS),
        "status": seen.status,  # 0: the client was gone before it had one
        "ms": milliseconds,
        "caller": plain(seen.caller, 260),
        "source": plain(client[0], 60) if client else "",
        "request_id": seen.request_id,
        "correlation_id": seen.correlation_id,
    }
    text = "{method} {path} {status} {ms} ms".format(**parts)
    more = "".join(f" {name}={parts[name]}" for name in ("caller", "source", "request_id") if parts[name])
    log.info("%s%s", text, more, extra=parts)
