"""What the service does by itself: provision and delete image templates, run what waits, watch sources.

What is to be done is read from the store, so nothing is forgotten when the service ends; calls from outside only say
that there is something to look at. Templates are provisioned and deleted as far as `operation_turns.py` lets them, runs
start as far as the machine has room, both in turn between subscriptions.
"""

import asyncio
import contextlib
import functools
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from vmkiln.audit import act_names
from vmkiln.audit.act import DONE, SERVICE, Cause, Outcome, audit_row
from vmkiln.audit.audit_log import log_line
from vmkiln.azure_names import IMAGE_TEMPLATE, OperationStatus, ProvisioningState
from vmkiln.errors import StorageFailed
from vmkiln.fleet import operation_turns
from vmkiln.fleet.admission import QueuePosition
from vmkiln.fleet.attempt import ONE_AT_A_TIME, Build, HostDuties
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.fleet.log_retention import forget_logs
from vmkiln.fleet.operation_turns import Failed, next_ones
from vmkiln.fleet.placement.forecast import Forecast
from vmkiln.fleet.placement.outlook import Outlook, forecast_of
from vmkiln.fleet.run_queue import hosts_now, looked_at, queue_of
from vmkiln.fleet.run_trace import Span
from vmkiln.fleet.tally import Tally
from vmkiln.host import reserve_file
from vmkiln.lifetime import owned_tasks
from vmkiln.lifetime.owned_tasks import OnUnasked, OwnedTasks
from vmkiln.lifetime.rounds import Rounds
from vmkiln.lifetime.things import Things
from vmkiln.provisioning import provisioning, quotas, watching
from vmkiln.provisioning.record_retention import forget_requests, forget_runs
from vmkiln.provisioning.stored_template import check_rights, template_of
from vmkiln.run.room import NOTHING, Room
from vmkiln.run_failures import QuotaExceeded, RightsLost, RunFailed
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.store.database import Store, utc_now
from vmkiln.store.rows import AuditRow, OperationRow, ResourceRow, RunRow
from vmkiln.store.run_facts import RunFacts
from vmkiln.template.image_template import OnOff
from vmkiln.waiting.off_loop import in_round, off_loop

PROVISION, DELETE, RUN = "provision", "delete", "run"
AUTO_RUNS = uuid.UUID("5f0c5b7e-8a5e-4c8e-9d0b-6f8d1f7a2c31")  # the namespace of their ids (RFC 9562, version 5)
LOOK_SECONDS = 5.0
WATCH_SECONDS = 60.0
RETENTION_SECONDS = 3600.0
REQUESTS_SECONDS = 300.0
RECENT = timedelta(minutes=10)  # no clock goes back further
log = logging.getLogger(__name__)


def queued_run(
    row: ResourceRow, *, run_id: str, reason: str, correlation_id: str = "", retry_of: str = "", begun_by: str = ""
) -> RunRow:
    """A run of a stored template, waiting. `reason` says who asked: request, retry, autoRun or a trigger's name.

    `correlation_id` is that of the act it began with; the audit has it. `retry_of` is the run that it repeats.
    `begun_by` is the name of who asked; '' for nobody.
    """
    facts: RunFacts = {"reason": reason, "correlation_id": correlation_id}
    if retry_of:
        facts["retry_of"] = retry_of
    if begun_by:
        facts["begun_by"] = begun_by
    return RunRow(
        run_id=run_id,
        template_name=row.name,
        resource_group=row.resource_group,
        template={"properties": dict(row.properties)},
        state=RunState.QUEUED,
        sub_state="",
        message="",
        error_code="",
        staging_group=row.state.get("staging_group", ""),
        facts=facts,
        started=utc_now(),
        ended=None,
        template_id=row.key,
    )


