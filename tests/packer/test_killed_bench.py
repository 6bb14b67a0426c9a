"""Programs that start a Packer or a PostgreSQL for a test or a measurement leave none, however they end."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from orphan_guard import ENDS
from windows_bench import needs_packer

TESTS = Path(__file__).parents[1]
SECONDS = 60
PACKER = """
import asyncio, pathlib, sys
from windows_bench import WindowsBench
from vmkiln.windows.steps import PowerShell
from orphan_guard import ended_by_signals
ended_by_signals()
bench = WindowsBench(pathlib.Path(sys.argv[1]) / "bench", is_listening=False)
asyncio.run(bench.build(PowerShell("never", "p", ())))
"""
DATABASE = """
import sys, threading
from orphan_guard import ended_by_signals
from postgresql import cluster
ended_by_signals()
with cluster() as server:
    print(server.directory, flush=True)
    threading.Event().wait()
"""
CLEANING = """
import subprocess, sys
from orphan_guard import WITH_US, ended_by_signals, group_is_killed, when_killed
ended_by_signals()
child = subprocess.Popen([*WITH_US, "sleep", "1000"], start_new_session=True)
with when_killed(*group_is_killed(child.pid)):
    try:
        print("begun", flush=True)
        sys.stdin.readline()
    finally:
        print("cleaning up", flush=True)
        sys.stdin.readline()
        {last}
"""
UNGUARDED = """
import subprocess, sys
from orphan_guard import WITH_US, ended_by_signals
ended_by_signals()
subprocess.Popen([*WITH_US, "sleep", "1000"], start_new_session=True)
print("begun", flush=True)
sys.stdin.readline()
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


def end(program: "subprocess.Popen[str]", ends: tuple[signal.Signals, ...]) -> None:
    """Send a program one signal, or several of them again and again until it has ended."""
    deadline = time.monotonic() + SECONDS
    for each in itertools.chain(ends, itertools.cycle(ends) if len(ends) > 1 else ()):
        program.send_signal(each)
        if program.poll() is not None:
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "ends",
    [(signal.SIGTERM,), (signal.SIGKILL,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGHUP)],
    ids=lambda ends: "-".join(end.name for end in ends),
)
def test_a_killed_bench_leaves_no_packer(tmp_path: Path, ends: tuple[signal.Signals, ...]) -> None:
    needs_packer()
    path = os.pathsep.join(map(str, (TESTS, TESTS / "packer", TESTS.parent)))
    environment = {**os.environ, "PYTHONPATH": path, "OF_THE_TEST": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PACKER, tmp_path], env=environment, text=True) as bench:
        try:
            wait_until_lives(str(tmp_path), "packer build", "container_forwarder")
        finally:
            end(bench, ends)
    assert_soon_none_lives(str(tmp_path))


@pytest.mark.parametrize(
    "ends",
    [(signal.SIGTERM,), (signal.SIGKILL,), (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)],
    ids=lambda ends: "-".join(end.name for end in ends),
)
def test_a_killed_bench_leaves_no_database(ends: tuple[signal.Signals, ...]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", DATABASE]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        folder = bench.stdout.readline().strip()
        assert any("postgres" in line for line in living(folder))
        end(bench, ends)
    assert_soon_none_lives(folder)
    assert not Path(folder).exists()


@contextlib.contextmanager
def started(program: str, word: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that has said that it began, and a child of its that lives."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OF_THE_TEST": word}
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        wait_until_lives(word, "sleep 1000")
        yield process


def test_no_further_signal_disturbs_the_cleaning_up(tmp_path: Path) -> None:
    with started(CLEANING.format(last="child.kill()"), str(tmp_path)) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning up\n"
        for each in ENDS:
            process.send_signal(each)
        process.communicate("\n", timeout=SECONDS)
        assert process.returncode == 128 + signal.SIGTERM
    assert_soon_none_lives(str(tmp_path))


def test_the_guard_ends_what_a_failed_cleaning_up_left(tmp_path: Path) -> None:
    with started(CLEANING.format(last="raise ValueError"), str(tmp_path)) as process:
        process.communicate("\n\n", timeout=SECONDS)
    assert_soon_none_lives(str(tmp_path))


def test_what_has_no_guard_yet_ends_with_who_started_it(tmp_path: Path) -> None:
    with started(UNGUARDED, str(tmp_path)) as process:
        process.kill()
    assert_soon_none_lives(str(tmp_path))
