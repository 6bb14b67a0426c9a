"""Starts processes that each do one run, with nothing stood in for but the guests of the two virtual machines.

    python -m stand_ins.build_process HOME

Reads requests as JSON lines: `{"runner", "run_id", "moment", "is_kept"}`; answers each with the process's id. All slow
modules are loaded once, so that many processes can be started, and can die, in a second. `moment` says where the run is
held (see guest.py); a run that is kept belongs to an image template of the service, and waits again when its process
dies.
"""

import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stand_ins import swinging_clock, unconfined

from vmkiln.fleet.run_queue import fits
from vmkiln.host import command
from vmkiln.host.copies import launching
from vmkiln.host.qemu import Accelerator
from vmkiln.images import vhd_image
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.image_store import Artifact
from vmkiln.inspecting.residue import ALL, TAG
from vmkiln.inspecting.windows_residues import TakenOut, WindowsLook
from vmkiln.provisioning.submitting import open_group
from vmkiln.run import building, packer_phase, vm_pair
from vmkiln.run.finished.resuming import resumed
from vmkiln.run.gates import windows_hygiene
from vmkiln.run.guest import guest_report, windows_source
from vmkiln.run.run_context import BuildHost, ResolvedSource, RunRequest, Submission, Tell
from vmkiln.run.run_event import PhaseStarted, RunEvent
from vmkiln.run.workflow import execute
from vmkiln.run_state import Phase, RunState
from vmkiln.setting_texts.declaration import Checkpoints
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.output_limit import OutputLimit
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import HostRow, ReservationRow, RunRow
from vmkiln.template.template_file import read_image_template

COMPUTE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute"
SOURCE_ID = f"{COMPUTE}/images/source"
WINDOWS_SOURCE_ID = f"{COMPUTE}/images/windows-source"
WINDOWS = "windows"  # a lie that begins so is one of the VM, which is a Windows then
DEFINITION_ID = f"{COMPUTE}/galleries/g/images/d"
CUSTOMIZERS = 3
STEPS = {"build-vm": ["shell"] * CUSTOMIZERS + ["deprovision"], "validation-vm": ["shell"]}
MOMENT_OF_PHASE = {Phase.BUILDING: "accepted", Phase.CLEANING_UP: "cleaning"}


def settings_of(home: Path) -> Settings:
    """The settings of a state directory where guests are stand-ins: none of them can be kept behind a customizer."""
    return Settings(home, checkpoints=Checkpoints.NONE)


def image_id(run_id: str) -> str:
    """The managed image that a run distributes to."""
    return f"{COMPUTE}/images/made-{run_id}"


def windows_template_text(run_id: str) -> str:
    """A template of Windows: customizers, a validation, a managed image."""
    step = {"type": "PowerShell", "inline": ["dir"]}
    properties = {
        "source": {"type": "ManagedImage", "imageId": WINDOWS_SOURCE_ID},
        "customize": [{**step, "name": f"step {number}"} for number in range(CUSTOMIZERS)],
        "validate": {"inVMValidations": [{**step, "name": "check"}]},
        "distribute": [
            {"type": "ManagedImage", "runOutputName": "managed", "imageId": image_id(run_id), "location": "local"}
        ],
    }
    return json.dumps({"location": "local", "identity": {"type": "None"}, "properties": properties})


def template_text(run_id: str) -> str:
    """A template with all of it: customizers, a validation, a target of each kind."""
    shell = {"type": "Shell", "inline": ["true"]}
    targets = [
        {"type": "ManagedImage", "runOutputName": "managed", "imageId": image_id(run_id), "location": "local"},
        {"type": "VHD", "runOutputName": "vhd"},
        {
            "type": "SharedImage",
            "runOutputName": "gallery",
            "galleryImageId": DEFINITION_ID,
            "replicationRegions": ["local"],
        },
    ]
    properties = {
        "source": {"type": "ManagedImage", "imageId": SOURCE_ID},
        "customize": [{**shell, "name": f"step {number}"} for number in range(CUSTOMIZERS)],
        "validate": {"inVMValidations": [{**shell, "name": "check"}]},
        "distribute": targets,
    }
    tags = {TAG: ALL}  # no stand-in plays the inspection VM
    return json.dumps({"location": "local", "tags": tags, "identity": {"type": "None"}, "properties": properties})


