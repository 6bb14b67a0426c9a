"""Customizing: Packer, inside the container group, runs the customizers on the build VM; then the VM is deprovisioned.

*Leaves behind:* the build VM's overlays, powered off and belonging to nobody, and customization.log.
*Undone by:* the deletion of the run's folder. *Safe to repeat:* no, for customizers may do anything; a new run starts
from a new overlay.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path

from vmkiln.azure_names import CUSTOMIZATION_LOG
from vmkiln.buildable.targets import GIB
from vmkiln.host.disk.disk_image import create_empty, create_overlay
from vmkiln.host.network.refused_names import advice
from vmkiln.host.qemu import Disk
from vmkiln.images.data_disk import file_beside
from vmkiln.packer.packer_template import Deprovision
from vmkiln.packer.step_runner import NOT_FOUND, OWN_DEPROVISIONING
from vmkiln.run.guest import choice
from vmkiln.run.guest.order import AnyStep, PackerPhase
from vmkiln.run.packer_phase import PhaseResult, carry_out
from vmkiln.run.run_context import Disks, Entered, Staged
from vmkiln.run.starts import build_vm_start
from vmkiln.run.steps import CUSTOMIZE
from vmkiln.run_failures import CustomizationFailed
from vmkiln.run_state import Phase
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.storage_account import LOGS
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.saved_base import BaseStart

VM_NAME = "build-vm"


def steps_of(staged: Staged) -> tuple[AnyStep, ...]:
    """The template's customizers and the hidden last step."""
    customizers = choice.steps_of(staged, staged.request.template.properties.customize, where=CUSTOMIZE)
    return (*customizers, choice.last_step(staged))


async def customize(entered: Entered) -> Disks:
    """Customize the build VM; returns its disks.

    Raises: `CustomizationFailed` naming the step, `VirtualMachineLost`.
    """
    staged = entered.staged
    own = _os_disk(staged)
    base = await build_vm_start.copied_disk(staged, await build_vm_start.start_of(staged, VM_NAME), own)
    disks = await _own_disks(staged, is_there=base.saved is not None)
    await off_loop(_told, staged, base)

    async def booted_instead(reason: str) -> None:
        assert base.saved is not None
        await build_vm_start.thrown_away(staged, base.saved, reason)
        await off_loop(own.unlink)
        await _own_disks(staged)
        await off_loop(_told, staged, BaseStart(reason=reason))

    packer_phase = PackerPhase(
        phase=Phase.CUSTOMIZING,
        vm_name=VM_NAME,
        steps=await off_loop(steps_of, staged),
        disks=disks,
        log_name=CUSTOMIZATION_LOG,
        power_off=True,
        start=base,
        booted_instead=booted_instead,
        held_seconds=choice.held_seconds(staged),
    )
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
    return disks


def note_in_log(staged: Staged, text: str) -> None:
    """Write a line of ours into the log of customizing, which goes on over attempts."""
    path = staged.group.storage_account.blob(f"{LOGS}/{staged.request.run_id}/{CUSTOMIZATION_LOG}")
    with CustomizationLog(path, staged.request.run_id, is_ended=False) as log:
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
