"""Whoever reads a log slowly costs the service no more than a mebibyte."""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import a_certificate
from in_process import InProcess
from loop_thread import in_a_thread
from test_storage_accounts import GROUP, NAME, add_account

from vmkiln.listener import Address, bound, serve
from vmkiln.listening.connections import Connections

MIB = 1024**2
LOG_BYTES = 250 * MIB
READERS = 8
READ_BYTES = 2 * MIB


def resident_bytes() -> int:
    """The memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def log(service: InProcess) -> str:
    path = service.service.settings.staging / GROUP / NAME / "packerlogs/run/customization.log"
    account = add_account(service)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(LOG_BYTES)
    return f"{account}/blobServices/default/containers/packerlogs/run/customization.log"


@pytest.fixture
def connect(service: InProcess, tmp_path: Path) -> Iterator[Callable[[], ssl.SSLSocket]]:
    certificate, key = a_certificate(tmp_path)
    with bound(Address("127.0.0.1", 0)) as listening:

        async def main(is_ready: Callable[[], None]) -> None:
            async def on_ready() -> None:
                is_ready()

            places = Connections(100, 100)
            await serve(service.app, listening, certificate=certificate, key=key, on_ready=on_ready, connections=places)

        trusted = ssl.create_default_context(cafile=certificate)

        def connected() -> ssl.SSLSocket:
            plain = socket.socket()
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            plain.settimeout(60)
            plain.connect(listening.getsockname())
            return trusted.wrap_socket(plain, server_hostname="127.0.0.1")

        with in_a_thread(main):
            yield connected


def test_slow_readers_of_a_long_log_cost_a_mebibyte_each(connect: Callable[[], ssl.SSLSocket], log: str) -> None:
    readers = [connect() for _ in range(READERS)]
    before = most = resident_bytes()
    for reader in readers:
        reader.sendall(f"GET {log} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer owner\r\n\r\n".encode())
    assert {reader.recv(12) for reader in readers} == {b"HTTP/1.1 200"}
    for _ in range(READ_BYTES // 16_384):
        for reader in readers:
            assert reader.recv(16_384)
        most = max(most, resident_bytes())
    assert most - before < READERS * MIB + 16 * MIB  # what is imported meanwhile, too
    for reader in readers:
        reader.close()
