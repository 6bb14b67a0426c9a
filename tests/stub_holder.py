"""A build host that holds a failed VM, as a process of its own: the VM is an sshd that runs for each visit.

    python -m stub_holder HOME NAME

Each visit writes to STUB_JOURNAL when it begins and when it has ended. Ends on SIGTERM.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmkiln.cli.interrupts import host_to_end
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.preparation import opened_store
from vmkiln.run.held import called, door
from vmkiln.service import Occupant, only_service, take_runs
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings
from vmkiln.shells.order import Order
from vmkiln.staging.login_key import new_key

SSHD = "/usr/sbin/sshd"
CONFIGURATION = """HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
"""


def note(text: str) -> None:
    """One line of the journal."""
    with Path(os.environ["STUB_JOURNAL"]).open("a") as file:
        file.write(f"{text}\n")


def make_system(folder: Path, public_key: str) -> None:
    """What an sshd needs that one key opens."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host"], check=True)
    (folder / "authorized").write_text(f"{public_key}\n")
    (folder / "configuration").write_text(CONFIGURATION.format(folder=folder))


async def visited(
    _host: Any, run_id: str, visit: Callable[[Path], Coroutine[Any, Any, int]], _tell: Callable[[str], None]
) -> int:
    """In place of waking a VM: a door, behind which an sshd answers."""
    note(f"woken {run_id}")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder, login = Path(name), new_key("held")
            await asyncio.to_thread(make_system, folder, login.public)

            async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(door.OPEN)
                await pass_to_sshd(folder, reader, writer)

            async with door.opened(folder, private_key=login.private, session=session):
                return await visit(folder)
    finally:
        note(f"left {run_id}")


async def pass_to_sshd(folder: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let an sshd of one connection answer, until either ends."""
    pipe = asyncio.subprocess.PIPE
    arguments = [SSHD, "-i", "-e", "-f", str(folder / "configuration")]
    process = await asyncio.create_subprocess_exec(*arguments, stdin=pipe, stdout=pipe, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None

    async def passed(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()

    passing = [asyncio.create_task(passed(reader, process.stdin)), asyncio.create_task(passed(process.stdout, writer))]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also its child, which holds the pipes
        await process.wait()


@contextlib.asynccontextmanager
async def no_host() -> AsyncIterator[Any]:
    """Nothing is needed of this one."""
    yield None


async def never(_request: object, _tell: object) -> object:
    raise AssertionError("this host was given a run")


async def main(settings: Settings, name: str) -> None:
    called.visited = visited  # type: ignore[assignment]

    async def visit(asked: Order) -> None:
        await called.called(asked, no_host)

    with only_service(settings, Occupant.WORKER), opened_store(settings, lambda _text: None) as store:
        await take_runs(settings, store, HostDuties(never), HostIdentity(name=name, lease_seconds=5.0), visit=visit)


if __name__ == "__main__":
    host_to_end(main(replace(read_settings(), home=Path(sys.argv[1])), sys.argv[2]), ended="ended")
