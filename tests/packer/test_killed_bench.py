"""Programs that start a Packer or a PostgreSQL for a test or a measurement leave none, however they end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from windows_bench import needs_packer

TESTS = Path(__file__).parents[1]
SECONDS = 60
PACKER = """
import asyncio, pathlib, sys
from windows_bench import WindowsBench
from vmkiln.windows.steps import PowerShell
from orphan_guard import ended_by_sigterm
ended_by_sigterm()
bench = WindowsBench(pathlib.Path(sys.argv[1]) / "bench", is_listening=False)
asyncio.run(bench.build(PowerShell("never", "p", ())))
"""
DATABASE = """
import sys, threading
from orphan_guard import ended_by_sigterm
from postgresql import cluster
ended_by_sigterm()
with cluster() as server:
    print(server.directory, flush=True)
    threading.Event().wait()
"""


def living(word: str) -> list[str]:
    """The command lines of the processes that have a word in theirs, or in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes()
            if word.encode() in line + b"\0" + (entry / "environ").read_bytes():
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def wait_until_lives(word: str, *names: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not all(any(name in line for line in living(word)) for name in names):
        assert time.monotonic() < deadline, living(word)
        time.sleep(0.05)


def assert_soon_none_lives(word: str) -> None:
    deadline = time.monotonic() + SECONDS
    while left := living(word):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_a_killed_bench_leaves_no_packer(tmp_path: Path, end: signal.Signals) -> None:
    needs_packer()
    path = os.pathsep.join(map(str, (TESTS, TESTS / "packer", TESTS.parent)))
    environment = {**os.environ, "PYTHONPATH": path, "OF_THE_TEST": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PACKER, tmp_path], env=environment) as bench:
        try:
            wait_until_lives(str(tmp_path), "packer build", "container_forwarder")
        finally:
            bench.send_signal(end)
    assert_soon_none_lives(str(tmp_path))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_a_killed_bench_leaves_no_database(end: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", DATABASE]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        folder = bench.stdout.readline().strip()
        assert any("postgres" in line for line in living(folder))
        bench.send_signal(end)
    assert_soon_none_lives(folder)
    assert not Path(folder).exists()
