"""A run from first step to last.

`execute` is the whole flow; each verb is a file of this folder. Cancelling the task cancels the run: the phase that is
on is interrupted, the clean-up runs, and the run ends Canceled.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from typing import Any

from vmkiln.azure_names import FLOW_LOG
from vmkiln.errors import DatabaseAway, InputError, RunCanceled, RunTakenOver, VmkilnError
from vmkiln.files.durable_file import FULL, storage_error
from vmkiln.host import namespace, reserve_file
from vmkiln.host.confinement import run_group
from vmkiln.host.confinement.run_group import RunGroup
from vmkiln.host.egress.name_proxy import Passage
from vmkiln.host.egress.policy_text import policy_sentence
from vmkiln.host.egress.resolver_program import Told
from vmkiln.host.host_id import host_id
from vmkiln.host.network import flow_log, network_rules, network_setup
from vmkiln.host.network.flow_log import Whereabouts
from vmkiln.host.network.refused_names import RefusedNames
from vmkiln.host.usage import machine_usage
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.packer.windows_template import PROVISIONERS_OF_UPDATES
from vmkiln.process_log import hiding
from vmkiln.receipts.verification import verify
from vmkiln.run import building, cleaning_up, customizing, distributing
from vmkiln.run.attesting import source_look
from vmkiln.run.checkpoints import whole_builds
from vmkiln.run.final_disk import proving
from vmkiln.run.final_disk.proving import Proven
from vmkiln.run.finished import kept_disk
from vmkiln.run.finished.finished_work import FinishedWork
from vmkiln.run.packer_phase import keep_confinement
from vmkiln.run.room import need_fact, need_of
from vmkiln.run.run_context import BuildHost, Disks, Entered, RunRequest, Staged, Tell
from vmkiln.run.run_event import VM_OF, Notice, RunEnded, RunEvent, masked, noting
from vmkiln.run.run_summary import summary_of
from vmkiln.run.timeline.phase import begin
from vmkiln.run.timeline.recording import timed, watched
from vmkiln.run_failures import (
    CustomizationFailed,
    GeneralizationIncomplete,
    InspectionFailed,
    LauncherLost,
    RunTimedOut,
    first_of,
)
from vmkiln.run_state import Phase, RunState, code_of, is_of_the_host
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.staging import container_group, run_directory
from vmkiln.staging.staging_resource_group import resources
from vmkiln.staging.storage_account import LOGS
from vmkiln.staging.virtual_network import resources_of
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow
from vmkiln.store.run_facts import RunFacts
from vmkiln.template.customizers.windows_update import WindowsUpdateCustomizer
from vmkiln.template.image_template import Customizer
from vmkiln.template.validation import InVmValidation
from vmkiln.waiting.beside import beside
from vmkiln.waiting.deadline import deadline_in
from vmkiln.waiting.off_loop import off_loop, off_loop_with

# Errors after which the run is not recorded as ended: another attempt has it, or the database could not be told. Then
# whoever finds it without its process begins it anew.
NOT_OURS_TO_END = (RunTakenOver, DatabaseAway)
PROCESSES_OF_A_STEP = 8  # more of Packer's than any step has, but for one of updates
MACHINES = frozenset(name for vm in VM_OF.values() for name in (vm, container_group.machine_name(vm)))
MOST_POLICY_LETTERS = 4000  # of a policy that is kept with its run
Phases = Callable[[BuildHost, RunRequest, Tell], Awaitable[str]]
TIMEOUT_MESSAGE = (
    "Failed while waiting for packerizer: Timeout waiting for microservice to complete: 'context deadline exceeded'"
)


async def execute(host: BuildHost, request: RunRequest, tell: Tell, *, phases: Phases | None = None) -> dict[str, Any]:
    """Run a template to its end; returns the run's summary, which is empty for a run of the queue.

    `phases` may stand in for what needs virtual machines.

    Raises: what made the run fail, after everything temporary is gone; `RunCanceled` when it was cancelled. A cancel
    that comes when nothing is left to interrupt changes nothing.
    """

    def tell_masked(event: RunEvent) -> None:
        tell(masked(event, request.mask))

    if request.incarnation:
        host = replace(host, store=host.store.fenced(request.run_id, incarnation=request.incarnation))
    locked = functools.partial(run_directory.locked, host.settings.runs, request.run_id)
    with hiding(request.mask.secrets):
        async with off_loop_with(locked):
            await off_loop(_accept, host, request)
            if host.emulation_notice:
                tell_masked(Notice(host.emulation_notice, is_warning=True))
            try:
                return await _to_the_end(host, request, tell_masked, timed(phases or _phases))
            finally:  # behind its recorded end: a run that is begun anew keeps its disk
                await off_loop(kept_disk.forget_now_or_later, host, request.run_id)


async def _to_the_end(host: BuildHost, request: RunRequest, tell: Tell, phases: Phases) -> dict[str, Any]:
    timeout_seconds = request.template.build_timeout_seconds
    try:
        try:
            async with _receipts(host, request), _shared(host, request), deadline_in(timeout_seconds) as deadline:
                message = await phases(host, request, tell)
                await _late_cancel_passed()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            # what was interrupted may have left a note: the end of the consoles
            interrupted = error.__cause__ or error.__context__  # the latter before Python 3.12
            notes = getattr(interrupted, "__notes__", ())
            hint = "\n".join([f"buildTimeoutInMinutes is {timeout_seconds // 60}", *notes])
            raise RunTimedOut(TIMEOUT_MESSAGE, hint=hint) from error
    except NOT_OURS_TO_END:
        raise
    except asyncio.CancelledError as error:
        most = host.settings.most_run_attempts
        if request.is_stopping() and await off_loop(host.store.runs.requeue, request.run_id, most_attempts=most):
            raise RunCanceled("the service ends; the run starts anew with the next one") from error
        canceled = RunCanceled("the run was cancelled")
        await _end(host, request, tell, RunState.CANCELED, canceled)
        raise canceled from error
    except BaseExceptionGroup as group:
        cause = _masked_error(first_of(group), request.mask)
        if _ends_the_attempt_only(request, cause):
            raise cause from group
        await _end(host, request, tell, RunState.FAILED, cause)
        raise cause from group
    except Exception as error:
        cause = storage_error("the run", error) if isinstance(error, OSError) and error.errno in FULL else error
        _masked_error(cause, request.mask)
        if not _ends_the_attempt_only(request, cause):
            await _end(host, request, tell, RunState.FAILED, cause)
        if cause is not error:
            raise cause from error
        raise
    await _late_cancel_passed()
    state = RunState.PARTIALLY_SUCCEEDED if message else RunState.SUCCEEDED
    summary = await _end(host, request, tell, state, None, message=message)
    await _late_cancel_passed()
    return summary


@contextlib.asynccontextmanager
async def _receipts(host: BuildHost, request: RunRequest) -> AsyncIterator[None]:
    """What was temporary is looked for when all of it should be gone, before the run is recorded as ended."""
    try:
        yield
    finally:
        await off_loop(verify, host.settings, host.store, request.run_id)


def _shared(host: BuildHost, request: RunRequest) -> AbstractAsyncContextManager[None]:
    """What the run writes is shared with the other hosts, up to its last line, before it is recorded as ended."""
    if host.shared is None:
        return contextlib.nullcontext()
    group = request.submission.group.name if request.submission is not None else ""
    return host.shared.mirrored(run_id=request.run_id, attempt=request.attempt, group=group)


async def _late_cancel_passed() -> None:
    """Let a cancel that came too late pass by, so that what was published is also reported."""
    task = asyncio.current_task()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        while task is not None and task.cancelling():
            task.uncancel()


def _ends_the_attempt_only(request: RunRequest, error: BaseException) -> bool:
    """Whether the run goes on after an error, in another attempt; pure."""
    if isinstance(error, LauncherLost):  # as when the process of the whole service ends
        return bool(request.incarnation)
    return isinstance(error, NOT_OURS_TO_END) or (request.may_be_put_back and is_of_the_host(error))


def _masked_error(error: BaseException, mask: SecretMask) -> BaseException:
    """The same error; what it says has no secrets any more."""
    if isinstance(error, VmkilnError):
        error.mask(mask)
    return error


def _accept(host: BuildHost, request: RunRequest) -> None:
    """Record the run before anything is done for it."""
    facts: RunFacts = {
        "isolation_level": host.isolation_level,
        "accelerator": str(host.accelerator),
        "accelerator_reason": host.accelerator_reason,
        "packer_version": host.container_image.packer_version,
        "container_image": host.container_image.digest,
        "host_id": host_id(host.settings),
        "need": need_fact(need_of(host.settings, host.store, request.template)),
    }
    if request.resumes:
        facts["attempt"] = request.attempt
    if request.built_of is not None:
        facts["built_of"] = request.built_of
        facts |= {"retry_of": request.retry_of} if request.retry_of else {}
        facts |= {"begun_by": request.begun_by} if request.begun_by else {}
    is_started = host.store.runs.start(
        RunRow(
            run_id=request.run_id,
            template_name=request.template_name,
            resource_group=request.resource_group,
            template=request.mask.value(request.resolved),
            state=RunState.RUNNING,
            sub_state="",
            message="",
            error_code="",
            staging_group=request.submission.group.name if request.submission is not None else "",
            facts=facts,
            started=host.store.now(),
            ended=None,
            template_id=request.template_id.lower(),
        ),
        resumes=request.resumes,
    )
    if not is_started and request.resumes:
        raise InputError(f"the run {request.run_id} goes on already, or has ended")
    if not is_started:
        raise RunCanceled("the run was cancelled while it waited")


async def _phases(host: BuildHost, request: RunRequest, tell: Tell) -> str:
    """Every phase in order; returns why the run is only partly successful ('' when it is wholly)."""
    runs, run_id = host.settings.runs, request.run_id
    async with off_loop_with(lambda: run_directory.held(runs, run_id, attempt=request.attempt)) as directory:
        try:
            await begin(host, request, tell, Phase.BUILDING)
            where = Whereabouts()
            work = await kept_disk.finished_before(host, request)
            staged = await building.stage(host, request, directory, noting(tell, where.note), work)
            return await _distribute(staged, await _build_or_forget(staged, where, work))
        finally:
            await off_loop(reserve_file.release_if_full, host.settings.home)
            await off_loop(cleaning_up.forget_unmade, host.store, run_id)
            await begin(host, request, tell, Phase.CLEANING_UP)


@contextlib.asynccontextmanager
async def _entered(staged: Staged, where: Whereabouts) -> AsyncIterator[Entered]:
    """The run's namespaces and network, recorded in the staging resource group while they exist, with what goes out."""
    store, group, run_id = staged.host.store, staged.group, staged.request.run_id
    recorded = resources_of(staged.network)
    policy = policy_sentence(staged.network.egress_policy).partition(": ")[2][:MOST_POLICY_LETTERS]
    await off_loop(store.runs.add_facts, run_id, topology=staged.network.topology, egress_policy=policy)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(off_loop_with(lambda: resources(group, store, recorded)))
        held_by = await stack.enter_async_context(off_loop_with(lambda: _control_group(staged)))
        inside = await stack.enter_async_context(namespace.opened(group=held_by))
        await stack.enter_async_context(watched(inside.process_id, staged.tell))
        await bind_run_directory(inside, staged.directory)
        refused = RefusedNames()
        flows = flow_log.FlowLog(staged.network.network, where, staged.request.mask)

        def on_question(told: Told) -> None:
            refused.question(told)
            flows.question(told)

        def on_passage(passage: Passage) -> None:
            refused.passage(passage)
            flows.passage(passage)

        joined = network_setup.joined(
            inside,
            staged.network.network,
            on_question=on_question,
            on_passage=on_passage,
            on_confinement=functools.partial(keep_confinement, staged),
        )
        lost = await stack.enter_async_context(joined)
        log_file = await off_loop(group.storage_account.blob, f"{LOGS}/{run_id}/{FLOW_LOG}")
        await stack.enter_async_context(flow_log.recorded(inside, flows, log_file, lost))
        file = staged.host.settings.staging / group.name / network_rules.FILE_NAME
        network = network_rules.described(staged.network.network)
        facts = {"run_id": run_id, "topology": staged.network.topology, "network": network}
        await stack.enter_async_context(network_rules.recorded(inside, file, facts=facts))
        file = file.with_name(machine_usage.FILE_NAME)
        await stack.enter_async_context(machine_usage.recorded(inside, file, names=MACHINES, run_id=run_id))
        yield Entered(staged, inside, lost, refused)
        ruleset = await inside.run(["nft", "-j", "--terse", "list", "ruleset"])
        await off_loop(store.runs.add_facts, run_id, packets=network_setup.counters(ruleset.text))


