"""The final disk at its gates: validated or booted, while it is flattened, hashed and searched.

The build VM is off and the disk is scrubbed, so nothing writes to it any more, and all of this reads it at the same
time. Publishing waits for all of it; when one fails the others are stopped, and what was flattened is deleted.

*Leaves behind:* flattened disks in the run's folder. *Undone by:* `flattening.discard`, and the deletion of the run's
folder. *Safe to repeat:* yes.
"""

import asyncio
from dataclasses import dataclass, replace

from vmkiln.images.image_store import ImageFacts
from vmkiln.run import cleaning_up, customizing, validating
from vmkiln.run.final_disk import flattening, vm_boot
from vmkiln.run.finished.finished_work import FinishedWork, record
from vmkiln.run.gates import boot_gate, hygiene_gate
from vmkiln.run.held import lease
from vmkiln.run.run_context import Disks, Entered, Staged
from vmkiln.run.run_event import Notice, StepFailed
from vmkiln.run.timeline.phase import begin
from vmkiln.run_failures import CustomizationFailed, ValidationFailed
from vmkiln.run_state import Phase
from vmkiln.template.image_template import OnError
from vmkiln.waiting.off_loop import off_loop

BEFORE = (customizing.VM_NAME, hygiene_gate.SCRUBBED, vm_boot.TRIMMED)  # whose overlays a later VM's lie on


@dataclass(frozen=True)
class Proven:
    """Disks that passed their gates. `failure` is a failed validation that the run goes on with all the same.

    `flattening` began while the gates looked at them; none when there was no gate to wait for.
    """

    disks: Disks
    failure: ValidationFailed | None = None
    flattening: asyncio.Task[ImageFacts] | None = None

    @property
    def flattened(self) -> ImageFacts | None:
        """What was made of the disks, once that is over; none when nothing was begun."""
        return None if self.flattening is None else self.flattening.result()


async def scrubbed(entered: Entered, customized: Disks) -> Disks:
    """The customized disks behind the hygiene gate, which each attempt passes anew; they are final then."""
    try:
        return await hygiene_gate.scrubbed(entered, customized)
    except CustomizationFailed:
        await keep_the_build_vm(entered.staged)
        raise


async def proven(entered: Entered, disks: Disks, work: FinishedWork | None, tasks: asyncio.TaskGroup) -> Proven:
    """Bring the final disk through the gate that is left; meanwhile one of `tasks` flattens it, and may take longer.

    `work` is what is on record of the run's customizing.

    Raises: `ValidationFailed` for one that ends the run, `LoginTimedOut`; the task as `flattening.prepared`.
    """
    staged = entered.staged
    if work is None:  # a source that is only validated, and not distributed
        has_validations = bool(staged.request.template.properties.validation.in_vm_validations)
        return Proven(disks, await _validated(entered, disks)) if has_validations else Proven(disks)
    made = await vm_boot.optimized(entered, disks, digest=work.digest)
    disks = made.disks
    if work.is_validated_as(made.digest):
        return Proven(disks, work.validation_failure)
    await off_loop(_forget_others, staged, work, made.digest)
    if staged.request.template.properties.validation.in_vm_validations:
        gate = _validated(entered, disks)
    elif not boot_gate.is_wanted(staged):
        return Proven(disks)
    elif made.seconds is not None:  # it was booted, and a script ran in it
        await off_loop(boot_gate.keep, staged, made.digest, made.seconds)
        passed = replace(work, is_validated=True, validation_error="", validated=made.digest)
        await off_loop(record, staged.host.store, staged.request.run_id, passed)
        return Proven(disks)
    elif await boot_gate.is_known(staged, made.digest):
        return Proven(disks)
    else:
        gate = _booted(entered, disks, made.digest)
    going_on = tasks.create_task(flattening.prepared(staged, disks, is_beside=True))
    failure = await gate
    is_booted = failure is None or failure.is_booted  # what nobody could log in to has not shown that it boots
    error = "" if failure is None else failure.message
    passed = replace(work, is_validated=is_booted, validation_error=error, validated=made.digest)
    await off_loop(record, staged.host.store, staged.request.run_id, passed)
    return Proven(disks, failure, going_on)


def _forget_others(staged: Staged, work: FinishedWork, digest: str) -> None:
    """Take off the record what an earlier attempt of the run proved of other disks than those with this digest."""
    store, run_id = staged.host.store, staged.request.run_id
    if work.is_validated:
        record(store, run_id, replace(work, is_validated=False, validation_error="", validated=""))
    boot = store.runs.find(run_id).facts.get("boot")
    if boot is not None and boot.get("digest") != digest:
        store.runs.add_facts(run_id, boot=None)


async def _booted(entered: Entered, disks: Disks, digest: str) -> None:
    staged = entered.staged
    await begin(staged.host, staged.request, staged.tell, Phase.VALIDATING)
    await boot_gate.booted(entered, disks, digest=digest)


async def _validated(entered: Entered, disks: Disks) -> ValidationFailed | None:
    """Validate; returns an error that does not stop what comes next. Raises: `ValidationFailed` for one that does."""
    staged = entered.staged
    properties = staged.request.template.properties
    await begin(staged.host, staged.request, staged.tell, Phase.VALIDATING)
    try:
        await validating.validate(entered, disks)
    except ValidationFailed as error:
        if properties.error_handling.on_validation_error is OnError.ABORT:
            await cleaning_up.keep_failed_vm(staged, BEFORE, vm_name=validating.VM_NAME)
        if not properties.validation.continue_distribute_on_failure:
            raise
        if error.is_booted:
            staged.tell(StepFailed(Phase.VALIDATING))
        staged.tell(Notice(f"{error.message}; distributing all the same, as the template asks", is_warning=True))
        return error
    return None


async def keep_the_build_vm(staged: Staged) -> None:
    """Keep what customizing left, where the template asks for that and it does not lie on disk, sealed, already."""
    if staged.request.template.properties.error_handling.on_customizer_error is not OnError.ABORT:
        return
    if await off_loop(lease.found, staged.host.settings, staged.request.run_id) is None:
        await cleaning_up.keep_failed_vm(staged, BEFORE, vm_name=customizing.VM_NAME)
