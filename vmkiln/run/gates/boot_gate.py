"""The boot gate: a result that no validation has booted is booted once all the same, before it is published.

It boots on throw-away overlays as validation VM, and Packer logs in as it would to validate. An image that does not
come up, or that nobody can log in to, is no image; how long it took is kept with the run.

*Leaves behind:* validation.log; a verdict by the digest of the disk. *Undone by:* the deletion of the run's folder; the
verdicts of later runs. *Safe to repeat:* yes.
"""

import time
from collections.abc import Callable

from vmkiln.azure_names import VALIDATION_LOG
from vmkiln.buildable.release_demands import BOOT_LEFT_OUT, BOOT_TAG, leaves_out_boot
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.images.data_disk import files_beside
from vmkiln.run.customizing import overlays
from vmkiln.run.guest import choice
from vmkiln.run.guest.order import PackerPhase
from vmkiln.run.packer_phase import PhaseResult, carry_out
from vmkiln.run.run_context import Disks, Entered, Staged
from vmkiln.run.run_event import Notice
from vmkiln.run.validating import VM_NAME
from vmkiln.run_failures import LoginTimedOut, ValidationFailed
from vmkiln.run_state import Phase
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.store.run_facts import BootFact
from vmkiln.waiting.off_loop import off_loop

TRIES = 2  # boots, where Packer's own failure ended the one before
GATE = "boot-1"  # of the verdicts; another number when what the gate asks for changes
HINT = f"an image that is meant to have no ssh on port 22 says so by the tag {BOOT_TAG} (`{BOOT_LEFT_OUT}`)"
WINDOWS_HINT = (
    f"an image that is not meant to be set up by an answer file says so by the tag {BOOT_TAG} (`{BOOT_LEFT_OUT}`)"
)


def is_wanted(staged: Staged) -> bool:
    """Whether this run's result is booted though it has no validations: by the setting, unless its tag is `off`."""
    return staged.host.settings.boot_gate and not leaves_out_boot(staged.request.template.tags)


async def is_known(staged: Staged, digest: str) -> bool:
    """Whether the bytes with this digest were booted before, by whatever run; then that is told and kept."""
    known = await off_loop(staged.host.store.verdicts.known, GATE, digest)
    if known is None:
        return False
    staged.tell(
        Notice(f"the result is not booted: run {known.run_id[:8]} booted the same bytes on {known.made:%Y-%m-%d}")
    )
    fact = BootFact(seconds_to_ssh=known.seconds, digest=digest, by_run=known.run_id)
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, boot=fact)
    return True


async def booted(entered: Entered, disks: Disks, *, digest: str) -> None:
    """Boot `disks`, which are not changed, and log in once; that they boot is kept by their digest.

    Raises: `LoginTimedOut` when that cannot be done, `ValidationFailed` when a script does not run, and as `carry_out`.
    """
    staged = entered.staged
    hint = WINDOWS_HINT if choice.is_windows(staged) else HINT
    staged.tell(Notice("booting the result once, for the template has no validations"))

    def tell_failure(error: str) -> None:
        text = f"Packer failed before a script ran in the result, which is booted once more: {error}"
        staged.tell(Notice(text, is_warning=True))

    try:
        result, seconds = await tried(entered, disks, phase=Phase.VALIDATING, tell_failure=tell_failure)
    except LoginTimedOut as error:
        error.hint = f"{hint}; {error.hint or ''}".removesuffix("; ")
        raise
    if result.outcome.exit_status != 0:
        raise ValidationFailed(f"the result booted, but no script runs in it: {result.error}", hint=hint)
    await off_loop(keep, staged, digest, seconds)


async def tried(
    entered: Entered, disks: Disks, *, phase: Phase, tell_failure: Callable[[str], None]
) -> tuple[PhaseResult, float]:
    """As `timed`, and once more where Packer ended before a script did, as it does when a plugin of its own breaks.

    That says nothing of the image; `tell_failure` gets what Packer said.
    """
    for others in reversed(range(TRIES)):
        result, seconds = await timed(entered, disks, phase=phase)
        if not others or result.outcome.exit_status == 0 or result.script_status is not None:
            break
        tell_failure(result.error)
        await off_loop(throw_away, entered.staged)
    return result, seconds


def throw_away(staged: Staged, name: str = VM_NAME) -> None:
    """Delete the overlays that a VM of this name wrote to."""
    os_disk = staged.directory / f"{name}.qcow2"
    for file in (*files_beside(os_disk).values(), os_disk):
        file.unlink(missing_ok=True)


async def timed(entered: Entered, disks: Disks, *, phase: Phase) -> tuple[PhaseResult, float]:
    """Boot `disks` on throw-away overlays, and log in once; how that ended, and the seconds. Raises: as `carry_out`."""
    staged = entered.staged
    own = staged.directory / f"{VM_NAME}.qcow2"
    own_disks = Disks(await create_overlay(disks.os, own), await overlays(disks.data, own))
    packer_phase = PackerPhase(
        phase=phase,
        vm_name=VM_NAME,
        steps=(choice.boot_step(staged),),
        disks=own_disks,
        log_name=VALIDATION_LOG,
        power_off=False,
    )
    began = time.monotonic()
    result = await carry_out(entered, packer_phase)
    return result, round(time.monotonic() - began, 1)


def keep(staged: Staged, digest: str, seconds: float) -> None:
    """Keep that the disks with this digest boot, and how long it took."""
    store, run_id = staged.host.store, staged.request.run_id
    store.runs.add_facts(run_id, boot=BootFact(seconds_to_ssh=seconds, digest=digest))
    store.verdicts.keep(VerdictRow(GATE, digest, run_id, seconds, store.now()))