def most_processes(steps: Sequence[Customizer | InVmValidation]) -> int:
    """More processes of Packer's than these steps have; pure."""
    updates = sum(isinstance(step, WindowsUpdateCustomizer) for step in steps)
    return PROCESSES_OF_A_STEP * len(steps) + PROVISIONERS_OF_UPDATES * updates


def _control_group(staged: Staged) -> AbstractContextManager[RunGroup | None]:
    """The run's own, where one is delegated. Raises: `HostUnfit` when the settings demand more than there is."""
    properties = staged.request.template.properties
    steps = (*properties.customize, *properties.validation.in_vm_validations)
    guests_mib = staged.shape.memory_mib + container_group.memory_mib(most_processes(steps))
    most = run_group.limits_of(guests_mib=guests_mib)
    is_required = staged.host.settings.require_confinement
    return run_group.held(staged.request.run_id, most, is_required=is_required)


async def _build(staged: Staged, where: Whereabouts, work: FinishedWork | None) -> Proven:
    """Customize and validate, as far as that is left; returns the disks to distribute."""
    if work is not None:
        told = Notice(f"attempt {work.attempt} of this run customized its disk; this one goes on from there")
        staged.tell(told)
        await off_loop(customizing.note_in_log, staged, told.text)
        if work.image is not None:
            await source_look.tell_if_unknown(staged)
            return Proven(work.disks(staged.directory), work.validation_failure)
    async with beside() as tasks, _entered(staged, where) as entered:
        if work is not None:
            customized = work.disks(staged.directory)
        elif staged.request.template.properties.validation.source_validation_only:
            return await proving.proven(entered, staged.source.disks, None, tasks)
        else:
            customized, work = await _customized(entered)
        await source_look.look_once(entered)
        disks = await proving.scrubbed(entered, customized)
        return await proving.proven(entered, disks, work, tasks)