def own_act(template: ResourceRow, run: RunRow, *, outcome: Outcome = DONE) -> AuditRow:
    """What the audit says of a run that nobody asked for; pure."""
    detail = {"runId": run.run_id, "reason": run.facts["reason"]}
    cause = Cause(run.facts["correlation_id"])
    return audit_row(
        act_names.RUN, template.id, who=SERVICE, cause=cause, moment=run.started, outcome=outcome, detail=detail
    )


def _outcome_of(refused: RunFailed | None) -> Outcome:
    """What the audit says of a run that nobody asked for, refused or not; pure."""
    if refused is None:
        return DONE
    return Outcome(409 if isinstance(refused, QuotaExceeded) else 403, refused.code)


class ImageBuilder:
    """The service's own work, and that of its host. `build` runs one request to its end; `capacity` says what the
    machine has for runs; `on_trace` gets the trace of each run that ended here; `shared` is what a fleet's hosts share.

    `submitted`, `queued`, `cancel` and `deleting` may be called from any thread; `serve` runs until it is cancelled.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        build: Build,
        *,
        capacity: Callable[[], Room] = lambda: ONE_AT_A_TIME,
        watch_seconds: float = WATCH_SECONDS,
        on_trace: Callable[[Span], None] | None = None,
        identity: HostIdentity | None = None,
        isolation_level: Callable[[], Awaitable[str]] | None = None,
        is_tried_first: bool = True,
        shared: SharedStorage | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        self.rounds = rounds or Rounds()
        self._settings = settings
        self._store = store
        self._shared = shared
        duties = HostDuties(build, capacity, isolation_level, on_trace, shared=shared, is_tried_first=is_tried_first)
        self._identity = identity or HostIdentity()
        self._host = Hosting(settings, store, duties, self._identity, rounds=self.rounds)
        self._watch_seconds = watch_seconds
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._going_on: dict[str, tuple[OperationRow, asyncio.Task[None]]] = {}
        self._failed = Failed()
        self._needs_room = False
        self._triggers = Things[str](self.rounds, "trigger")
        self._began = self._looked_since = store.now()
        self._counted: dict[str, datetime] = {}
        self._counting = threading.Lock()
        self._outlook = Outlook(self._forecast)

    @property
    def tally(self) -> Tally:
        """What has been seen since the start, on every host, each run once."""
        with self._counting:  # two who ask at once would count the same run twice
            # never an earlier moment than before, whatever a clock does: what is forgotten would be found once more
            since = self._looked_since = max(self._looked_since, self._store.now() - RECENT)
            for run in self._store.runs.ended_since(since):
                if run.run_id not in self._counted and run.ended is not None:
                    self._counted[run.run_id] = run.ended
                    if not self._ended_before(run):
                        self._host.tally.count(run, self._store.runs.phases_of(run.run_id))
            self._counted = {name: ended for name, ended in self._counted.items() if ended > since}
            return self._host.tally

    def _ended_before(self, run: RunRow) -> bool:
        """Whether it ended since the start already: one that was lost went on, and is counted as it ended first."""
        text = run.facts.get("ended_before", "")
        return bool(text) and datetime.fromisoformat(text) > self._began

    def queue(self) -> list[QueuePosition]:
        """The runs that wait for a host, each with its position in the queue and why it waits."""
        capacities = self._host.capacity_now()
        return queue_of(self._settings, self._store, capacities=capacities, templates=self._host.templates)

    def forecast(self) -> Forecast:
        """When waiting runs usually start, and those that go on are usually over; a few seconds old at most."""
        return self._outlook.now()

    def _forecast(self) -> Forecast:
        capacities, templates = self._host.capacity_now(), self._host.templates
        return forecast_of(
            self._store, looked_at(self._settings, self._store, capacities=capacities, templates=templates)
        )

    def room(self) -> tuple[Room, Room]:
        """What the live hosts have for runs, and what of it is promised to runs that go on."""
        hosts = hosts_now(self._store)
        return sum((host.capacity for host in hosts), NOTHING), sum((host.promised for host in hosts), NOTHING)

    def wake(self) -> None:
        """Something was recorded that is to be done: an image template to provision, or to delete."""
        self._look()

    def queued(self, run_id: str) -> None:
        """A run was recorded and waits."""
        self._host.asked(run_id)

    def cancel(self, run_id: str) -> None:
        """A run is to end Canceled, and the store says so; one that goes on elsewhere is left to its host."""
        self._host.cancel(run_id)

    def _look(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the service is ending
                self._loop.call_soon_threadsafe(self._wake.set)

    def resume(self) -> None:
        """Take up what an earlier service left between two writes: a template that waits, and no word of what for.

        To be called before requests are answered.
        """
        kinds = {ProvisioningState.CREATING: PROVISION, ProvisioningState.DELETING: DELETE}
        has_one = {operation.resource_id.lower() for operation in self._store.operations.open_ones()}
        for row in self._store.resources.in_provisioning_state(IMAGE_TEMPLATE, kinds):
            if row.key not in has_one:
                self._store.operations.begin(
                    kinds[row.properties["provisioningState"]],
                    subscription_id=row.subscription_id,
                    location="local",
                    resource_id=row.id,
                )

    async def serve(self, *, on_unasked: OnUnasked = owned_tasks.nothing) -> None:
        """Do what is to be done, until cancelled; runs that go on then are cleaned up, and start anew next time."""
        self._loop = asyncio.get_running_loop()
        try:
            async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
                if self._has_host:
                    tasks.own("host", self._host.serve(on_unasked=on_unasked))
                self._begin_rounds(tasks)
                try:
                    await owned_tasks.for_ever()
                finally:
                    for _, task in self._going_on.values():
                        if not task.cancelling():  # a second cancel would cut its clean-up short
                            task.cancel()
        finally:
            await asyncio.gather(*(task for _, task in self._going_on.values()), return_exceptions=True)

    def _begin_rounds(self, tasks: OwnedTasks) -> None:
        rounds, wake, each = self.rounds, self._wake, self._watch_seconds
        rounds.own(tasks, "templates", self._take, seconds=LOOK_SECONDS, wake=wake, on_failure=self._make_room)
        if not self._identity.is_embedded:
            forget = functools.partial(in_round, forget_logs, self._settings, self._store)
            rounds.own(tasks, "log retention", forget, seconds=RETENTION_SECONDS, is_needed=False)
            old_runs = functools.partial(in_round, forget_runs, self._settings, self._store)
            rounds.own(tasks, "run retention", old_runs, seconds=RETENTION_SECONDS, is_needed=False)
            requests = functools.partial(in_round, forget_requests, self._settings, self._store)
            rounds.own(tasks, "request retention", requests, seconds=REQUESTS_SECONDS, is_needed=False)
            rounds.own(tasks, "sources", self._watch, seconds=each, is_late_first=True, is_needed=False)

    @property
    def _has_host(self) -> bool:
        """Whether there is more to do here than to answer; a service without runs still looks after other hosts."""
        return self._identity.takes_runs or not self._identity.is_embedded

    async def at_work(self) -> None:
        """Returns when this machine's host has its lease, or only serves."""
        if self._has_host:
            await self._host.is_at_work.wait()

    async def _take(self) -> None:
        if self._needs_room:
            self._needs_room = False
            await in_round(self._make_room)
        kept_out = {*self._going_on, *self._failed.not_due(now=time.monotonic())}
        waiting = await in_round(self._open_operations, kept_out)
        for operation in next_ones(waiting, [operation for operation, _ in self._going_on.values()]):
            work = self._provision if operation.kind == PROVISION else self._delete
            self._start(operation, work(operation))

    def _open_operations(self, besides: Collection[str]) -> list[OperationRow]:
        """What this process was asked for, and, in a service, what others were and cannot do any more."""
        own = self._store.sessions.own
        front = functools.partial(
            self._store.operations.front,
            (PROVISION, DELETE),
            per_subscription=operation_turns.MOST_OF_A_SUBSCRIPTION,
            besides=besides,
        )
        if self._identity.is_embedded:
            return front(session=own)
        return front(not_sessions=self._store.sessions.going_on() - {own})

    def _start(self, operation: OperationRow, work: Coroutine[Any, Any, None]) -> None:
        if operation.operation_id in self._going_on:
            work.close()
            return
        task = asyncio.create_task(work, name=f"{operation.kind}:{operation.operation_id}")
        self._going_on[operation.operation_id] = operation, task
        task.add_done_callback(lambda _done: self._ended(operation))

    def _ended(self, operation: OperationRow) -> None:
        _, task = self._going_on.pop(operation.operation_id)
        self._wake.set()  # another one may have its turn
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._failed.forget(operation.operation_id)
            return
        # a later look takes it up again; at once it would only fail again
        self._failed.add(operation.operation_id, now=time.monotonic())
        self.rounds.count(operation.kind)
        if isinstance(error, StorageFailed):
            self._needs_room = True
            log.error("%s; it is tried again", error)
        else:
            log.error("%s failed, which is tried again", task.get_name(), exc_info=error)

    def _make_room(self) -> None:
        """Make what room there is: what could not be recorded is taken up again."""
        reserve_file.release_if_full(self._settings.home)

    async def _provision(self, operation: OperationRow) -> None:
        error = await provisioning.provision(self._settings, self._store, operation.resource_id, shared=self._shared)
        await off_loop(self._provisioned, operation, error)

    def _provisioned(self, operation: OperationRow, error: dict[str, Any]) -> None:
        """Record how provisioning a template ended, and that it runs by itself when it says so."""
        row = self._store.resources.get(operation.resource_id)
        if not error and row is not None and template_of(self._store, row).properties.auto_run.state is OnOff.ENABLED:
            run_id = str(uuid.uuid5(AUTO_RUNS, operation.operation_id))  # the same one, however often this is done
            if not self._store.runs.by_id([run_id]):
                run = queued_run(row, run_id=run_id, reason="autoRun", correlation_id=run_id)
                if self._queue(row, run):
                    self._host.wake()
        self._store.operations.end(
            operation.operation_id, status=OperationStatus.FAILED if error else OperationStatus.SUCCEEDED, error=error
        )

    async def _delete(self, operation: OperationRow) -> None:
        delete = functools.partial(provisioning.delete, shared=self._shared)
        await asyncio.to_thread(delete, self._settings, self._store, operation.resource_id)
        await off_loop(self._store.operations.end, operation.operation_id)

    async def _watch(self) -> None:
        if await in_round(self._look_at_sources):
            self._host.wake()

    def _look_at_sources(self) -> list[str]:
        """Queue the runs that triggers ask for; gives the runs' ids."""

        def queue(row: ResourceRow, *, run_id: str, reason: str) -> bool:
            return self._queue(row, queued_run(row, run_id=run_id, reason=reason, correlation_id=run_id))

        return watching.look_at_sources(self._settings, self._store, queue, self._triggers)

    def _queue(self, row: ResourceRow, run: RunRow) -> bool:
        """Queue a run of a template that nobody asked for, with its act in one transaction; false when one goes on.

        One whose rights are gone, or whose subscription has its fill, is recorded as failed, for its owner to see, and
        never begins.
        """
        run = replace(run, started=self._store.now())
        refused: RunFailed | None = None
        try:
            check_rights(self._store, row)
            quotas.check_run(self._settings, self._store, row, template_of(self._store, row))
        except (RightsLost, QuotaExceeded) as error:
            refused = error
        act = own_act(
            row,
            run,
            outcome=_outcome_of(refused),
        )
        if not self._store.runs.queue(run, act=act):
            return False
        log_line(act)
        if refused is not None:
            message = f"{refused.message}; {refused.hint}" if refused.hint else refused.message
            self._store.runs.move(
                run.run_id, expected=[RunState.QUEUED], state=RunState.FAILED, message=message, code=refused.code
            )
        return True
