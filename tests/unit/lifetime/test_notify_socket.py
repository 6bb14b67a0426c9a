"""systemd is told over a real datagram socket that the service is ready and lives, and only while it does."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.lifetime.notify_socket import NotifySocket, notify_socket
from vmkiln.lifetime.rounds import Rounds


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    return listening.recv(4096).decode().splitlines()


def test_systemd_is_told(systemd: socket.socket, tmp_path: Path) -> None:
    found = notify_socket({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "120000000"})
    assert found.watchdog_seconds == 120
    found.tell(READY="1", STATUS="two\nlines")
    assert heard(systemd) == ["READY=1", "STATUS=two lines"], "a line of its own for each value, whatever is in it"


def test_an_abstract_socket_is_found() -> None:
    name = f"vmkiln-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        notify_socket({"NOTIFY_SOCKET": f"@{name}"}).tell(STOPPING="1")
        assert heard(listening) == ["STOPPING=1"]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_systemd_nothing_is_told(environment: dict[str, str]) -> None:
    assert notify_socket(environment) == NotifySocket()
    notify_socket(environment).tell(READY="1")


def test_a_systemd_that_does_not_listen_is_no_reason_to_fail(tmp_path: Path) -> None:
    NotifySocket(str(tmp_path / "gone")).tell(READY="1")


@pytest.mark.parametrize("environment", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": ""}])
def test_a_watchdog_of_another_process_is_not_ours(environment: dict[str, str]) -> None:
    whole = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1000000", **environment}
    assert notify_socket(whole).watchdog_seconds == 0
    assert notify_socket({**whole, "WATCHDOG_PID": str(os.getpid()), "WATCHDOG_USEC": "5"}).watchdog_seconds > 0


async def test_the_watchdog_is_told_only_while_all_is_well(systemd: socket.socket, tmp_path: Path) -> None:
    problems: list[str] = []
    watched = NotifySocket(str(tmp_path / "notify"), 0.03).watched(Rounds(), lambda: problems)
    task = asyncio.create_task(watched)
    try:
        assert "WATCHDOG=1" in await asyncio.to_thread(heard, systemd)
        problems.append("the janitor is stuck")
        while (told := await asyncio.to_thread(heard, systemd))[0] == "WATCHDOG=1":
            pass
        assert told == ["STATUS=the janitor is stuck"]
        for _ in range(3):
            assert await asyncio.to_thread(heard, systemd) == ["STATUS=the janitor is stuck"]
        problems.clear()
        while (await asyncio.to_thread(heard, systemd))[0] != "WATCHDOG=1":
            pass
    finally:
        task.cancel()
