"""What the service does by itself: provision and delete image templates, run what waits, watch sources.

What is to be done is read from the store, so nothing is forgotten when the service ends; calls from outside only say
that there is something to look at. Runs start as far as the machine has room, in turn between subscriptions.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from vmkiln.errors import RunCanceled, StorageFailed, VmkilnError
from vmkiln.run import ballast, cleaning_up, provisioning, watching
from vmkiln.run.admission import NOTHING, Place, Room
from vmkiln.run.kept_template import CREATING, DELETING, TYPE, request_of, template_of
from vmkiln.run.run import GOING_ON, RunState
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.run.run_event import Notice, RunEvent
from vmkiln.run.run_queue import need_of_queued, promised_to, queue_of
from vmkiln.run.run_trace import Span, StepClock, trace_of
from vmkiln.run.tally import Tally
from vmkiln.settings import Settings
from vmkiln.store.database import Store, utc_now
from vmkiln.store.rows import OperationRow, ResourceRow, RunRow
from vmkiln.template.image_template import OnOff

Build = Callable[[RunRequest, Tell], Awaitable[object]]
PROVISION, DELETE, RUN = "provision", "delete", "run"
AUTO_RUNS = uuid.UUID("5f0c5b7e-8a5e-4c8e-9d0b-6f8d1f7a2c31")  # the namespace of their ids (RFC 9562, version 5)
FRONT = 50  # more waiting runs of a subscription than may start in one look
LOOK_SECONDS = 5.0
WATCH_SECONDS = 60.0
JANITOR_SECONDS = 60.0
ONE_AT_A_TIME = Room(2, 1024**2, 1024**3)  # every run takes at least two CPUs
log = logging.getLogger(__name__)


def queued_run(row: ResourceRow, *, run_id: str, reason: str) -> RunRow:
    """A run of a kept template, waiting. `reason` says who asked: request, autoRun or a trigger's name."""
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
        facts={"reason": reason},
        started=utc_now(),
        ended=None,
        template_id=row.key,
    )


def _extra(run: RunRow) -> dict[str, Any]:
    """What a line of the log says of its run, for machines."""
    return {"run_id": run.run_id, "template_id": run.template_id, "attempt": run.facts.get("attempt", 1)}


