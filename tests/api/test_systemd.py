"""A service and a worker under systemd: what their units ask for, and what the real commands tell."""

import configparser
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_pipe import unread

from vmkiln.cli import interrupts
from vmkiln.lifetime import last_words

UNITS = Path(__file__).parents[2] / "packaging/systemd"
SERVES = """
import sys
from pathlib import Path
from vmkiln.cli.commands import serve
from vmkiln.cli.interrupts import host_to_end
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.listener import Address
from vmkiln.settings import Settings
host_to_end(serve._serve(Settings(Path(sys.argv[1])), Address("127.0.0.1", 0), None, HostIdentity()), ended="ended")
"""
WORKS = """
import sys
from pathlib import Path
from vmkiln.cli.commands import worker
from vmkiln.cli.interrupts import host_to_end
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.settings import Settings
host_to_end(worker._work(Settings(Path(sys.argv[1])), HostIdentity()), ended="ended")
"""


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_a_unit_waits_for_ready_and_watches(unit: Path) -> None:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string(unit.read_text())
    service = found["Service"]
    assert service["Type"] == "notify"
    assert service["Restart"] == "always"
    assert int(service["WatchdogSec"]) >= 60, "a machine that is busy is not taken for dead"
    assert int(service["TimeoutStartSec"]) > int(service["WatchdogSec"])


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(60)
        yield listening


LOGS = """
import logging, threading, time
from vmkiln import process_log
from vmkiln.setting_texts.declaration import LogFormat, LogLevel
process_log.set_up(LogLevel.INFO, LogFormat.TEXT)
def talk():
    while True:
        time.sleep(0.001)
        if process_log._writer is not None:
            logging.getLogger("vmkiln.test").info("nobody reads this")
threading.Thread(target=talk, daemon=True).start()
"""
HANGS = """
import asyncio, threading
from vmkiln import service
from vmkiln.cli import interrupts
from vmkiln.waiting.off_loop import off_loop
interrupts.END_SECONDS = 2.0
async def hangs(*_arguments, **_named):
    try:
        await asyncio.Event().wait()
    finally:
        await off_loop(threading.Event().wait)
service._look_after_sessions = hangs
"""


@pytest.mark.parametrize("program", [SERVES, WORKS], ids=["serve", "worker"])
def test_it_lives_and_ends_though_nobody_reads_its_log(tmp_path: Path, systemd: socket.socket, program: str) -> None:
    """Standard error is a full pipe from the start: nothing waits for it, on the loop or at the end."""
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    with unread(LOGS + program, tmp_path / "home", environment={**os.environ, **told}) as process:
        heard: list[str] = []
        deadline = time.monotonic() + 60
        while heard.count("WATCHDOG=1") < 10 or "READY=1" not in heard:
            assert time.monotonic() < deadline
            heard += systemd.recv(4096).decode().splitlines()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_an_end_that_hangs_has_a_limit_and_tells_what_it_waits_for(tmp_path: Path, systemd: socket.socket) -> None:
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    command = [sys.executable, "-c", HANGS + SERVES, str(tmp_path / "home")]
    with subprocess.Popen(command, env={**os.environ, **told}, stderr=subprocess.PIPE, text=True) as process:
        try:
            while "READY=1" not in systemd.recv(4096).decode().splitlines():
                pass
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "asked to end, and the clean-up did not come to an end within 2 s" in said
    assert "session in to_its_end" in said
    assert "off-loop" in said


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_systemd_waits_a_little_longer_than_the_end_may_last(unit: Path) -> None:
    [seconds] = [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith("TimeoutStopSec=")]
    assert int(seconds) > interrupts.END_SECONDS + last_words.SAY_SECONDS


@pytest.mark.parametrize("program", [SERVES, WORKS], ids=["serve", "worker"])
def test_it_is_ready_lives_and_ends(tmp_path: Path, systemd: socket.socket, program: str) -> None:
    told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
    command = [sys.executable, "-c", program, str(tmp_path / "home")]
    with subprocess.Popen(command, env={**os.environ, **told}, stderr=subprocess.PIPE, text=True) as process:
        try:
            heard: list[str] = []
            deadline = time.monotonic() + 60
            while heard.count("WATCHDOG=1") < 3 or "READY=1" not in heard:
                assert time.monotonic() < deadline
                heard += systemd.recv(4096).decode().splitlines()
            process.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in heard:
                heard += systemd.recv(4096).decode().splitlines()
            assert process.wait(60) == 0
        finally:
            process.kill()
