"""Customizing: Packer, inside the container group, runs the customizers on the build VM; then the VM is deprovisioned.

*Leaves behind:* the build VM's overlay, powered off and belonging to nobody, and customization.log.
*Undone by:* the deletion of the run's folder. *Safe to repeat:* no, for customizers may do anything; a new run starts
from a new overlay.
"""

from vmkiln.azure_names import CUSTOMIZATION_LOG
from vmkiln.errors import CustomizationFailed
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.qemu import Disk
from vmkiln.packer.packer_template import Deprovision, Step
from vmkiln.packer.step_runner import NOT_FOUND, OWN_DEPROVISIONING
from vmkiln.run.packer_phase import PackerPhase, PhaseResult, carry_out
from vmkiln.run.run_context import Entered, Staged
from vmkiln.run.steps import CUSTOMIZE, packer_steps
from vmkiln.run_state import Phase
from vmkiln.staging.storage_account import LOGS

VM_NAME = "build-vm"


def steps_of(staged: Staged) -> tuple[Step, ...]:
    """The template's customizers and the hidden last step."""
    customizers = packer_steps(staged.request.template.properties.customize, staged.copies, where=CUSTOMIZE)
    return (*customizers, Deprovision())


async def customize(entered: Entered) -> Disk:
    """Customize the build VM; returns its disk.

    Raises: `CustomizationFailed` naming the step, `VirtualMachineLost`.
    """
    staged = entered.staged
    source = Disk(staged.source.path, staged.source.format, read_only=True)
    overlay = await create_overlay(source, staged.directory / f"{VM_NAME}.qcow2", size_bytes=staged.shape.disk_bytes)
    packer_phase = PackerPhase(
        phase=Phase.CUSTOMIZING,
        vm_name=VM_NAME,
        steps=steps_of(staged),
        disk=overlay,
        log_name=CUSTOMIZATION_LOG,
        power_off=True,
    )
    result = await carry_out(entered, packer_phase)
    if result.outcome.exit_status != 0:
        place = f" ({result.step.path})" if result.step and result.step.path else ""
        where = f" in `{result.step.name}`{place}" if result.step else ""
        raise CustomizationFailed(
            f"customizing failed{where}: {result.error or f'Packer exited with {result.outcome.exit_status}'}",
            hint=f"{_advice(result)}`vmkiln run logs {staged.request.run_id[:8]}` shows the log "
            f"({staged.group.storage_account.name}/{LOGS}/{staged.request.run_id}/{CUSTOMIZATION_LOG})",
        )
    return overlay


def _advice(result: PhaseResult) -> str:
    """What to do about a deprovisioning script that names a program which the image has not."""
    if isinstance(result.step, Deprovision) and result.script_status == NOT_FOUND:
        return (
            f"{OWN_DEPROVISIONING} calls a program that the image does not have; if that is `waagent`, install its "
            "package in an earlier step, add it to the catalogue entry, or leave the script out; "
        )
    return ""
