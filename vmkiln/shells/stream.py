"""A way for bytes in both directions at once through an HTTPS service: one request whose body and answer have no end.

It begins with lines of JSON from the host to the visitor: what it does, why it cannot, the key. Then bytes pass.
Whatever is sent waits for whoever reads it, so a slow reader costs no memory but the buffers of the connections.
Source: RFC 9112, 7.1 (chunked); h11's documentation of a connection's states.
"""

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import h11

from vmkiln.errors import ArmError, InputError, VmkilnError

CONNECT_SECONDS = 10.0
MEETING_SECONDS = 90.0  # until the answer begins, which it does when the other side is there
CHUNK_BYTES = 64 * 1024
LONGEST_LINE_BYTES = 64 * 1024
MOST_REFUSAL_BYTES = 64 * 1024
CLOSING_SECONDS = 5.0
HTTPS_PORT = 443
# a peer whose machine lost its power is noticed within a minute
ALIVE = (
    (socket.SO_KEEPALIVE, socket.SOL_SOCKET, 1),
    (socket.TCP_KEEPIDLE, socket.IPPROTO_TCP, 30),
    (socket.TCP_KEEPINTVL, socket.IPPROTO_TCP, 10),
    (socket.TCP_KEEPCNT, socket.IPPROTO_TCP, 3),
)
log = logging.getLogger(__name__)


class Stream:
    """One way. One task at a time reads, and one writes; `is_over` says that the other side has ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, http: h11.Connection) -> None:
        self._reader, self._writer, self._http = reader, writer, http
        self._unread = bytearray()
        self.is_over = False

    async def read(self) -> bytes:
        """Some bytes of the other side; none when it ended. Raises: `OSError`, `VmkilnError` for what is no HTTP."""
        if self._unread:
            found = bytes(self._unread)
            self._unread.clear()
            return found
        while True:
            try:
                event = await self._event()
            except OSError:
                self.is_over = True
                raise
            if isinstance(event, h11.Data) and event.data:
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self.is_over = True
                return b""

    async def write(self, content: bytes) -> None:
        """Send bytes, and wait until there is room for more. Raises: `OSError`."""
        await self._send(h11.Data(data=content))

    async def end(self) -> None:
        """Say that nothing more comes; the other side's bytes come still. Raises: `OSError`."""
        await self._send(h11.EndOfMessage())

    async def say(self, **words: str) -> None:
        """Send a line of what stands before the bytes. Raises: `OSError`."""
        await self.write(json.dumps(words).encode() + b"\n")

    async def line(self) -> dict[str, Any]:
        """One such line; an empty one when the other side ended. Raises: `OSError`, `VmkilnError`."""
        found = bytearray()
        while b"\n" not in found:
            chunk = await self.read()
            if not chunk:
                return {}
            found += chunk
            if len(found) > LONGEST_LINE_BYTES:
                raise VmkilnError("the other side says a line without an end")
        first, _, rest = bytes(found).partition(b"\n")
        self._unread += rest
        try:
            words = json.loads(first)
        except ValueError as error:
            raise VmkilnError("the other side says what is no JSON") from error
        return words if isinstance(words, dict) else {}

    async def answered(self) -> None:
        """Wait until the service says whether the other side is there. Raises: `ArmError` when it is not, `OSError`."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                break
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("the service closed the connection")
        if event.status_code != 200:
            raise _refusal(event.status_code, await self._rest())

    async def _rest(self) -> bytes:
        found = bytearray()
        with contextlib.suppress(OSError, VmkilnError):
            while len(found) < MOST_REFUSAL_BYTES and (chunk := await self.read()):
                found += chunk
        return bytes(found)

    async def _send(self, event: h11.Data | h11.EndOfMessage) -> None:
        try:
            content = self._http.send(event)
        except h11.LocalProtocolError as error:  # such as a word of what failed behind the end
            raise ConnectionResetError(f"nothing more can be sent: {error}") from error
        self._writer.write(content or b"")
        await self._writer.drain()

    async def _event(self) -> Any:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise ConnectionResetError(f"the connection broke off: {error}") from error
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self._reader.read(CHUNK_BYTES))


def _refusal(status: int, body: bytes) -> ArmError:
    """What the service says in place of a way; pure."""
    try:
        error = json.loads(body)["error"]
        return ArmError(status, str(error["code"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return ArmError(status, "UnexpectedAnswer", f"the service answered {status}")


@contextlib.asynccontextmanager
async def opened(base: str, path: str, token: str, trusted: ssl.SSLContext, name: str = "") -> AsyncIterator[Stream]:
    """The way that a token is for; it is closed when the block is left. `name` is what the certificate is for.

    Raises: `ArmError` when the service refuses or nobody came; `OSError`, `TimeoutError` when it is not reached;
    `InputError` for what is no HTTPS URL.
    """
    parts = urlsplit(base)
    if parts.scheme != "https" or not parts.hostname:
        raise InputError(f"{base[:200]} is no HTTPS URL")
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(
            parts.hostname,
            parts.port or HTTPS_PORT,
            ssl=trusted,
            server_hostname=name or parts.hostname,
            limit=CHUNK_BYTES,
        )
    try:
        keep_asking(writer)
        http = h11.Connection(h11.CLIENT)
        headers = [("Host", parts.netloc), ("Authorization", f"Bearer {token}"), ("Transfer-Encoding", "chunked")]
        target = parts.path.rstrip("/") + path
        writer.write(http.send(h11.Request(method="POST", target=target, headers=headers)) or b"")
        await writer.drain()
        found = Stream(reader, writer, http)
        async with asyncio.timeout(MEETING_SECONDS):
            await found.answered()
        yield found
        with contextlib.suppress(OSError, h11.LocalProtocolError):
            writer.write(http.send(h11.EndOfMessage()) or b"")
    finally:
        writer.close()
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


def keep_asking(writer: asyncio.StreamWriter | asyncio.Transport) -> None:
    """Have the kernel ask now and then whether the peer is there still."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        with contextlib.suppress(OSError):  # it was closed just now
            for option, level, value in ALIVE:
                connection.setsockopt(level, option, value)


async def passed_between(
    way: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: "asyncio.Task[bytes] | None" = None
) -> None:
    """Pass bytes between a way and a socket until either side ends, whose last bytes arrive; a break is told.

    `first` reads the way already, for whoever had to notice its end before. Raises: what was not foreseen.
    """

    async def to_way() -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await way.write(chunk)

    async def from_way() -> None:
        chunk = await (first or way.read())
        while chunk:
            writer.write(chunk)
            await writer.drain()
            chunk = await way.read()

    passing = [asyncio.create_task(to_way()), asyncio.create_task(from_way())]
    try:
        done, _ = await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            try:
                task.result()
            except (OSError, VmkilnError) as error:
                log.info("the way into a failed VM broke off: %s", str(error) or type(error).__name__)
    finally:
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
