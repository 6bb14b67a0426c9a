"""Builds without virtual machines, for tests of the service: the run's own state machine, with stand-in phases.

What a template asks for decides how its run goes: an inline command `fail` fails it, `fail while FILE` does as long as
there is that file, `hold while FILE` holds it for as long, `wait` keeps it going until it is cancelled, `crash` raises
what is no error of ours, `lose the launcher with FILE` ends as when that ended, once, `stderr TEXT` is a line of
stderr, `flood` fills the log, `publish` distributes a small disk for real; otherwise every distribute target gets an
output.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.images.container_image import ContainerImage
from vmkiln.run import distributing, workflow
from vmkiln.run.run_context import BuildHost, Disks, ResolvedSource, RunRequest, Tell
from vmkiln.run.run_event import PhaseStarted, StepStarted
from vmkiln.run_failures import CustomizationFailed, LauncherLost
from vmkiln.run_state import Phase
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.staging import run_directory
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.logs.log_index import LogIndex
from vmkiln.staging.staging_resource_group import StagingResourceGroup, resources
from vmkiln.store.database import Store
from vmkiln.store.rows import RunOutputRow
from vmkiln.template.customizers.shell import ShellCustomizer
from vmkiln.template.distribute_target import VhdTarget
from vmkiln.waiting.off_loop import off_loop, off_loop_with

PHASE_SECONDS = 0.05
FLOOD_LINES = 5000


def stub_host(settings: Settings, store: Store) -> BuildHost:
    """A machine that has nothing but a store."""
    nothing = Path("/nonexistent")
    image = ContainerImage(nothing, nothing, nothing, "digest", "1.6.6")
    return BuildHost(settings, store, Accelerator.TCG, "a stand-in", image, 2, 4096, None)


def stub_build(
    settings: Settings, store: Store, *, shared: SharedStorage | None = None
) -> Callable[[RunRequest, Tell], Awaitable[object]]:
    """What `ImageBuilder` calls for each run."""
    host = replace(stub_host(settings, store), shared=shared)

    async def build(request: RunRequest, tell: Tell) -> object:
        return await workflow.execute(host, request, tell, phases=_phases)

    return build


@contextlib.contextmanager
def _made(store: Store, group: StagingResourceGroup) -> Iterator[None]:
    """What a build makes, recorded while it is there; nothing of it is real."""
    subnets = {"container-group": "10.0.0.0/24", "build-vm": "10.0.1.0/24"}
    entries: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("Microsoft.Network/virtualNetworks", "vnet", {"subnets": subnets}),
        ("Microsoft.Network/networkSecurityGroups", "nsg", {}),
        ("Microsoft.Compute/disks", "build-vm-os-disk", {}),
        ("Microsoft.Network/networkInterfaces", "build-vm-nic", {"address": "10.0.1.4", "mac": "02:00:00:00:00:01"}),
        ("Microsoft.Compute/virtualMachines", "build-vm", {"vmSize": "Standard_D1_v2"}),
        (
            "Microsoft.ContainerInstance/containerGroups",
            f"vmimagebuilder-build-container-{group.run_id[:10]}",
            {"containers": ["packer"], "memoryMiB": 384},
        ),
    )
    with resources(group, store, entries, exist=True):
        yield


async def _publish(
    host: BuildHost, request: RunRequest, group: StagingResourceGroup, directory: Path, tell: Tell
) -> str:
    disk = directory / "disk.raw"
    await off_loop(disk.write_bytes, request.run_id.encode().ljust(1024 * 1024, b"\0"))
    staged: Any = SimpleNamespace(
        host=host,
        request=request,
        group=group,
        directory=directory,
        source=ResolvedSource(disk, "raw", "0" * 64, "1.2.3", 1, "Linux", 1024 * 1024, "https://images.example/12"),
        shape=SimpleNamespace(disk_bytes=1024 * 1024, cpus=1, memory_mib=1024),
        copies={},
        tell=tell,
    )
    return distributing.failures_of(await distributing.distribute(staged, Disks(Disk(disk, "raw"))))


async def _phases(host: BuildHost, request: RunRequest, tell: Tell) -> str:
    store, run_id = host.store, request.run_id
    held = run_directory.held
    async with off_loop_with(lambda: held(host.settings.runs, run_id, attempt=request.attempt)) as directory:
        try:
            assert request.submission is not None
            group = replace(request.submission.group, run_id=run_id)
            await off_loop(_begin, store, group)
            tell(PhaseStarted(Phase.BUILDING, store.now()))
            await asyncio.sleep(PHASE_SECONDS)
            async with off_loop_with(lambda: _made(store, group)), off_loop_with(lambda: _log_of(group)) as log:
                await off_loop(store.runs.begin_phase, run_id, Phase.CUSTOMIZING)
                tell(PhaseStarted(Phase.CUSTOMIZING, store.now()))
                await _customize(request, log, tell)
            await asyncio.sleep(PHASE_SECONDS)
            await off_loop(store.runs.begin_phase, run_id, Phase.DISTRIBUTING)
            if "publish" in _lines(request):
                return await _publish(host, request, group, directory, tell)
            await off_loop(_pretend_to_publish, store, request, group)
            await asyncio.sleep(PHASE_SECONDS)
        finally:
            await off_loop(store.runs.begin_phase, run_id, Phase.CLEANING_UP)
    return ""


def _lines(request: RunRequest) -> list[str]:
    steps = request.template.properties.customize
    return [line for step in steps if isinstance(step, ShellCustomizer) for line in step.inline]


def _begin(store: Store, group: StagingResourceGroup) -> None:
    store.runs.begin_phase(group.run_id, Phase.BUILDING)
    account = group.storage_account.name
    store.runs.add_facts(group.run_id, source_exact_version="1.2.3", storage_account=account)


def _log_of(group: StagingResourceGroup) -> CustomizationLog:
    path = group.storage_account.blob(f"packerlogs/{group.run_id}/customization.log")
    return CustomizationLog(path, group.run_id)


async def _customize(request: RunRequest, log: CustomizationLog, tell: Tell) -> None:
    steps = [step for step in request.template.properties.customize if isinstance(step, ShellCustomizer)]
    async with off_loop_with(lambda: LogIndex(log.path)) as index:
        if request.retry_of:
            await off_loop(log.write, f"this run repeats run {request.retry_of}")
        for number, step in enumerate(steps):
            name = request.mask(step.name)
            tell(StepStarted(Phase.CUSTOMIZING, number, len(steps), name))
            index.step = name
            await off_loop(index.note, log.end, time.time())
            for line in step.inline:
                await _do(request, log, line)


async def _do(request: RunRequest, log: CustomizationLog, line: str) -> None:
    kind = "ERR" if line.startswith("stderr ") else "OUT"
    await off_loop(log.write, request.mask(line.removeprefix("stderr ")), kind=kind)
    held = Path(line.removeprefix("hold while ")) if line.startswith("hold while ") else None
    while held and await off_loop(held.exists):  # noqa: ASYNC110 (a file has no event)
        await asyncio.sleep(PHASE_SECONDS)
    if line == "wait":
        await asyncio.Event().wait()
    if line == "fail" or (line.startswith("fail while ") and Path(line[11:]).exists()):
        raise CustomizationFailed("a customizer failed: exit status 1")
    if line.startswith("lose the launcher with ") and Path(line[23:]).exists():
        await off_loop(Path(line[23:]).unlink)
        raise LauncherLost("the launcher ended")
    if line == "crash":
        raise RuntimeError("a mistake of ours")
    if line == "flood":
        await off_loop(_flood, log)


def _flood(log: CustomizationLog) -> None:
    for number in range(FLOOD_LINES):
        log.write(f"line {number} of many", kind="OUT")


def _pretend_to_publish(store: Store, request: RunRequest, group: StagingResourceGroup) -> None:
    for target in request.template.properties.distribute:
        artifact = getattr(target, "image_id", "") or getattr(target, "gallery_image_id", "")
        uri = ""
        if isinstance(target, VhdTarget):
            file = group.storage_account.blob(f"vhds/{target.run_output_name}.vhd")
            file.write_bytes(bytes(1024))
            uri = file.as_uri()
        store.images.put_output(RunOutputRow(group.run_id, target.run_output_name, artifact, uri, "Succeeded", ""))