async def _build_or_forget(staged: Staged, where: Whereabouts, work: FinishedWork | None) -> Proven:
    """Build; a disk that the hygiene gate refused is kept for nobody."""
    try:
        return await _build(staged, where, work)
    except (GeneralizationIncomplete, InspectionFailed):
        with contextlib.suppress(VmkilnError, OSError):  # it is too old some day, and the run has its own error
            await off_loop(whole_builds.forget, staged)
        raise


async def _customized(entered: Entered) -> tuple[Disks, FinishedWork]:
    """Customize; returns the disks, and what is kept of them for whatever comes."""
    staged = entered.staged
    await begin(staged.host, staged.request, staged.tell, Phase.CUSTOMIZING)
    try:
        disks = await customizing.customize(entered)
    except CustomizationFailed:
        await proving.keep_the_build_vm(staged)
        raise
    return disks, await kept_disk.keep(staged, disks)


async def _distribute(staged: Staged, proven: Proven) -> str:
    if staged.request.template.properties.validation.source_validation_only:
        staged.tell(Notice("only the source was validated, as the template asks; nothing is distributed"))
        outputs = []
    else:
        await begin(staged.host, staged.request, staged.tell, Phase.DISTRIBUTING)
        outputs = await distributing.distribute(staged, proven.disks, proven.flattened)
    if proven.failure is not None:
        raise proven.failure
    return distributing.failures_of(outputs)


