"""Validating: the result boots on a throw-away overlay as validation VM, and Packer runs the validations in it.

*Leaves behind:* validation.log. *Undone by:* the deletion of the run's folder. *Safe to repeat:* yes.
Source: docs/reference/behaviour.md#validating.
"""

from dataclasses import replace

from vmkiln.azure_names import VALIDATION_LOG
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.network.refused_names import advice
from vmkiln.run.customizing import overlays
from vmkiln.run.guest import choice, windows_source
from vmkiln.run.guest.order import PackerPhase
from vmkiln.run.packer_phase import PhaseResult, carry_out
from vmkiln.run.run_context import Disks, Entered, Staged
from vmkiln.run.steps import VALIDATIONS
from vmkiln.run_failures import ValidationFailed
from vmkiln.run_state import Phase
from vmkiln.waiting.off_loop import off_loop

VM_NAME = "validation-vm"


async def validate(entered: Entered, disks: Disks) -> None:
    """Run the validations on `disks`, which are not changed. Raises: `ValidationFailed`, `VirtualMachineLost`."""
    staged = entered.staged
    validation = staged.request.template.properties.validation
    own = staged.directory / f"{VM_NAME}.qcow2"
    throw_away = Disks(await create_overlay(disks.os, own), await overlays(disks.data, own))
    # what was built has none of that any more
    is_source = choice.is_windows(staged) and disks == staged.source.disks
    if is_source and (await windows_source.taken_out(entered, throw_away.os)).broken:
        await off_loop(own.unlink)
        throw_away = replace(throw_away, os=await create_overlay(disks.os, own))
    steps = await off_loop(lambda: choice.steps_of(staged, validation.in_vm_validations, where=VALIDATIONS))
    packer_phase = PackerPhase(
        phase=Phase.VALIDATING,
        vm_name=VM_NAME,
        steps=steps,
        disks=throw_away,
        log_name=VALIDATION_LOG,
        power_off=False,
    )
    result = await carry_out(entered, packer_phase)
    if result.outcome.exit_status != 0:
        raise failure_of(staged, result)


def failure_of(staged: Staged, result: PhaseResult) -> ValidationFailed:
    """What went wrong, and whether that was in a validation, or before Packer came to any; pure."""
    where = f" in `{result.step.name}` ({result.step.path})" if result.step else ""
    error = ValidationFailed(
        f"validating failed{where}: {result.error or f'Packer exited with {result.outcome.exit_status}'}",
        hint=f"{advice(result.refused)}`vmkiln run logs {staged.request.run_id[:8]} --validation` shows the log",
    )
    error.is_booted = result.step is not None
    return error
