"""One attempt of a run on this host: from the stored template to the recorded end."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vmkiln.errors import DatabaseAway, LeaseLost, RunCanceled, RunTakenOver, VmkilnError
from vmkiln.fleet.run_trace import Span, StepClock, StepStart, trace_of
from vmkiln.lifetime import last_words
from vmkiln.provisioning.stored_template import check_rights, request_of
from vmkiln.run.room import Room
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.run.run_event import Notice, RunEvent
from vmkiln.run_failures import LauncherLost
from vmkiln.run_state import GOING_ON, RunState, code_of, is_of_the_host
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.store.database import Store
from vmkiln.store.rows import HostFault, ResourceRow, RunRow
from vmkiln.waiting.off_loop import off_loop, until_cancelled

Build = Callable[[RunRequest, Tell], Awaitable[object]]
ONE_AT_A_TIME = Room(2, 1024**2, 1024**3)  # every run takes at least two CPUs
log = logging.getLogger(__name__)


def end_process(reason: str) -> None:
    """End this process at once: the kernel ends its builds with it, before anybody else begins them."""
    last_words.end_now(LeaseLost.exit_code, f"{reason}; this process ends, and its builds with it")


@dataclass(frozen=True)
class HostDuties:
    """What a host works with: `build` runs one request to its end, `capacity` says what the machine has for runs.

    `isolation_level` makes the machine ready and finds out what it can promise; `on_trace` gets the trace of each run
    that ended here, where somebody wants it; `on_lost` ends the process when its lease is lost; `shared` is what a
    fleet's hosts share. Without `is_tried_first` the machine gets runs before it was made ready.
    """

    build: Build
    capacity: Callable[[], Room] = lambda: ONE_AT_A_TIME
    isolation_level: Callable[[], Awaitable[str]] | None = None
    on_trace: Callable[[Span], None] | None = None
    on_lost: Callable[[str], None] = end_process
    shared: SharedStorage | None = None
    is_tried_first: bool = True


async def attempt_run(
    settings: Settings,
    store: Store,
    duties: HostDuties,
    run: RunRow,
    *,
    incarnation: str,
    is_stopping: Callable[[], bool],
    may_be_put_back: bool = False,
) -> HostFault | None:
    """Run it to its end, and record why it ended where it has not done so itself.

    With `may_be_put_back` a fault of the host puts it back among those that wait, and is returned. It writes only while
    the host of `incarnation` has it. Raises: nothing but the cancel it got.
    """
    clock = StepClock(store.now)
    extra = {"run_id": run.run_id, "template_id": run.template_id, "attempt": run.attempt}
    extra["correlation_id"] = run.facts.get("correlation_id", "")

    def tell(event: RunEvent) -> None:
        clock.tell(event)
        if isinstance(event, Notice):
            level = logging.WARNING if event.is_warning else logging.INFO
            log.log(level, "%s (run %s)", event.text, run.run_id, extra=extra)

    error: BaseException | None = None
    fault: HostFault | None = None
    try:
        row = await off_loop(store.resources.get, run.template_id)
        if row is None:
            raise VmkilnError("the image template was deleted while its run waited")
        # however it came to its beginning: asked for, by a trigger, after a restart, once more after a host's death
        await off_loop(check_rights, store, row)
        if duties.shared is not None:  # which may take long, and a cancel is heard meanwhile
            await until_cancelled(duties.shared.pull_for_attempt, row.state["staging_group"], run.run_id)
        request = await off_loop(_request_of, settings, store, row, run.run_id)
        await duties.build(
            replace(
                request,
                attempt=run.attempt,
                incarnation=incarnation,
                is_stopping=is_stopping,
                may_be_put_back=may_be_put_back,
                asked_for=_asked_for(run),
                retry_of=run.facts.get("retry_of", ""),
            ),
            tell,
        )
    except asyncio.CancelledError as cancelled:
        error = cancelled
        raise
    except VmkilnError as failure:
        error, fault = failure, _fault_of(failure) if may_be_put_back else None
        if not is_stopping():
            log.warning("the run %s of %s failed: %s", run.run_id, run.template_name, failure, extra=extra)
    except Exception as failure:
        error = failure
        log.exception("the run %s of %s failed", run.run_id, run.template_name, extra=extra)
    finally:
        # when the database is away, settling the attempt, or another host, does what is left to do
        with contextlib.suppress(DatabaseAway, RunTakenOver):
            fenced = store.fenced(run.run_id, incarnation=incarnation)
            if isinstance(error, LauncherLost):
                most = settings.most_run_attempts
                await off_loop(store.hosts.withdraw, run.run_id, incarnation=incarnation, most_attempts=most)
            elif fault is None:
                await off_loop(_record_end, fenced, run, _end_of(error, is_stopping=is_stopping()))
            else:
                await off_loop(_put_back, settings, store, run, incarnation=incarnation, fault=fault)
            if duties.on_trace is not None and (trace := await off_loop(_trace, store, run, clock.steps)) is not None:
                duties.on_trace(trace)
    return fault


def _asked_for(run: RunRow) -> datetime:
    """Since when a run that waits did so; its first attempt is on record with it. Pure."""
    queued = run.facts.get("queued", "")
    return datetime.fromisoformat(queued) if queued else run.started


def _request_of(settings: Settings, store: Store, row: ResourceRow, run_id: str) -> RunRequest:
    """What a stored template asks for, with a folder for its storage account. Raises: `VmkilnError`."""
    request = request_of(settings, store, row, run_id=run_id)
    if request.submission is not None:  # made where the template was submitted, which may be another host
        request.submission.group.storage_account.create()
    return request


def _record_end(store: Store, run: RunRow, end: tuple[RunState, str, str] | None) -> None:
    """Record how a run ended, where it has not done so itself."""
    if end is not None:
        state, message, code = end
        expected = [RunState.QUEUED, *GOING_ON]
        store.runs.move(run.run_id, expected=expected, state=state, message=message, code=code)


def _trace(store: Store, run: RunRow, steps: Sequence[StepStart]) -> Span | None:
    """The trace of a run, when it has ended."""
    ended = store.runs.by_id([run.run_id], has_template=False).get(run.run_id, run)
    return None if ended.ended is None else trace_of(ended, store.runs.phases_of(run.run_id), steps)


def _fault_of(error: VmkilnError) -> HostFault | None:
    """What an error says of the host, where it is the host's and not the run's; pure."""
    if isinstance(error, DatabaseAway) or not is_of_the_host(error):
        return None
    return HostFault(error.code, error.message, error.outside or error.message)


def _put_back(settings: Settings, store: Store, run: RunRow, *, incarnation: str, fault: HostFault) -> None:
    """Let another host try, or this one later."""
    most = settings.most_run_attempts
    store.hosts.put_back(run.run_id, incarnation=incarnation, fault=fault, most_attempts=most)


def _end_of(error: BaseException | None, *, is_stopping: bool) -> tuple[RunState, str, str] | None:
    """How a run ends that did not record it itself: state, message and code; none where it is not to end here. Pure."""
    match error:
        case None | RunTakenOver() | DatabaseAway():
            return None
        case asyncio.CancelledError():
            return None if is_stopping else (RunState.CANCELED, "the run was cancelled", RunCanceled.code)
        case RunCanceled() if is_stopping:
            return None
    told = getattr(error, "outside", "") or str(error)  # who reads it may be on another machine
    return RunState.FAILED, told, code_of(error)
