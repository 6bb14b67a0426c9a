"""Supervisors that begin as copies of a launcher, and what becomes of them when somebody dies."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host import namespace
from vmkiln.host.copies import launcher, launching
from vmkiln.run_failures import LauncherLost, NamespaceLost

GONE_SECONDS = 60
SERVICE = """
import asyncio, pathlib
from vmkiln.host import namespace
from vmkiln.host.copies import launching

def parent_of(process_id):
    return int(pathlib.Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])

async def main():
    async with launching.kept(), namespace.opened() as inside:
        outer = parent_of(inside.process_id)
        print(parent_of(outer), outer, inside.process_id, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@contextlib.contextmanager
def a_control() -> Iterator[tuple[socket.socket, int]]:
    """Our end of a supervisor's control socket, and the descriptor of the other."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs.fileno()


def parent_of(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])


def is_there(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def gone(process_id: int) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while is_there(process_id):
        assert time.monotonic() < deadline, f"process {process_id} is still there"
        await asyncio.sleep(0.02)


async def unshared(control: socket.socket) -> bytes:
    """The first thing that a supervisor says."""
    async with asyncio.timeout(GONE_SECONDS):
        return await asyncio.get_running_loop().sock_recv(control, 100)


async def test_supervisors_of_a_loop_are_copies_of_one_launcher() -> None:
    async with launching.kept(), launching.kept():
        parents = set()
        for _ in range(2):
            with a_control() as (ours, theirs):
                async with launching.started([theirs]) as begun:
                    process_id = begun.process_id
                    assert await unshared(ours) == b'{"unshared": true}\n'
                    assert Path(f"/proc/{process_id}/comm").read_text() == "supervisor\n"
                    parents.add(parent_of(process_id))
                assert not is_there(process_id)
        assert len(parents) == 1
        [begun_by] = parents
        assert parent_of(begun_by) == os.getpid()
    await gone(begun_by)


async def test_a_copy_has_no_descriptor_but_its_own(tmp_path: Path) -> None:
    """The launcher's orders above all: a supervisor that could give them would begin others."""
    with (tmp_path / "secret").open("w+") as secret:
        os.set_inheritable(secret.fileno(), True)
        async with launching.kept():
            with a_control() as (ours, theirs):
                async with launching.started([theirs]) as begun:
                    process_id = begun.process_id
                    await unshared(ours)
                    links = {entry: str(entry.readlink()) for entry in Path(f"/proc/{process_id}/fd").iterdir()}
                    sockets = {target for target in links.values() if target.startswith("socket:")}
                    assert sockets == {str(Path(f"/proc/self/fd/{theirs}").readlink())}
                    assert str(tmp_path / "secret") not in links.values()


async def test_a_dead_launcher_takes_its_copies_along_and_others_begin() -> None:
    async with launching.kept():
        with a_control() as (ours, theirs), a_control() as (late, late_theirs):
            async with launching.started([theirs]) as begun:
                process_id = begun.process_id
                await unshared(ours)
                os.kill(parent_of(process_id), signal.SIGKILL)
                await gone(process_id)
            async with launching.started([late_theirs]) as begun:
                process_id = begun.process_id
                assert await unshared(late) == b'{"unshared": true}\n'
                assert parent_of(process_id) == os.getpid()
        async with launching.kept():  # the next run's
            with a_control() as (ours, theirs):
                async with launching.started([theirs]) as begun:
                    process_id = begun.process_id
                    await unshared(ours)
                    assert parent_of(process_id) != os.getpid()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_who_is_killed_leaves_neither_launcher_nor_supervisor(end: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        ids = [int(word) for word in service.stdout.readline().split()]
        assert len(ids) == 3
        assert all(map(is_there, ids))
        service.send_signal(end)
    for process_id in ids:
        asyncio.run(gone(process_id))


async def test_a_launcher_that_can_begin_nothing_more_goes_on() -> None:
    """Its copies are runs that go on: they would end with it."""
    async with launching.kept():
        with a_control() as (ours, theirs), a_control() as (late, late_theirs):
            async with launching.started([theirs]) as begun:
                process_id = begun.process_id
                await unshared(ours)
                begun_by = parent_of(process_id)
                limits = resource.prlimit(begun_by, resource.RLIMIT_NPROC)
                resource.prlimit(begun_by, resource.RLIMIT_NPROC, (0, limits[1]))
                async with launching.started([late_theirs]) as later:
                    by_itself = later.process_id
                    assert await unshared(late) == b'{"unshared": true}\n'
                    assert parent_of(by_itself) == os.getpid()
                resource.prlimit(begun_by, resource.RLIMIT_NPROC, limits)
                with a_control() as (last, last_theirs):
                    async with launching.started([last_theirs]) as later:
                        another = later.process_id
                        await unshared(last)
                        assert parent_of(another) == begun_by
                assert is_there(process_id)


def test_a_copy_is_ended_though_it_has_no_group_yet() -> None:
    """Or the launcher would wait for it, and all others for the launcher."""
    with subprocess.Popen(["sleep", str(GONE_SECONDS * 2)]) as process:
        ending = threading.Thread(target=launcher.ended, args=[process.pid])
        ending.start()
        ending.join(GONE_SECONDS)
        is_over = not ending.is_alive()
        process.kill()
        ending.join()
    assert is_over


def test_nothing_is_ended_that_is_no_copy() -> None:
    """An id that was reaped may be another process's by now."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        of_another = int(process.stdout.readline())
        assert launcher.ended(of_another) == of_another
        assert is_there(of_another)
        os.kill(of_another, signal.SIGKILL)


async def test_an_answer_that_comes_too_late_is_taken_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with launching.kept():
        with a_control() as (ours, theirs), a_control() as (_, late_theirs), a_control() as (next_, next_theirs):
            async with launching.started([theirs]) as begun:
                process_id = begun.process_id
                await unshared(ours)
                begun_by = parent_of(process_id)
                os.kill(begun_by, signal.SIGSTOP)
                with monkeypatch.context() as patched:
                    patched.setattr(launching, "ANSWER_SECONDS", 0.1)
                    with pytest.raises(HostUnfit, match="silent"):
                        await launching.started([late_theirs]).__aenter__()
                os.kill(begun_by, signal.SIGCONT)
                async with launching.started([next_theirs]) as later:
                    another = later.process_id
                    assert await unshared(next_) == b'{"unshared": true}\n'
                    links = {str(entry.readlink()) for entry in Path(f"/proc/{another}/fd").iterdir()}
                    assert str(Path(f"/proc/self/fd/{next_theirs}").readlink()) in links
                    for child in Path(f"/proc/{begun_by}/task/{begun_by}/children").read_text().split():
                        if int(child) not in (process_id, another):
                            await gone(int(child))


async def test_without_a_launcher_a_supervisor_begins_by_itself() -> None:
    with a_control() as (ours, theirs):
        async with launching.started([theirs]) as begun:
            process_id = begun.process_id
            await unshared(ours)
            assert parent_of(process_id) == os.getpid()
        assert not is_there(process_id)


async def test_a_supervisor_whose_start_is_cancelled_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    began: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    start = launching.Launcher.start

    async def slow(self: launching.Launcher, inherited: list[int]) -> int:
        began.set_result(await start(self, inherited))
        await asyncio.sleep(0.1)
        return began.result()

    monkeypatch.setattr(launching.Launcher, "start", slow)

    async def waits() -> None:
        with a_control() as (_, theirs):
            async with launching.started([theirs]):
                await asyncio.sleep(GONE_SECONDS)

    async with launching.kept():
        task = asyncio.ensure_future(waits())
        process_id = await began
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert not is_there(process_id)


async def test_a_run_says_that_it_was_the_launcher_that_ended() -> None:
    """Whose runs begin again; a supervisor that was killed alone is the run's own end."""
    async with launching.kept(), namespace.opened() as inside, namespace.opened() as beside:
        outer = parent_of(inside.process_id)
        os.kill(outer, signal.SIGKILL)
        with pytest.raises(NamespaceLost, match="the supervisor of the run's namespaces ended") as lost:
            await asyncio.wait_for(until_lost(inside), GONE_SECONDS)
        assert not isinstance(lost.value, LauncherLost)
        os.kill(parent_of(parent_of(beside.process_id)), signal.SIGKILL)
        with pytest.raises(LauncherLost, match="the launcher ended"):
            await asyncio.wait_for(until_lost(beside), GONE_SECONDS)


async def until_lost(inside: namespace.Namespace) -> None:
    while True:
        await inside.run(["true"])
