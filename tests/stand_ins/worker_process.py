"""A worker as a process of its own, with nothing stood in for but the guests of its virtual machines.

    python -m stand_ins.worker_process HOME

It does all runs that wait, at once. `HOME/moments.json` says at which moment (see guest.py) the first attempt of a run
is held, and for ever. Ends on SIGTERM.
"""

import asyncio
import contextvars
import json
import sys
from pathlib import Path
from typing import Any

from stand_ins import unconfined
from stand_ins.build_process import MOMENT_OF_PHASE, Asked, hold, prepare_stand_ins

from vmkiln.cli.interrupts import host_to_end
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.host.qemu import Accelerator
from vmkiln.images import vhd_image
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.image_store import Artifact
from vmkiln.preparation import opened_store
from vmkiln.run import building
from vmkiln.run.room import Room
from vmkiln.run.run_context import BuildHost, ResolvedSource, RunRequest, Tell
from vmkiln.run.run_event import PhaseStarted, RunEvent
from vmkiln.run.workflow import execute
from vmkiln.run_state import Phase
from vmkiln.settings import Settings
from vmkiln.staging import run_directory

ROOM = Room(256, 1024**2, 1024**3)
RUN: contextvars.ContextVar[tuple[Asked, Path]] = contextvars.ContextVar("run")


def reached_file(settings: Settings, run_id: str) -> Path:
    """What says that a run is accepted: its folder is not there yet."""
    return settings.home / f"{run_id}.reached"


def hold_on_the_way() -> None:
    """Let every run wait before and after its source is resolved, and before its VHD is published, where it is to."""
    resolve, publish_vhd = building.resolve_source, vhd_image.publish

    async def resolve_source(host: BuildHost, *arguments: object, **named: object) -> ResolvedSource:
        await asyncio.to_thread(hold, *RUN.get(), "validated")
        source: ResolvedSource = await resolve(host, *arguments, **named)  # type: ignore[arg-type]
        await asyncio.to_thread(hold, *RUN.get(), "source copied")
        return source

    async def publish(*arguments: Any, **named: Any) -> Artifact:
        await asyncio.to_thread(hold, *RUN.get(), "distributing")
        return await publish_vhd(*arguments, **named)

    building.resolve_source, vhd_image.publish = resolve_source, publish


async def main(settings: Settings) -> None:
    moments = json.loads((settings.home / "moments.json").read_text())
    nothing = settings.home / "container-group"
    image = ContainerImage(nothing, nothing, nothing, "digest", "1.6.6")
    with opened_store(settings, print) as store:
        host = BuildHost(settings, store, Accelerator.TCG, "a stand-in", image, 2, 8192, None)

        async def build(request: RunRequest, tell: Tell) -> object:
            moment = moments.get(request.run_id, "") if request.attempt == 1 else ""
            folder = run_directory.folder_of(settings.runs, request.run_id, attempt=request.attempt)
            asked = Asked(request.run_id, moment, is_kept=True)
            RUN.set((asked, folder))
            if moment == "accepted":
                reached_file(settings, request.run_id).touch()
                await asyncio.Event().wait()

            def held(event: RunEvent) -> None:
                tell(event)
                if isinstance(event, PhaseStarted) and event.phase is Phase.BUILDING:
                    prepare_stand_ins(asked, folder)
                if isinstance(event, PhaseStarted):
                    hold(asked, folder, MOMENT_OF_PHASE.get(event.phase, "-"))  # with all the others of this worker

            return await execute(host, request, held)

        hold_on_the_way()
        duties = HostDuties(build, capacity=lambda: ROOM)
        await Hosting(settings, store, duties, HostIdentity(name="kiln")).serve()


if __name__ == "__main__":
    unconfined.install()
    unconfined.wait_for_those_held()
    host_to_end(main(Settings(Path(sys.argv[1]))), ended="ended")
