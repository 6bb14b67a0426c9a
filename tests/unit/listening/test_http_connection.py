"""Who takes their time on a connection has so much of it; the limits are made short, and nothing is timed."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from certificates import a_certificate
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vmkiln import listener
from vmkiln.cli import arm_client
from vmkiln.listener import Address, bound, serve
from vmkiln.listening import http_connection
from vmkiln.listening.connections import Connections
from vmkiln.listening.http_connection import Phase

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]
SHORT = 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    with contextlib.suppress(ClientDisconnect):
        await Request(scope, receive).body()
        await PlainTextResponse("hello")(scope, receive, send)


@contextlib.asynccontextmanager
async def listening(
    folder: Path, application: ASGIApp = hello, door: Connections | None = None
) -> AsyncIterator[Connect]:
    certificate, key = a_certificate(folder)
    ready = asyncio.Event()

    async def on_ready() -> None:
        ready.set()

    with bound(Address("127.0.0.1", 0)) as at:
        serving = asyncio.create_task(
            serve(application, at, certificate=certificate, key=key, on_ready=on_ready, connections=door)
        )
        await asyncio.wait_for(ready.wait(), 30)
        trusted = ssl.create_default_context(cafile=certificate)
        opened: list[Streams] = []

        async def connect() -> Streams:
            opened.append(await asyncio.open_connection("127.0.0.1", at.getsockname()[1], ssl=trusted, limit=2**20))
            return opened[-1]

        try:
            yield connect
        finally:
            for _, writer in opened:
                writer.transport.abort()
            serving.cancel()
            await asyncio.wait([serving], timeout=30)


async def is_ended(reader: asyncio.StreamReader) -> bool:
    """Whether the service ends the connection, without a word."""
    try:
        return await asyncio.wait_for(reader.read(), 30) == b""
    except OSError:
        return True


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_LIMITS", dict.fromkeys((Phase.HEAD, Phase.BODY, Phase.REST), SHORT))
    monkeypatch.setattr(http_connection, "UNREAD_SECONDS", SHORT)


@pytest.mark.usefixtures("_short")
@pytest.mark.parametrize("sent", [b"", b"G", HEAD, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12345678"])
async def test_half_a_request_ends_its_connection(tmp_path: Path, sent: bytes) -> None:
    async with listening(tmp_path) as connect:
        reader, writer = await connect()
        writer.write(sent)
        assert await is_ended(reader)


@pytest.mark.usefixtures("_short")
async def test_what_is_sent_letter_by_letter_has_no_more_time(tmp_path: Path) -> None:
    async with listening(tmp_path) as connect:
        reader, writer = await connect()

        async def drip() -> None:
            with contextlib.suppress(OSError):
                while True:
                    writer.write(b"X")
                    await writer.drain()
                    await asyncio.sleep(SHORT / 10)

        dripping = asyncio.create_task(drip())
        assert await is_ended(reader)
        dripping.cancel()


@pytest.mark.usefixtures("_short")
async def test_half_of_a_second_request_ends_the_connection(tmp_path: Path) -> None:
    async with listening(tmp_path) as connect:
        reader, writer = await connect()
        writer.write(HEAD + b"\r\n")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.write(HEAD)
        assert await is_ended(reader)


@pytest.mark.usefixtures("_short")
async def test_whoever_reads_nothing_of_an_answer_is_let_go(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)
                yield b"x" * 65536

        try:
            await StreamingResponse(blocks())(scope, receive, send)
        finally:
            ended.set()

    async with listening(tmp_path, endless) as connect:
        _, writer = await connect()
        writer.write(HEAD + b"\r\n")
        await asyncio.wait_for(ended.wait(), 30)


async def test_whoever_takes_longer_to_be_answered_keeps_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: the limits are of what the client does, not of the service's work."""
    monkeypatch.setattr(http_connection, "_LIMITS", dict.fromkeys((Phase.HEAD, Phase.BODY, Phase.REST), SHORT))

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(4 * SHORT)
        await PlainTextResponse("hello")(scope, receive, send)

    async with listening(tmp_path, slow) as connect:
        reader, writer = await connect()
        writer.write(HEAD + b"\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"hello"), 30)).startswith(b"HTTP/1.1 200")


async def test_requests_beyond_the_limit_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MOST_REQUESTS", 1)
    begun, end = asyncio.Event(), asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await end.wait()
        await PlainTextResponse("hello")(scope, receive, send)

    async with listening(tmp_path, waits) as connect:
        first, second = await connect(), await connect()
        first[1].write(HEAD + b"\r\n")
        await asyncio.wait_for(begun.wait(), 30)
        second[1].write(HEAD + b"\r\n")
        told = await asyncio.wait_for(second[0].read(), 30)
        assert told.startswith(b"HTTP/1.1 503")
        # by which a client knows that nothing of it was begun, also of a change, and sends it again
        assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["code"] == arm_client.NOTHING_BEGUN
        end.set()
        assert (await asyncio.wait_for(first[0].readuntil(b"hello"), 30)).startswith(b"HTTP/1.1 200")


async def test_a_network_of_ipv6_is_one_address_of_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has one has more addresses than there are connections, and took the places of all who wait."""
    monkeypatch.setattr(listener, "network_of", lambda address: f"the network of {address}")
    door = Connections(20, 20)
    async with listening(tmp_path, door=door) as connect:
        await connect()
        assert set(door._waiting) == {"the network of 127.0.0.1"}


async def test_a_newcomer_is_served_beside_a_crowd_that_waits(tmp_path: Path) -> None:
    async with listening(tmp_path, door=Connections(20, 20)) as connect:
        crowd = [await connect() for _ in range(60)]
        reader, writer = await connect()
        writer.write(HEAD + b"\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"hello"), 30)).startswith(b"HTTP/1.1 200")
        assert await is_ended(crowd[0][0])