async def _end(
    host: BuildHost,
    request: RunRequest,
    tell: Tell,
    state: RunState,
    error: BaseException | None,
    *,
    message: str = "",
) -> dict[str, Any]:
    text = request.mask(message or (str(error) if error is not None else ""))
    if request.submission is not None and isinstance(error, VmkilnError) and error.outside:
        text = error.outside  # who reads it may be on another machine; the log has the rest
    code = "" if error is None else code_of(error)
    state, text = await off_loop(_record_end, host.store, request.run_id, state, text, code)
    # nobody waits for that of a run of the queue, and to collect it takes as long as to record its end
    summary = {} if request.incarnation else await off_loop(summary_of, host.store, request.run_id)
    tell(RunEnded(state, text, summary))
    return summary


def _record_end(store: Store, run_id: str, state: RunState, message: str, code: str) -> tuple[RunState, str]:
    """Record how a run ended; returns what is on record then. Raises: `RunTakenOver`."""
    expected = [RunState.RUNNING, RunState.CANCELING]
    if not store.runs.move(run_id, expected=expected, state=state, message=message, code=code):
        # somebody else has moved it on meanwhile, and what is recorded is what counts
        recorded = store.runs.find(run_id)
        if recorded.ended is None:
            raise RunTakenOver(f"the run is {recorded.state} again, by somebody else's doing")
        state, message = RunState(recorded.state), recorded.message
    return state, message
