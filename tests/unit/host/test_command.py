"""The one place that starts processes: limits, outputs, errors, and that nothing started stays."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from vmkiln.errors import CommandFailed, HostUnfit
from vmkiln.host import command
from vmkiln.host.command import run, start


async def test_what_a_program_prints_comes_back_apart() -> None:
    completed = await run(["sh", "-c", "cat; echo wrong >&2"], stdin=b"right", timeout_seconds=20)
    assert (completed.stdout, completed.stderr, completed.exit_status) == (b"right", b"wrong\n", 0)


async def test_no_shell_reads_the_arguments() -> None:
    assert (await run(["echo", "$(id) ; *"], timeout_seconds=20)).text == "$(id) ; *\n"


async def test_a_failing_program_is_named_with_its_last_words() -> None:
    with pytest.raises(CommandFailed, match="exited with status 3") as raised:
        await run(["sh", "-c", "echo its last words >&2; exit 3"], timeout_seconds=20)
    assert "its last words" in str(raised.value)


async def test_a_failure_may_be_expected() -> None:
    assert (await run(["false"], timeout_seconds=20, check=False)).exit_status == 1


async def test_a_program_that_is_not_there_is_the_hosts_fault() -> None:
    with pytest.raises(HostUnfit, match="no-such-program"):
        await run(["no-such-program"], timeout_seconds=20)


async def test_a_program_that_may_not_be_started_is_the_hosts_fault(tmp_path: Path) -> None:
    """A folder on PATH that this user may not read looks the same."""
    locked = tmp_path / "program"
    locked.write_text("#!/bin/sh\n")
    locked.chmod(0o600)
    with pytest.raises(HostUnfit, match="program"):
        await run([locked], timeout_seconds=20)


def alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(process_id: int) -> bool:
    """Whether it is gone, at the latest after some seconds."""
    for _ in range(100):
        if not alive(process_id):
            return True
        time.sleep(0.05)
    return False


async def test_the_limit_ends_the_program_and_its_children(tmp_path: Path) -> None:
    script = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(CommandFailed, match=r"ran longer than 0\.5 s"):
        await run(["sh", "-c", script], timeout_seconds=0.5)
    child = int((tmp_path / "child").read_text())
    assert ends(child)


async def test_leaving_the_block_ends_the_program() -> None:
    async with start(["sleep", "300"]) as process:
        assert alive(process.pid)
    assert process.returncode == -9


async def test_ending_never_reaps_behind_asyncios_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Popen.poll`, which `kill()` of asyncio's process calls, would take the exit status away from asyncio."""
    async with start(["sleep", "300"]) as process:
        polled: list[object] = []
        monkeypatch.setattr(subprocess.Popen, "poll", polled.append)
    assert process.returncode == -9
    assert polled == []


def test_a_program_that_ended_by_itself_leaves_no_pipe_to_the_loop() -> None:
    """The loop may end in the round in which its block is left, and then nobody closes what is still open."""

    async def leave() -> None:
        async with start(["sh", "-c", "(trap '' HUP; exec sleep 300) & exit 0"], stdin=PIPE, stdout=PIPE) as process:
            while process.returncode is None:  # noqa: ASYNC110 (waiting for it would wait for its child's pipe, too)
                await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(warning.message) for warning in told] == []


async def test_a_program_is_reaped_though_who_ends_it_is_cancelled_meanwhile() -> None:
    async def leave() -> None:
        async with start(["sh", "-c", "echo ready; exec sleep 300"], stdout=PIPE) as process:
            processes.append(process)
            assert process.stdout is not None
            await process.stdout.readline()

    processes: list[asyncio.subprocess.Process] = []
    leaving = asyncio.create_task(leave())
    while not (processes and processes[0]._transport._exit_waiters):  # type: ignore[attr-defined]  # noqa: ASYNC110
        await asyncio.sleep(0)  # until its end is waited for
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert processes[0].returncode == -9


async def test_a_program_that_is_cancelled_while_it_starts_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, begin = tmp_path / "child", subprocess.Popen

    def begun(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] = begin(*arguments, **options)
        while not child.exists():
            time.sleep(0.02)
        asyncio.get_running_loop().call_soon(running.cancel)
        return process

    monkeypatch.setattr(subprocess, "Popen", begun)
    script = f"sleep 600 & echo $! > {child}.new; mv {child}.new {child}; wait"
    running = asyncio.ensure_future(run(["sh", "-c", script], timeout_seconds=600))
    ended, _ = await asyncio.wait([running], timeout=60)
    if not ended:
        os.kill(int(child.read_text()), signal.SIGKILL)  # or it would be waited for here, too
    assert ended
    assert running.cancelled()
    assert ends(int(child.read_text()))


def test_a_program_dies_with_who_started_it() -> None:
    """Also when the one who started it is killed and can clean up nothing."""
    code = """
import asyncio, os, signal
from vmkiln.host.command import start
async def main():
    async with start(["sleep", "300"]) as process:
        print(process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert completed.returncode == -9
    assert ends(int(completed.stdout))


async def test_a_program_may_be_kept_from_giving_its_files_to_others(tmp_path: Path) -> None:
    async with start(["sh", "-c", "> made"], directory=tmp_path, umask=0o077) as process:
        assert await process.wait() == 0
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


async def test_of_a_program_that_is_not_believed_the_last_is_kept() -> None:
    heard = 0

    def hear(chunk: bytes) -> None:
        nonlocal heard
        heard += len(chunk)

    words = ["sh", "-c", "head -c 4000000 /dev/zero; echo end"]
    done = await run(words, timeout_seconds=60, kept_bytes=1000, on_stdout=hear)
    assert done.stdout.endswith(b"end\n")
    assert 1000 <= len(done.stdout) < 200_000
    assert heard == 4_000_004


async def test_what_ends_anyway_begins_without_a_copy_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of ours is done between fork and exec, so that there need not be a fork of all our memory."""
    marked = tmp_path / "copied"
    monkeypatch.setattr(command, "prepare", lambda _before: marked.touch())
    assert (await run(["echo", "here"], timeout_seconds=20, ends_anyway=True)).text == "here\n"
    assert not marked.exists()
    await run(["true"], timeout_seconds=20)
    assert marked.exists()
    with pytest.raises(ValueError, match="needs a copy"):
        await run(["true"], timeout_seconds=20, ends_anyway=True, before_exec=lambda: None)
