"""A service on a small file system that is filled while it works; it prints what becomes of its runs.

python full_disk_service.py HOME
"""

import asyncio
import contextlib
import shutil
import sys
import threading
from pathlib import Path

from in_process import TEMPLATE, TestAccess, a_template, add_group, provisioned, started, wait_for
from kept_state import a_run
from stub_build import stub_host

from vmkiln.errors import StorageFailed
from vmkiln.fleet import image_builder
from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.host import reserve_file
from vmkiln.preparation import opened_store
from vmkiln.run import room, workflow
from vmkiln.run.room import Room
from vmkiln.run.run_context import BuildHost, RunRequest, Tell
from vmkiln.run_state import Phase
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.store.database import Store

MIB = 1024**2
SECOND = TEMPLATE + "2"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def free_bytes(home: Path) -> int:
    return shutil.disk_usage(home).free


def fill(home: Path, *, left_bytes: int) -> None:
    """Write until no more than so much is free."""
    with (home / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while free_bytes(home) > left_bytes:
            file.write(bytes(min(MIB, free_bytes(home) - left_bytes)))


def commit(store: Store, name: str) -> str:
    """Commit a megabyte; says whether that could be done."""
    try:
        store.runs.add_many([a_run(f"{name}-{number}", "Failed") for number in range(2000)])
    except StorageFailed as error:
        return type(error).__name__
    return "done"


class Builds:
    """Builds that write into their run's folder: the first when it is told to, until the disk is full."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.host = stub_host(settings, store)
        self.may_write = threading.Event()
        self.began = threading.Event()

    async def build(self, request: RunRequest, tell: Tell) -> object:
        return await workflow.execute(self.host, request, tell, phases=self._phases)

    async def _phases(self, host: BuildHost, request: RunRequest, _tell: Tell) -> str:
        with run_directory.held(host.settings.runs, request.run_id) as directory:
            try:
                host.store.runs.begin_phase(request.run_id, Phase.BUILDING)
                if not self.began.is_set():
                    self.began.set()
                    await asyncio.to_thread(self.may_write.wait, 60)
                    with (directory / "overlay.qcow2").open("wb", buffering=0) as file:
                        while True:
                            file.write(bytes(MIB))
                return ""
            finally:
                reserve_file.release_if_full(host.settings.home)
                host.store.runs.begin_phase(request.run_id, Phase.CLEANING_UP)


def serving(builder: ImageBuilder, ready: threading.Event, end: threading.Event) -> None:
    async def serve() -> None:
        task = asyncio.create_task(builder.serve())
        ready.set()
        await asyncio.to_thread(end.wait)
        assert not task.done(), task
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(serve())


def work(settings: Settings, store: Store) -> None:
    home = settings.home
    builds = Builds(settings, store)
    builder = ImageBuilder(
        settings, store, builds.build, capacity=lambda: Room(8, MIB, free_bytes(home) // MIB), watch_seconds=60
    )
    ready, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=serving, args=(builder, ready, end))
    thread.start()
    try:
        assert ready.wait(10)
        service = started(store, home, TestAccess({"owner": [("Owner", "/")]}), builder)
        add_group(service)
        for path in (TEMPLATE, SECOND):
            provisioned(service, path, a_template())
        assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
        assert builds.began.wait(20)

        low, reserve_file.LOW_BYTES = reserve_file.LOW_BYTES, -1  # nobody looks
        fill(home, left_bytes=0)
        say(f"a commit without the reserve file: {commit(store, 'a')}")
        reserve_file.LOW_BYTES = low
        wait_for(lambda: not (home / reserve_file.NAME).exists())
        say(f"a commit after it was thrown off: {commit(store, 'b')}")

        builds.may_write.set()
        first = store.runs.of_template(TEMPLATE.lower())[0].run_id
        run = wait_for(lambda: (found := store.runs.find(first)).ended and found, seconds=30)
        say(f"the run that goes on: {run.state} in attempt {run.attempt}, faults {run.facts['host_faults'].values()}")
        fill(home, left_bytes=MIB - 1)
        assert service.request("POST", f"{SECOND}/run").status_code == 202
        place = wait_for(lambda: next(iter(builder.queue()), None))
        second = store.runs.find(place.run_id)
        say(f"the run that waits: {second.state}, {place.reason}")
        (home / "filler").unlink()
        run = wait_for(lambda: (found := store.runs.find(second.run_id)).ended and found, seconds=30)
        say(f"with room again: {run.state}")
        wait_for(lambda: not list(settings.runs.iterdir()))
        say("nothing left in runs")
    finally:
        builds.may_write.set()
        end.set()
        thread.join(30)


if __name__ == "__main__":
    image_builder.LOOK_SECONDS = 0.2
    room.RUN_DISK_MIB = 10
    here = Settings(Path(sys.argv[1]))
    with opened_store(here, lambda _text: None) as opened:
        reserve_file.ensure(here.home, plenty_bytes=0)
        assert (here.home / reserve_file.NAME).exists()
        work(here, opened)