@dataclass(frozen=True)
class Asked:
    """One request."""

    run_id: str
    moment: str
    is_kept: bool
    lie: str = ""
    name: str = ""  # of a command's template; the run's when left out
    target: str = ""  # what its managed image is called after; the run when left out
    clock: str = ""  # `swinging` for one that is set back and forth with each thing that is told


def hold(asked: Asked, directory: Path, moment: str) -> None:
    """Wait here when the run is to be held at this moment."""
    if asked.moment == moment:
        (directory / "reached").write_text(moment)
        with (directory / "gate").open() as gate:
            gate.readline()


def prepare_stand_ins(asked: Asked, directory: Path) -> None:
    """What the stand-ins look for in the run's folder."""
    os.mkfifo(directory / "gate")
    (directory / "lie").write_text(asked.lie)
    (directory / "hold").write_text(asked.moment + "\n")
    for vm, steps in STEPS.items():
        (directory / f"steps-{vm}").write_text("\n".join(steps))


def _request(settings: Settings, store: Store, asked: Asked) -> RunRequest:
    text = (windows_template_text if asked.lie.startswith(WINDOWS) else template_text)(asked.run_id)
    template = read_image_template(text, file_name="stand-in.json")
    request = RunRequest(
        run_id=asked.run_id,
        template_name="stand-in",
        resource_group="rg",
        template=template.image_template,
        resolved=template.resolved,
        local_files=LocalFiles(settings.home, is_allowed=False),
    )
    if not asked.is_kept:
        is_known = asked.run_id in store.runs.by_id([asked.run_id])
        return resumed(settings, store, request, asked.run_id) if is_known else request
    template_id = f"/subscriptions/s/resourcegroups/rg/templates/{asked.run_id}"
    group = open_group(settings, store, name=f"IT_rg_kept_{asked.run_id}", tags={})
    if asked.run_id not in store.runs.by_id([asked.run_id]):
        row = RunRow(asked.run_id, "stand-in", "rg", {}, RunState.QUEUED, "", "", "", "", {}, utc_now(), None)
        store.runs.queue(RunRow(**{**vars(row), "template_id": template_id}))
    attempt = int(store.runs.find(asked.run_id).facts.get("attempt", 1))
    incarnation = str(uuid.uuid4())
    host = HostRow(incarnation, asked.run_id, asked.run_id, "x64", "emulated", "", 2, 8192, 8192)
    store.hosts.register(host, lease_seconds=600)
    assert store.hosts.reserve([ReservationRow(asked.run_id, attempt, incarnation, 1, 1, 1, 0.0)], fits=fits) == [
        asked.run_id
    ]
    kept = {
        "template_id": template_id,
        "submission": Submission(group, {}),
        "attempt": attempt,
        "incarnation": incarnation,
    }
    return RunRequest(**{**vars(request), **kept})


def stood_in(settings: Settings, asked: Asked, attempt: Callable[[], int] = lambda: 1) -> Tell:
    """Have the slow parts of this process stood in for, and hold the run at its moment; gives who hears its events."""
    resolve = building.resolve_source

    def folder() -> Path:
        return run_directory.folder_of(settings.runs, asked.run_id, attempt=attempt())

    async def resolve_source(host: BuildHost, *arguments: object, **named: object) -> ResolvedSource:
        hold(asked, folder(), "validated")
        source: ResolvedSource = await resolve(host, *arguments, **named)  # type: ignore[arg-type]
        hold(asked, folder(), "source copied")
        return source

    def tell(event: RunEvent) -> None:
        if isinstance(event, PhaseStarted):
            if event.phase is Phase.BUILDING:
                prepare_stand_ins(asked, folder())
            hold(asked, folder(), MOMENT_OF_PHASE.get(event.phase, "-"))

    publish_vhd = vhd_image.publish

    async def publish(*arguments: Any, **named: Any) -> Artifact:
        hold(asked, folder(), "distributing")
        return await publish_vhd(*arguments, **named)

    building.resolve_source, vhd_image.publish = resolve_source, publish

    async def not_looked(*_: object) -> WindowsLook:
        return WindowsLook()

    async def nothing_there(*_: object) -> TakenOut:
        return TakenOut()

    # no stand-in plays the VM that looks at a Windows
    windows_hygiene.looked, windows_source.taken_out = not_looked, nothing_there
    if asked.lie:  # what is waited for in vain is not waited for long
        vm_pair.REPORT_SECONDS, vm_pair.POWER_OFF_SECONDS, guest_report.REPORT_SECONDS = 2, 2, 2
        packer_phase.OutputLimit = functools.partial(OutputLimit, 1024 * 1024, 4 * 1024 * 1024)  # type: ignore[misc,assignment]
    return tell


