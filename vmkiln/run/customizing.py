"""Customizing: Packer, inside the container group, runs the customizers on the build VM; then the VM is deprovisioned.

*Leaves behind:* the build VM's overlays, powered off and belonging to nobody, and customization.log.
*Undone by:* the deletion of the run's folder. *Safe to repeat:* no, for customizers may do anything; a new run starts
from a new overlay.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vmkiln.azure_names import CUSTOMIZATION_LOG
from vmkiln.buildable.targets import GIB
from vmkiln.host.disk.disk_image import create_empty, create_overlay
from vmkiln.host.network.refused_names import advice
from vmkiln.host.qemu import Disk
from vmkiln.images.data_disk import file_beside
from vmkiln.packer.packer_template import Deprovision
from vmkiln.packer.step_runner import NOT_FOUND, OWN_DEPROVISIONING
from vmkiln.run.checkpoints import kept_builds, repeating, whole_builds
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.guest import choice, windows_source
from vmkiln.run.guest.order import AnyStep, PackerPhase
from vmkiln.run.packer_phase import PhaseResult, carry_out
from vmkiln.run.run_context import BUILD_VM, Disks, Entered, Staged
from vmkiln.run.run_event import Notice
from vmkiln.run.starts import build_vm_start
from vmkiln.run.steps import CUSTOMIZE
from vmkiln.run_failures import CheckpointLost, CustomizationFailed
from vmkiln.run_state import Phase
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.storage_account import LOGS
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.checkpoint import Checkpoint
from vmkiln.warm.saved_base import BaseStart

VM_NAME = BUILD_VM


async def customize(entered: Entered) -> Disks:
    """Customize the build VM, from the first customizer on or behind what is kept of an earlier build.

    Returns its disks. Raises: `CustomizationFailed` naming the step, `VirtualMachineLost`.
    """
    staged = entered.staged
    if staged.request.attempt > 1:  # an earlier one may have begun behind something
        await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, checkpoint=None)
    declared = staged.request.template.properties.customize
    customizers = await off_loop(lambda: choice.steps_of(staged, declared, where=CUSTOMIZE))
    build = await kept_builds.kept_build_of(staged, customizers, name=VM_NAME)
    if build.reason and build.positions:
        staged.tell(Notice(build.reason))
    whole = await whole_builds.found(staged, build)
    hit = whole or await kept_builds.longest_kept(staged, build)
    build = replace(build, since=time.time())  # what is kept of it is as old as its first customizer
    if repeated := await off_loop(lambda: repeating.sentence(staged, build, hit, count=len(customizers))):
        staged.tell(Notice(repeated))
        await off_loop(note_in_log, staged, repeated)
    if whole is not None:
        if said := await whole_builds.taken(staged, whole, _os_disk(staged), name=VM_NAME):
            await off_loop(lambda: note_in_log(staged, said, is_ended=True))
            return await _own_disks(staged, is_there=True)
        hit = await kept_builds.longest_kept(staged, build)
    if hit is not None:
        start = BaseStart(hit.saved, hit.about.instance_id)
        start = await build_vm_start.copied_disk(staged, start, _os_disk(staged))
        reason = start.reason
        if start.saved is not None:
            try:
                return await _behind(entered, customizers, build, hit, start)
            except CheckpointLost as error:
                reason = error.message
                await build_vm_start.thrown_away(staged, hit.saved, reason)
                await off_loop(_os_disk(staged).unlink, missing_ok=True)
                await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, checkpoint=None)
        staged.tell(Notice(f"what was kept is not used, so all customizers run: {reason}", is_warning=True))
    return await _from_the_first(entered, customizers, build)


async def _behind(
    entered: Entered, customizers: Sequence[AnyStep], build: KeptBuild, hit: Checkpoint, start: BaseStart
) -> Disks:
    """Only the customizers behind a checkpoint. Raises: `CheckpointLost` when it is of no use, before any of them."""
    staged = entered.staged
    disks = await _own_disks(staged, is_there=True)
    text = kept_builds.tell_hit(staged, VM_NAME, hit, count=len(customizers))
    await off_loop(note_in_log, staged, text)
    fact = kept_builds.fact_of(hit)
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, checkpoint=fact)
    kept = replace(build, since=hit.about.made)
    phase = _phase(staged, disks, customizers, kept, start=start, begins_behind=hit.about.position)
    return await _carried_out(entered, phase, disks)


async def _from_the_first(entered: Entered, customizers: Sequence[AnyStep], build: KeptBuild) -> Disks:
    staged = entered.staged
    own = _os_disk(staged)
    base = await build_vm_start.copied_disk(staged, await build_vm_start.start_of(staged, VM_NAME), own)
    disks = await _own_disks(staged, is_there=base.saved is not None)
    if choice.is_windows(staged):
        found = await windows_source.taken_out(entered, disks.os)
        if found.broken:
            await off_loop(own.unlink)
            disks = await _own_disks(staged)
        for text in found.sentences:
            await off_loop(note_in_log, staged, text)
    await off_loop(_told, staged, base)

    async def booted_instead(reason: str) -> None:
        assert base.saved is not None
        await build_vm_start.thrown_away(staged, base.saved, reason)
        await off_loop(own.unlink)
        await _own_disks(staged)
        await off_loop(_told, staged, BaseStart(reason=reason))

    phase = replace(_phase(staged, disks, customizers, build, start=base), booted_instead=booted_instead)
    return await _carried_out(entered, phase, disks)


def _phase(
    staged: Staged,
    disks: Disks,
    customizers: Sequence[AnyStep],
    build: KeptBuild,
    *,
    start: BaseStart,
    begins_behind: int = 0,
) -> PackerPhase:
    """The customizers that are left, each with its checkpoint, and the hidden last step; pure."""
    return PackerPhase(
        phase=Phase.CUSTOMIZING,
        vm_name=VM_NAME,
        steps=(*build.steps_behind(begins_behind, customizers), choice.last_step(staged)),
        disks=disks,
        log_name=CUSTOMIZATION_LOG,
        power_off=True,
        held_seconds=choice.held_seconds(staged),
        start=start,
        kept=build,
        begins_behind=begins_behind,
    )


async def _carried_out(entered: Entered, packer_phase: PackerPhase, disks: Disks) -> Disks:
    staged = entered.staged
    result = await carry_out(entered, packer_phase)
    if result.outcome.exit_status != 0:
        place = f" ({result.step.path})" if result.step and result.step.path else ""
        where = f" in `{result.step.name}`{place}" if result.step else ""
        raise CustomizationFailed(
            f"customizing failed{where}: {result.error or f'Packer exited with {result.outcome.exit_status}'}",
            hint=f"{advice(result.refused)}{_advice(result)}"
            f"`vmkiln run logs {staged.request.run_id[:8]}` shows the log "
            f"({staged.group.storage_account.name}/{LOGS}/{staged.request.run_id}/{CUSTOMIZATION_LOG})",
        )
    await whole_builds.keep(staged, packer_phase.kept, disks.os.path)
    return disks


def note_in_log(staged: Staged, text: str, *, is_ended: bool = False) -> None:
    """Write a line of ours into the log of customizing, which goes on over attempts; the last one, if it `is_ended`."""
    path = staged.group.storage_account.blob(f"{LOGS}/{staged.request.run_id}/{CUSTOMIZATION_LOG}")
    with CustomizationLog(path, staged.request.run_id, is_ended=is_ended) as log:
        log.write(text)


def _os_disk(staged: Staged) -> Path:
    return staged.directory / f"{VM_NAME}.qcow2"


def _told(staged: Staged, base: BaseStart) -> None:
    text = build_vm_start.tell_start(staged, VM_NAME, base)
    note_in_log(staged, text)


async def _own_disks(staged: Staged, *, is_there: bool = False) -> Disks:
    """An overlay on each disk of the source, and the template's additional data disks, which are empty.

    That of the OS disk may be there, as a copy of a saved VM's.
    """
    own = _os_disk(staged)
    source = staged.source.disks
    size = staged.shape.disk_bytes
    overlay = Disk(own, "qcow2", backing=source.os, size_bytes=size)
    if not is_there:
        await create_overlay(source.os, own, size_bytes=size)
    data = await overlays(source.data, own)
    for disk in staged.request.template.properties.additional_data_disks:
        lun = next(number for number in itertools.count() if number not in data)
        data[lun] = await create_empty(file_beside(own, lun), size_bytes=disk.size_gb * GIB)
    return Disks(overlay, data)


async def overlays(below: Mapping[int, Disk], os_disk: Path) -> dict[int, Disk]:
    """An overlay on each data disk, beside the OS disk of the VM that gets them."""
    return {lun: await create_overlay(disk, file_beside(os_disk, lun)) for lun, disk in below.items()}


def _advice(result: PhaseResult) -> str:
    """What to do about a deprovisioning script that names a program which the image has not."""
    if isinstance(result.step, Deprovision) and result.script_status == NOT_FOUND:
        return (
            f"{OWN_DEPROVISIONING} calls a program that the image does not have; if that is `waagent`, install its "
            "package in an earlier step, add it to the catalogue entry, or leave the script out; "
        )
    return ""