class ImageBuilder:
    """The service's own work. `build` runs one request to its end; `capacity` says what the machine has for runs;
    `on_trace` gets the trace of each run that ended.

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
        on_trace: Callable[[Span], None] = lambda _trace: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._build = build
        self._capacity = capacity
        self._on_trace = on_trace
        self._starting: dict[str, Room] = {}
        self._watch_seconds = watch_seconds
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tally = Tally()
        self._is_stopping = False

    @property
    def tally(self) -> Tally:
        """What has been seen since the start."""
        return self._tally

    def queue(self) -> list[Place]:
        """The runs that wait, each with its place and why it waits."""
        return queue_of(self._settings, self._store, self._capacity(), starting=self._starting.copy())

    def _front(self) -> list[Place]:
        starting = self._starting.copy()
        return queue_of(
            self._settings, self._store, self._capacity(), starting=starting, per_subscription=len(starting) + FRONT
        )

    def room(self) -> tuple[Room, Room]:
        """What this machine has for runs, and what of it is promised to runs that go on."""
        capacity = self._capacity()
        going_on = self._store.list_runs(limit=None, states=GOING_ON)
        return capacity, sum((promised_to(run).capped(capacity) for run in going_on), NOTHING)

    def submitted(self, template_id: str, operation_id: str) -> None:  # noqa: ARG002 (the store has it)
        """An image template was recorded and is to be provisioned."""
        self._look()

    def queued(self, run_id: str) -> None:  # noqa: ARG002 (the store has it)
        """A run was recorded and waits."""
        self._look()

    def deleting(self, template_id: str, operation_id: str) -> None:  # noqa: ARG002 (the store has it)
        """An image template, with its staging resource group, is to go."""
        self._look()

    def cancel(self, run_id: str) -> None:
        """A run is to end Canceled; one that is not going on here is left to the store."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the service is ending, and its runs too
                self._loop.call_soon_threadsafe(self._cancel, f"{RUN}:{run_id}")

    def _cancel(self, name: str) -> None:
        if task := self._tasks.get(name):
            task.cancel()

    def _look(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)

    def take_up(self) -> None:
        """Take up what an earlier service left between two writes: a template that waits, and no word of what for.

        To be called before requests are answered.
        """
        kinds = {CREATING: PROVISION, DELETING: DELETE}
        has_one = {operation.resource_id.lower() for operation in self._store.operations.open_ones()}
        for row in self._store.resources.in_provisioning_state(TYPE, kinds):
            if row.key not in has_one:
                self._store.operations.begin(
                    kinds[row.properties["provisioningState"]],
                    subscription_id=row.subscription_id,
                    location="local",
                    resource_id=row.id,
                )

    async def serve(self) -> None:
        """Do what is to be done, until cancelled; runs that go on then are cleaned up, and start anew next time."""
        self._loop = asyncio.get_running_loop()
        rounds = [asyncio.create_task(self._watch()), asyncio.create_task(self._janitor())]
        try:
            while True:
                self._wake.clear()
                ballast.thrown_off_when_low(self._settings.home)
                try:
                    await self._take()
                except StorageFailed as error:
                    self._storage_failed(error)
                    await asyncio.sleep(LOOK_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):  # wait_for may lose a cancel (Python before 3.12)
                        await self._wake.wait()
        finally:
            self._is_stopping = True
            tasks = [*self._tasks.values(), *rounds]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self) -> None:
        for operation in await asyncio.to_thread(self._store.operations.open_ones):
            if operation.kind == PROVISION:
                self._start(f"{PROVISION}:{operation.operation_id}", self._provision(operation))
            elif operation.kind == DELETE:
                self._start(f"{DELETE}:{operation.operation_id}", self._delete(operation))
        for place in await asyncio.to_thread(self._front):
            if not place.reason:
                await self._let_in(place.run_id)

    async def _let_in(self, run_id: str) -> None:
        run = self._store.runs_by_id([run_id]).get(run_id)
        if run is None or run.state != RunState.QUEUED or f"{RUN}:{run_id}" in self._tasks:
            return
        need = await asyncio.to_thread(need_of_queued, self._settings, self._store, run)
        self._starting[run_id] = need.capped(self._capacity())
        self._start(f"{RUN}:{run_id}", self._run(run))

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._tasks:
            work.close()
            return
        task = asyncio.create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda _done: self._ended(name))

    def _ended(self, name: str) -> None:
        task = self._tasks.pop(name)
        self._starting.pop(name.removeprefix(f"{RUN}:"), None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StorageFailed):
            self._storage_failed(error)
            return  # the next look takes it up again; at once it would only fail again
        if error:
            log.error("%s failed", name, exc_info=error)
        self._wake.set()

    def _storage_failed(self, error: StorageFailed) -> None:
        """Make what room there is, and go on: what could not be recorded is taken up again."""
        is_thrown_off = ballast.thrown_off_when_low(self._settings.home)
        log.error("%s; it is tried again%s", error, " now that there is some room" if is_thrown_off else "")

    async def _provision(self, operation: OperationRow) -> None:
        error = await provisioning.provision(self._settings, self._store, operation.resource_id)
        row = self._store.resources.get(operation.resource_id)
        if not error and row is not None and template_of(row).properties.auto_run.state is OnOff.ENABLED:
            run_id = str(uuid.uuid5(AUTO_RUNS, operation.operation_id))  # the same one, however often this is done
            if not self._store.runs_by_id([run_id]):
                self._store.queue_run(queued_run(row, run_id=run_id, reason="autoRun"))
        self._store.operations.end(operation.operation_id, status="Failed" if error else "Succeeded", error=error)

    async def _delete(self, operation: OperationRow) -> None:
        await asyncio.to_thread(provisioning.delete, self._settings, self._store, operation.resource_id)
        self._store.operations.end(operation.operation_id)

    async def _run(self, run: RunRow) -> None:
        clock = StepClock(utc_now)

        def tell(event: RunEvent) -> None:
            clock.tell(event)
            if isinstance(event, Notice):
                level = logging.WARNING if event.is_warning else logging.INFO
                log.log(level, "%s (run %s)", event.text, run.run_id, extra=_extra(run))

        error: BaseException | None = None
        try:
            row = self._store.resources.get(run.template_id)
            if row is None:
                raise VmkilnError("the image template was deleted while its run waited")
            request = request_of(self._settings, self._store, row, run_id=run.run_id)
            await self._build(replace(request, is_stopping=lambda: self._is_stopping), tell)
        except asyncio.CancelledError as cancelled:
            error = cancelled
            raise
        except VmkilnError as failure:
            error = failure
            if not self._is_stopping:
                log.warning("the run %s of %s failed: %s", run.run_id, run.template_name, failure, extra=_extra(run))
        except Exception as failure:
            error = failure
            log.exception("the run %s of %s failed", run.run_id, run.template_name, extra=_extra(run))
        finally:
            if error is not None:
                self._ended_early(run, error)
            ended = self._store.runs_by_id([run.run_id]).get(run.run_id, run)
            if ended.ended is not None:
                phases = self._store.list_phases(run.run_id)
                self._tally.count(ended, phases)
                if trace := trace_of(ended, phases, clock.steps):
                    self._on_trace(trace)

    def _ended_early(self, run: RunRow, error: BaseException) -> None:
        """Record why a run ended; what the run has recorded itself stays, and one that waits again goes on waiting."""
        if isinstance(error, asyncio.CancelledError):
            if not self._is_stopping:
                self._end(run, RunState.CANCELED, "the run was cancelled", "Canceled")
        elif not (self._is_stopping and isinstance(error, RunCanceled)):
            self._end(run, RunState.FAILED, str(error), getattr(error, "code", "InternalError"))

    def _end(self, run: RunRow, state: RunState, message: str, code: str) -> None:
        expected = [RunState.QUEUED, RunState.RUNNING, RunState.CANCELING]
        self._store.move_run(run.run_id, expected=expected, state=state, message=message, code=code)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_seconds)
            try:
                started = await asyncio.to_thread(watching.look_at_sources, self._settings, self._store, queued_run)
            except VmkilnError as error:
                log.warning("watching the sources of image templates failed: %s", error)
                continue
            if started:
                self._wake.set()

    async def _janitor(self) -> None:
        """Clean up after the dead, again and again: what their processes could not."""
        while True:
            await asyncio.sleep(JANITOR_SECONDS)
            told: list[str] = []
            try:
                await asyncio.to_thread(cleaning_up.end_leftovers, self._settings, self._store, told.append)
                left = await asyncio.to_thread(cleaning_up.remains, self._settings)
                ballast.kept(self._settings.home)
            except (VmkilnError, OSError) as error:
                log.warning("cleaning up failed, which is tried again: %s", error)
                left = 1
            for text in told:
                log.warning("%s", text)
            self._tally.looked(cleaned_up=len(told), leftovers=left)
