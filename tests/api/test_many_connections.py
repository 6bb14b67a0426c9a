"""Thousands of connections that say nothing, or half of something, leave others served and the log short."""

import logging
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from certificates import a_certificate
from loop_thread import in_a_thread
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from vmkiln.host.confinement.file_limit import raise_file_limit
from vmkiln.listener import Address, bound, room_for, serve
from vmkiln.listening.connections import Connections

CROWD = 5_000
IN_TLS = 300  # of them; the others are cheaper to open, and as costly to keep
MOST, MOST_OF_AN_ADDRESS = 400, 150
NEWCOMERS_EVERY = 500
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Service:
    port: int
    trusted: ssl.SSLContext
    connections: Connections


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    certificate, key = a_certificate(tmp_path)
    connections = Connections(MOST, MOST_OF_AN_ADDRESS)
    with bound(Address("127.0.0.1", 0)) as listening:

        async def main(is_ready: Callable[[], None]) -> None:
            async def on_ready() -> None:
                is_ready()

            await serve(hello, listening, certificate=certificate, key=key, on_ready=on_ready, connections=connections)

        port = listening.getsockname()[1]
        with in_a_thread(main):
            yield Service(port, ssl.create_default_context(cafile=certificate), connections)


@pytest.fixture
def _all_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit()
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def is_served(service: Service) -> bool:
    with httpx.Client(verify=service.trusted, timeout=30) as client:
        return client.get(f"https://127.0.0.1:{service.port}/").text == "hello"


def opened(service: Service, number: int) -> socket.socket:
    """One of the crowd: of one of many addresses, or of the same; without TLS, with half of its greeting, or in it."""
    found = socket.socket()
    found.settimeout(30)
    if number % 2:
        found.bind((f"127.0.{number % 7}.{2 + number % 250}", 0))
    found.connect(("127.0.0.1", service.port))
    if number % (CROWD // IN_TLS) == 0:
        try:
            inside = service.trusted.wrap_socket(found, server_hostname="127.0.0.1")
            inside.sendall(REQUEST if number % 2 else b"")
        except OSError:  # its place was needed
            return found
        return inside
    if number % 3 == 0:
        found.sendall(b"\x16\x03\x01\x02\x00\x01")
    return found


@pytest.mark.usefixtures("_all_files")
def test_thousands_that_say_nothing_leave_others_served(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """As many as a process may open files here, or 5,000."""
    count = min(CROWD, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1_000)
    crowd: list[socket.socket] = []
    try:
        with caplog.at_level(logging.DEBUG, logger="asyncio"):
            for number in range(count):
                crowd.append(opened(service, number))
                if number % NEWCOMERS_EVERY == NEWCOMERS_EVERY - 1:
                    assert is_served(service), f"not beside {number} others"
                    assert len(service.connections) <= MOST
        assert is_served(service)
        assert service.connections.closed_for_others > count - 2 * MOST
        assert service.connections.refused == 0
    finally:
        for one in crowd:
            one.close()
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) < 100


@pytest.mark.usefixtures("_all_files")
def test_without_limits_the_crowd_keeps_its_places(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: such a crowd does hold connections; only the limits take them away."""
    monkeypatch.setattr(service.connections, "_most", 10_000)
    monkeypatch.setattr(service.connections, "_most_of_an_address", 10_000)
    crowd = [opened(service, number) for number in range(3 * MOST_OF_AN_ADDRESS)]
    assert is_served(service)
    assert len(service.connections) >= len(crowd)
    for one in crowd:
        one.close()


def test_a_process_with_few_files_takes_fewer_connections() -> None:
    assert [room_for(2_000, files) for files in (20_000, 1_024, 256)] == [2_000, 512, 128]
