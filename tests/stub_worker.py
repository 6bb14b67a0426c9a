"""A build host of a fleet as a process of its own: everything is real but the virtual machines.

    python -m stub_worker HOME NAME

The environment names the database and the object store; STUB_CPUS is what it has, LEASE_SECONDS how long its lease
lasts, STORE_SECONDS for how long each request to the object store waits first. Each build writes a line to STUB_JOURNAL
when it begins and when it ends. As long as the file STUB_UNFIT is there it cannot build. Ends on SIGTERM.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import stub_build

from vmkiln.cli.interrupts import host_to_end
from vmkiln.errors import HostUnfit
from vmkiln.fleet import hosting
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.preparation import opened_store
from vmkiln.run.room import Room
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.service import only_service
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings
from vmkiln.sharing.object_store import ObjectStore
from vmkiln.sharing.shared_storage import shared_storage


def note(request: RunRequest, what: str) -> None:
    """One line of the journal, written whole: when, what, whose, which attempt of which run."""
    line = f"{time.monotonic()} {what} {request.incarnation} {request.run_id} {request.attempt}\n"
    descriptor = os.open(os.environ["STUB_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def slow_down_the_store(seconds: float) -> None:
    """Let each request to the object store of this process wait so long first."""
    doing = ObjectStore._doing

    @contextlib.contextmanager
    def slowly(store: ObjectStore, what: str) -> Iterator[None]:
        time.sleep(seconds)
        with doing(store, what):
            yield

    ObjectStore._doing = slowly  # type: ignore[assignment, method-assign]


async def main(settings: Settings, name: str) -> None:
    with only_service(settings), opened_store(settings, lambda _text: None) as store:
        shared = shared_storage(settings, store)
        build = stub_build.stub_build(settings, store, shared=shared)
        unfit = Path(os.environ.get("STUB_UNFIT", "/nonexistent"))

        async def level() -> str:
            if unfit.exists():
                raise HostUnfit("Packer is not installed")
            return "emulated"

        async def noted(request: RunRequest, tell: Tell) -> object:
            note(request, "begin")
            try:
                await level()
                return await build(request, tell)
            finally:
                note(request, "end")

        room = Room(int(os.environ["STUB_CPUS"]), 1024**2, 1024**3)
        duties = HostDuties(noted, lambda: room, level, shared=shared, is_tried_first=False)
        identity = HostIdentity(name=name, lease_seconds=float(os.environ["LEASE_SECONDS"]))
        await Hosting(settings, store, duties, identity).serve()


if __name__ == "__main__":
    hosting.READY_SECONDS = float(os.environ.get("READY_SECONDS", hosting.READY_SECONDS))
    stub_build.PHASE_SECONDS = float(os.environ.get("PHASE_SECONDS", "0.05"))
    if slow := float(os.environ.get("STORE_SECONDS", "0")):
        slow_down_the_store(slow)
    host_to_end(main(replace(read_settings(), home=Path(sys.argv[1])), sys.argv[2]), ended="ended")
