"""The HTTPS listener: TLS always, an address that is checked, a graceful end."""

import asyncio
import errno
import re
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from certificates import a_certificate
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from vmkiln import listener
from vmkiln.errors import InputError, TaskEnded
from vmkiln.lifetime.ending import is_ending
from vmkiln.listener import (
    Address,
    _Server,
    bound,
    is_loopback,
    meetings,
    named_here,
    parse_address,
    serve,
    url_of,
    where,
)
from vmkiln.listening.connections import Connections


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8443", Address("127.0.0.1", 8443)),
        ("[::1]:0", Address("::1", 0)),
        ("9000", Address("127.0.0.1", 9000)),
        (":9000", Address("127.0.0.1", 9000)),
        ("127.1:8443", Address("127.0.0.1", 8443)),
        ("0:8443", Address("0.0.0.0", 8443)),
        ("0x7f000001:8443", Address("127.0.0.1", 8443)),
        ("1.2.3.4.5:8443", Address("1.2.3.4.5", 8443)),
        ("example.org:443", Address("example.org", 443)),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:http", "1:99999", "host:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--listen"):
        parse_address(text)


def test_an_address_that_is_told_can_be_typed() -> None:
    for text in ("https://[::1]:8443", "https://localhost:8443", "https://192.0.2.1:8443"):
        host, _, port = text.removeprefix("https://").rpartition(":")
        assert url_of(host.strip("[]"), int(port)) == text
        assert httpx.URL(text).port == 8443


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "example.org", "127.example.org")))


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("127.0.0.1", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("localhost", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_service_is_told_by_an_address_that_reaches_it(host: str, named: str) -> None:
    assert named_here(host) == named


@pytest.mark.parametrize(
    ("host", "told"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), (f"{'x' * 64}.org", f"{'x' * 64}.org")]
)
def test_where_it_cannot_listen_is_told_as_it_is_typed(host: str, told: str) -> None:
    with socket.create_server((host if ":" in host else "127.0.0.1", 0), family=family_of(host)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(InputError, match=re.escape(f"cannot listen on {told}:{port}: ")),
            bound(Address(host, port)),
        ):
            pass


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH])
async def test_an_error_of_one_connection_holds_up_no_other(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    async def fails(_listening: object) -> None:
        tried.append(1)
        raise OSError(number if len(tried) < 3 else errno.EBADF, "it went away")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", fails)
    monkeypatch.setattr(listener, "NO_FILES_SECONDS", 60.0)
    server = _Server(uvicorn.Config(hello), Connections(2, 2))
    async with asyncio.timeout(30):
        with bound(Address("127.0.0.1", 0)) as listening, pytest.raises(OSError, match="it went away"):
            await server._take_all(listening)
    assert (len(tried), caplog.text) == (3, "")


@pytest.mark.parametrize(
    ("own", "asked", "called", "is_near"),
    [
        ("127.0.0.1", "kiln.example.net", "kiln.example.net", True),
        ("0.0.0.0", None, "localhost", False),
        ("127.0.0.1", None, "localhost", True),
    ],
)
def test_where_it_listens_is_asked_of_the_socket(own: str, asked: str | None, called: str, is_near: bool) -> None:
    with socket.create_server((own, 0)) as listening:
        port = listening.getsockname()[1]
        found = where(listening, None if asked is None else Address(asked, 0))
    assert found == (Address(asked or own, port), f"https://{called}:{port}", is_near)
    _, far = meetings(found[0], "", "an authority", ["localhost"], is_near=is_near)
    assert (far is None) == is_near


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM, errno.EMFILE])
async def test_an_error_that_stays_is_not_met_without_a_pause(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = []

    async def fails(_listening: object) -> None:
        tried.append(1)
        raise OSError(number, "it is away")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", fails)
    server = _Server(uvicorn.Config(hello), Connections(2, 2))
    with bound(Address("127.0.0.1", 0)) as listening, pytest.raises(TimeoutError):
        await asyncio.wait_for(server._take_all(listening), 0.2)
    assert tried == [1]
    assert "a connection cannot be taken now: it is away" in caplog.text


async def test_a_socket_that_is_no_more_ends_the_listener() -> None:
    server = _Server(uvicorn.Config(hello), Connections(2, 2))
    with bound(Address("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        listening.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(60):
            with pytest.raises(OSError, match="Invalid argument"):
                await server._take_all(listening)


def test_a_port_that_is_taken_is_said() -> None:
    with (
        bound(Address("127.0.0.1", 0)) as first,
        pytest.raises(InputError, match="cannot listen"),
        bound(Address("127.0.0.1", first.getsockname()[1])),
    ):
        pass


def test_small_answers_are_not_held_back() -> None:
    with bound(Address("127.0.0.1", 0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # asyncio sets TCP_NODELAY only where it sees this


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


async def test_it_answers_over_tls_only_and_ends_when_cancelled(tmp_path: Path) -> None:
    certificate, key = a_certificate(tmp_path)
    ready = asyncio.Event()

    async def on_ready() -> None:
        ready.set()

    with bound(Address("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = asyncio.create_task(serve(hello, listening, certificate=certificate, key=key, on_ready=on_ready))
        await asyncio.wait_for(ready.wait(), 10)
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=certificate)) as client:
            assert (await client.get(f"https://127.0.0.1:{port}/")).text == "hello"
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.HTTPError):
                await client.get(f"http://127.0.0.1:{port}/")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 20)


async def until_it_ends(scope: Scope, receive: Receive, send: Send) -> None:
    async def lines() -> AsyncIterator[str]:
        while not is_ending(scope):
            yield "line\n"
            await asyncio.sleep(0.05)

    await StreamingResponse(lines())(scope, receive, send)


async def test_an_answer_without_end_ends_in_order_with_the_listener(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = a_certificate(tmp_path)
    ready = asyncio.Event()

    async def on_ready() -> None:
        ready.set()

    with bound(Address("127.0.0.1", 0)) as listening:
        address = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        serving = asyncio.create_task(
            serve(until_it_ends, listening, certificate=certificate, key=key, on_ready=on_ready)
        )
        await asyncio.wait_for(ready.wait(), 10)
        context = ssl.create_default_context(cafile=certificate)
        async with httpx.AsyncClient(verify=context) as client, client.stream("GET", address) as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == "line"
            serving.cancel()
            assert {line async for line in lines} <= {"line"}  # an end that was cut off raises
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, 60)
    assert "graceful shutdown exceeded" not in caplog.text


async def test_a_listener_that_takes_nobody_any_more_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_server: object, accepted: socket.socket, _address: str) -> None:
        accepted.close()
        raise ValueError("unforeseen")

    certificate, key = a_certificate(tmp_path)

    async def on_ready() -> None:
        monkeypatch.setattr(_Server, "_take", fails)
        with socket.create_connection(listening.getsockname()):
            pass

    with bound(Address("127.0.0.1", 0)) as listening, pytest.raises(TaskEnded):
        await asyncio.wait_for(serve(hello, listening, certificate=certificate, key=key, on_ready=on_ready), 30)


async def test_a_certificate_without_its_key_is_said(tmp_path: Path) -> None:
    certificate, key = a_certificate(tmp_path)
    key.write_text("not a key")

    async def on_ready() -> None:
        raise AssertionError

    with bound(Address("127.0.0.1", 0)) as listening, pytest.raises(InputError, match="cannot be used"):
        await serve(hello, listening, certificate=certificate, key=key, on_ready=on_ready)
