"""The ASGI application: reads requests within limits, answers them in threads."""

import asyncio
import contextlib
import functools
import json
import logging
from collections.abc import Generator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as WebRequest
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vmkiln.api.identity.login_turns import LoginTurns, too_many_logins
from vmkiln.api.protocol.arm import error_answer
from vmkiln.api.protocol.background import no_thread
from vmkiln.api.protocol.dispatcher import CORRELATION, REQUEST, Dispatcher, Request
from vmkiln.api.protocol.health import LIVENESS, READINESS
from vmkiln.api.protocol.reading import MOST_BODY_BYTES
from vmkiln.api.protocol.request_log import saw
from vmkiln.api.protocol.route import Answer, FileBody, Service
from vmkiln.errors import ArmError

BODY_SECONDS = 30
MOST_CHANGING = 24  # requests at once; others wait, and leave the rest of the threads to what only reads
BLOCK_BYTES = 64 * 1024
# what is hashed, or asked of an issuer, for somebody whom nobody knows yet: it has threads of its own
LOGINS = frozenset(
    {
        ("POST", "oauth2/token"),
        ("POST", "oauth2/v2.0/token"),
        ("GET", "vmkiln.builds/logins/address"),
        ("HEAD", "vmkiln.builds/logins/address"),
        ("POST", "vmkiln.builds/logins/redeem"),
    }
)
READING = frozenset({"GET", "HEAD", "OPTIONS"})
log = logging.getLogger(__name__)
ALWAYS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
}


def application(service: Service, dispatcher: Dispatcher) -> ASGIApp:
    """The service as an ASGI application."""
    changing, logins = Changing(), LoginTurns()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        web = WebRequest(scope, receive)
        headers = {name.lower(): value for name, value in web.headers.items()}
        if scope["method"] == "HEAD":
            headers.pop("range", None)  # which is defined for GET only
        try:
            async with asyncio.timeout(BODY_SECONDS):
                content = await _content(web)
        except ClientDisconnect:
            return
        except TimeoutError:
            too_slow = ArmError(408, "RequestTimeout", f"the body did not arrive within {BODY_SECONDS} s")
            response = _response(error_answer(too_slow))
        except ArmError as error:
            response = _response(error_answer(error))
        else:
            request = Request(
                method=scope["method"].upper(),
                raw_path=scope.get("raw_path") or scope["path"].encode(),
                raw_query=scope["query_string"],
                headers=headers,
                content=content,
                base_url=_base_url(web, headers),
                source=web.client.host if web.client else "",
            )
            arguments = (scope, dispatcher, service, request)
            # answered also when every thread waits for something; another method asks who calls, and so the database
            if scope["path"] in {LIVENESS, *READINESS} and scope["method"] == "GET":
                if scope["path"] != LIVENESS:
                    await service.health.look()
                response = _answered(*arguments)
            elif is_login(scope["method"], scope["path"]):
                found = await logins.answered(request.source, functools.partial(_answered, *arguments))
                response = found or _response(error_answer(too_many_logins()))
            else:
                async with contextlib.nullcontext() if scope["method"] in READING else changing.turn():
                    response = await _answered_in_thread(*arguments)
        await response(scope, receive, send)

    return answer


def is_login(method: str, path: str) -> bool:
    """Whether a request is one of `LOGINS`, however many slashes its path has (as paths are matched); pure."""
    plain = "/".join(word for word in path.lower().split("/") if word)
    return any(method == one and plain.endswith(end) for one, end in LOGINS)


async def _answered_in_thread(scope: Scope, dispatcher: Dispatcher, service: Service, request: Request) -> Response:
    """The answer, worked out in a thread; when the machine has none for it, that is the answer."""
    try:
        return await run_in_threadpool(_answered, scope, dispatcher, service, request)
    except Exception as error:  # `_answered` itself raises nothing
        log.error("a request cannot be answered now: %s", error)
        return _response(error_answer(no_thread()))


class Changing:
    """Requests that may change something: when the database is locked they wait in their threads, and only these do."""

    def __init__(self) -> None:
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def turn(self) -> asyncio.Semaphore:
        """To be held while such a request is answered."""
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MOST_CHANGING))


def _answered(scope: Scope, dispatcher: Dispatcher, service: Service, request: Request) -> Response:
    """The answer as it is sent: a long one takes a while to be written as JSON, too."""
    found = dispatcher.answer(service, request)
    _tell_log(scope, found)
    return _response(found, is_head=scope["method"] == "HEAD")


def _tell_log(scope: Scope, answer: Answer) -> None:
    ids = {"request_id": answer.headers[REQUEST], "correlation_id": answer.headers[CORRELATION]}
    saw(scope, caller=answer.caller.name, **ids)


async def _content(web: WebRequest) -> bytes:
    length = web.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > MOST_BODY_BYTES:
        raise _too_large()
    content = bytearray()
    async for chunk in web.stream():
        content += chunk
        if len(content) > MOST_BODY_BYTES:
            raise _too_large()
    return bytes(content)


def _too_large() -> ArmError:
    return ArmError(413, "RequestEntityTooLarge", f"a request may have at most {MOST_BODY_BYTES} bytes")


def _base_url(web: WebRequest, headers: Mapping[str, str]) -> str:
    """Where this service is reached, as the client sees it: scheme and Host header."""
    host = headers.get("host", "")
    if not host or any(letter in host for letter in "/\\@?#% \t\"'<>"):
        server = web.scope.get("server") or ("localhost", 443)
        host = f"{server[0]}:{server[1]}"
    return f"{web.scope.get('scheme', 'https')}://{host}"


def _response(answer: Answer, *, is_head: bool = False) -> Response:
    headers = {**ALWAYS, **answer.headers}
    body: Any = answer.body
    if body is None:
        return Response(status_code=answer.status, headers=headers)
    if isinstance(body, bytes | str):
        media_type = headers.pop("Content-Type", "text/plain; charset=utf-8")
        return Response(body, status_code=answer.status, headers=headers, media_type=media_type)
    if isinstance(body, FileBody):
        media_type = headers.pop("Content-Type", "application/octet-stream")
        headers["Content-Length"] = str(body.size_bytes)
        if is_head:
            return Response(status_code=answer.status, headers=headers, media_type=media_type)
        return _FilePart(_blocks(body), status_code=answer.status, headers=headers, media_type=media_type)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text, status_code=answer.status, headers=headers, media_type="application/json; charset=utf-8")


class _FilePart(StreamingResponse):
    """A part of a file on its way; the file is closed also when the client goes away before it has all."""

    def __init__(self, content: Generator[bytes, None, None], **named: Any) -> None:
        super().__init__(content, **named)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._content.close()


def _blocks(body: FileBody) -> Generator[bytes, None, None]:
    """A part of a file; Starlette reads each block in a thread."""
    left = body.size_bytes
    with body.path.open("rb") as file:
        file.seek(body.start)
        while left and (block := file.read(min(BLOCK_BYTES, left))):
            left -= len(block)
            yield block