def host_of(settings: Settings, store: Store) -> BuildHost:
    """A machine whose container image nobody looks into."""
    nothing = settings.home / "container-group"
    image = ContainerImage(nothing, nothing, nothing, "digest", "1.6.6")
    return BuildHost(settings, store, Accelerator.TCG, "a stand-in", image, 2, 8192, None)


def run_in_service(settings: Settings, asked: Asked) -> None:
    """The run as the service, or a worker, does it: with room kept for it, and writing only while it has the run."""
    attempt = 1
    tell = stood_in(settings, asked, lambda: attempt)
    with opened(settings.database_address) as store:
        host = host_of(settings, store)
        request = _request(settings, store, asked)
        attempt = request.attempt

        async def run() -> None:
            async with launching.kept():  # as where runs are begun
                await execute(host, request, tell)

        asyncio.run(run())
        store.hosts.release(asked.run_id, incarnation=request.incarnation, attempt=attempt)


def run_by_command(settings: Settings, asked: Asked) -> None:
    """The run as `vmkiln build` does it, from its command line to its exit code, which is the last line it prints."""
    from vmkiln import preparation
    from vmkiln.cli import main as command_line
    from vmkiln.run import workflow

    tell = stood_in(settings, asked)
    swing = swinging_clock.install() if asked.clock else None
    execute_all = workflow.execute

    @contextlib.asynccontextmanager
    async def prepared_host(settings: Settings, store: Store, _: Callable[[str], None]) -> AsyncIterator[BuildHost]:
        async with launching.kept():
            yield host_of(settings, store)

    async def executed(host: BuildHost, request: RunRequest, told: Tell) -> dict[str, Any]:
        def both(event: RunEvent) -> None:
            if swing is not None:
                swing()
            told(event)
            tell(event)

        return await execute_all(host, replace(request, run_id=asked.run_id), both)

    preparation.prepared_host, workflow.execute = prepared_host, executed  # type: ignore[assignment]
    template = settings.home / "templates" / asked.run_id / f"{asked.name or asked.run_id}.json"
    template.parent.mkdir(parents=True)
    template.write_text(template_text(asked.target or asked.run_id))
    os.environ |= {"VMKILN_HOME": str(settings.home), "VMKILN_CHECKPOINTS": str(settings.checkpoints)}
    words = ["build", str(template), "-g", "rg", "--summary-file", str(settings.home / f"{asked.run_id}.md")]
    try:
        command_line.main(words)
    except SystemExit as ended:
        sys.stdout.flush()
        os.write(1, f"exit code {ended.code}\n".encode())


RUNNERS: dict[str, Callable[[Settings, Asked], None]] = {"service": run_in_service}
COMMAND = "command"


def _child(settings: Settings, runner: str, asked: Asked) -> None:
    command.die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what runs in its background ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as nohup has what it runs ignore this one
    log = os.open(settings.home / f"{asked.run_id}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    status = 0
    try:
        {**RUNNERS, COMMAND: run_by_command}[runner](settings, asked)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        status = 1
    os._exit(status)


def main() -> None:
    """Start a process for each request until there are no more."""
    settings = settings_of(Path(sys.argv[1]))
    unconfined.install()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks for their ends
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        runner = request.pop("runner")
        process_id = os.fork()
        if process_id == 0:
            _child(settings, runner, Asked(**request))
        sys.stdout.write(f"{process_id}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
