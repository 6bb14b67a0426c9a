"""What a host does: it keeps its lease, gives waiting runs their hosts, runs those that are its own, and takes over.

Every host does all of this; there is no leader. Whatever it decides is decided again inside the transaction that
records it, so it does not matter who is first. A run that is this host's is begun by its reservation, which the host
looks for every second, and is taken from a host that died by whoever notices.
"""

import asyncio
import contextlib
import functools
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from vmkiln.errors import DatabaseAway, VmkilnError
from vmkiln.fleet import durable_attempts
from vmkiln.fleet.attempt import HostDuties, attempt_run
from vmkiln.fleet.durable_attempts import Attempts
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.lease import Lease, Watch
from vmkiln.fleet.placement.kept_sources import KEPT_SECONDS, KeptHere
from vmkiln.fleet.readiness import Readiness
from vmkiln.fleet.run_queue import place
from vmkiln.fleet.schema_watch import SchemaWatch
from vmkiln.fleet.tally import Tally
from vmkiln.host import reserve_file
from vmkiln.host.host_id import host_id, machine_of
from vmkiln.lifetime import owned_tasks
from vmkiln.lifetime.owned_tasks import OnUnasked, OwnedTasks
from vmkiln.lifetime.rounds import Rounds
from vmkiln.lifetime.things import Things
from vmkiln.run import cleaning_up
from vmkiln.run.room import Room
from vmkiln.run_state import GOING_ON, TERMINAL_STATES, RunState
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.engine import LOCK_SECONDS
from vmkiln.store.rows import HostFault, HostRow, PlacedRun
from vmkiln.waiting.off_loop import in_round, off_loop, off_loop_with
from vmkiln.waiting.patience import Patience

TICK_SECONDS = 1.0
LOOK_SECONDS = 5.0
SUCCESSIONS = 4  # looks after other hosts in the time a lease lasts
JANITOR_SECONDS = 60.0
DESCRIBE_SECONDS = 2.0
SETTLE_SECONDS = 5.0
BEGIN_SECONDS = 30.0
READY_SECONDS = 30.0  # between two tries to make this machine ready
log = logging.getLogger(__name__)


@dataclass
class _Seen:
    """When something was done last, by the steady clock."""

    looked: float = float("-inf")
    described: float = float("-inf")
    room: Room | None = None
    begun: dict[tuple[str, int], float] = field(default_factory=dict)


class Hosting:
    """One host at work. `wake` and `cancel` may be called from any thread; `serve` runs until it is cancelled."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        duties: HostDuties,
        identity: HostIdentity,
        *,
        rounds: Rounds | None = None,
    ) -> None:
        self._rounds = rounds or Rounds()
        self._settings = settings
        self._store = store
        self._duties = duties
        self._identity = identity
        self._incarnation = str(uuid.uuid4())
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._builds: dict[str, asyncio.Task[HostFault | None]] = {}
        self._open: set[tuple[str, int]] = set()
        self._asked: set[str] = set()
        self._seen = _Seen()
        self._engine = contextlib.AsyncExitStack()
        self._engine_lock = asyncio.Lock()
        self._attempts: Attempts | None = None
        self._is_stopping = False
        self._patience = Patience()
        self._watch = Watch(identity.lease_seconds, LOCK_SECONDS)
        self._renewals = Watch(identity.lease_seconds)  # these wait for no lock: where they had a gap, so had others'
        self._own_runs = Things[tuple[str, int]](self._rounds, "run of this host")
        self._lost_runs = Things[tuple[str, int]](self._rounds, "run of a dead host")
        self._readiness = Readiness(
            store,
            self._incarnation,
            duties.isolation_level,
            duties.shared,
            on_ready=self._woken,
            is_ready=duties.isolation_level is None or not duties.is_tried_first,
        )
        self.is_at_work = asyncio.Event()
        self.tally = Tally()

    def wake(self) -> None:
        """There may be something to do."""
        self._call(self._woken)

    def asked(self, run_id: str) -> None:
        """A run that waits was asked for in this process."""
        if self._identity.is_embedded:
            self._asked.add(run_id)
        self.wake()

    def cancel(self, run_id: str) -> None:
        """A run is to end Canceled, and the store says so; one that goes on elsewhere is left to its host."""
        self._call(self._cancel, run_id)
        self.wake()

    def _woken(self) -> None:
        """Look for runs that wait at once, and not only when it is time for that."""
        self._seen.looked = float("-inf")
        self._wake.set()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the host is ending, and its runs too
                self._loop.call_soon_threadsafe(function, *arguments)

    def _cancel(self, run_id: str) -> None:
        if (task := self._builds.get(run_id)) and not task.cancelling():
            task.cancel()

    # the host's own life

    async def serve(self, *, on_unasked: OnUnasked = owned_tasks.nothing) -> None:
        """Do what is to be done, until cancelled; runs that go on then are cleaned up, and wait again.

        Raises: `InputError` when another host has the name, `VmkilnError` when the database is away at the start.
        """
        self._loop = asyncio.get_running_loop()
        self._patience = self._store.patience = Patience()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._engine.aclose)
            if self._identity.takes_runs:
                await in_round(self._register)
                stack.push_async_callback(self._leave)
                # not renewed any more when the host leaves, or it would take itself for one that was given up
                await stack.enter_async_context(off_loop_with(self._lease().held))
            self.is_at_work.set()
            stack.push_async_callback(self._all_settled)
            async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
                self._begin_rounds(tasks)
                try:
                    await owned_tasks.for_ever()
                finally:
                    self._is_stopping = True
                    self._patience.end()
                    for task in self._builds.values():
                        if not task.cancelling():  # a second cancel would cut its clean-up short
                            task.cancel()

    def _begin_rounds(self, tasks: OwnedTasks) -> None:
        rounds, each_lease = self._rounds, self._identity.lease_seconds / SUCCESSIONS
        rounds.own(tasks, "runs", self._round, seconds=TICK_SECONDS, wake=self._wake, on_failure=self._make_room)
        if self._identity.is_embedded:
            return
        rounds.own(tasks, "succession", self._succeed, seconds=min(LOOK_SECONDS, each_lease))
        if self._identity.takes_runs:
            look = SchemaWatch(self._store, self._incarnation).look
            rounds.own(tasks, "schema", look, seconds=LOOK_SECONDS, is_needed=False)
            look = KeptHere(self._settings, self._store, self._incarnation).look
            rounds.own(tasks, "kept sources", look, seconds=KEPT_SECONDS, is_needed=False)
        rounds.own(tasks, "janitor", self._clean_up, seconds=JANITOR_SECONDS, is_late_first=True, is_needed=False)
        if self._identity.takes_runs:
            look, wake = self._readiness.look, self._readiness.wake
            rounds.own(tasks, "host probe", look, seconds=READY_SECONDS, wake=wake, is_needed=False)

    def _make_room(self) -> None:
        reserve_file.release_if_full(self._settings.home)

    def _register(self) -> None:
        room = self._duties.capacity()
        identity = self._identity
        unready, reason = ("", "") if identity.is_embedded else self._readiness.at_first
        row = HostRow(
            incarnation=self._incarnation,
            host_id=host_id(self._settings),
            name=identity.name,
            architecture=identity.architecture,
            isolation_level="",
            region=identity.region,
            cpus=room.cpus,
            memory_mib=room.memory_mib,
            disk_mib=room.disk_mib,
            unready=unready,
            unready_reason=reason,
        )
        self._store.hosts.register(
            row, lease_seconds=identity.lease_seconds, kept_seconds=self._settings.dead_hosts_kept_seconds
        )
        self._store.origins.record(row.incarnation, host_id=row.host_id, mark=machine_of(self._settings.home).mark)

    def _lease(self) -> Lease:
        return Lease(self._identity.lease_seconds, self._renewed, self._duties.on_lost, rounds=self._rounds)

    def _renewed(self) -> bool:
        with self._renewals.looked():
            return self._store.hosts.renew(self._incarnation, lease_seconds=self._identity.lease_seconds)

    def _may_give_up(self, is_unbroken: Callable[[], bool]) -> bool:
        return is_unbroken() and (not self._identity.takes_runs or self._renewals.is_unbroken())

    async def _leave(self) -> None:
        with contextlib.suppress(DatabaseAway):
            await in_round(self._store.hosts.leave, self._incarnation)

    async def _all_settled(self) -> None:
        """Wait until the attempts that were interrupted have given their room back; the next start does it else."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (self._open or self._builds) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if left := sorted({*(run_id for run_id, _ in self._open), *self._builds}):
            text = "this host ends though its runs %s have not given their room back; the next start does it for them"
            log.warning(text, ", ".join(left))

    # rounds

    async def _round(self) -> None:
        mine = {(placed.run_id, placed.attempt): placed for placed in await in_round(self._placed)}
        for key in self._own_runs.in_turn(mine):
            with self._own_runs.tried(key):
                await self._look_after(mine[key])
        if time.monotonic() - self._seen.looked < LOOK_SECONDS:
            return
        self._seen.looked = time.monotonic()
        await in_round(self._make_room)
        if await in_round(self._place):
            self._woken()

    def _placed(self) -> list[PlacedRun]:
        return self._store.hosts.placed(incarnation=self._incarnation)

    async def _look_after(self, placed: PlacedRun) -> None:
        key = (placed.run_id, placed.attempt)
        if placed.run_id in self._builds:
            if placed.state == RunState.CANCELING:
                self._cancel(placed.run_id)
        elif placed.state in TERMINAL_STATES:
            if key in self._open:
                return  # its room is given back when the attempt is settled
            attempt = placed.attempt
            await in_round(self._store.hosts.release, placed.run_id, incarnation=self._incarnation, attempt=attempt)
        elif placed.state == RunState.QUEUED and key not in self._seen.begun:
            self._seen.begun[key] = time.monotonic()
            try:
                await (await self._durable()).begin(*key)
            except BaseException:
                self._seen.begun.pop(key, None)
                raise
        elif placed.state == RunState.QUEUED and key not in self._open:
            if time.monotonic() - self._seen.begun[key] > BEGIN_SECONDS:
                # The engine has an attempt of this number on record already, for example after a back-up was restored.
                # It does not begin one twice, so the run gets another number.
                await in_round(self._withdraw, placed)
        elif placed.state in GOING_ON and key not in self._open:
            await in_round(self._withdraw, placed)  # its end could not be recorded

    def _place(self) -> int:
        """Give waiting runs their hosts; returns how many are this one's."""
        capacities = self.capacity_now()
        self._describe(capacities[self._incarnation])
        only = frozenset(self._asked) if self._identity.is_embedded else None
        rows = place(self._settings, self._store, capacities, only=only)
        return sum(row.incarnation == self._incarnation for row in rows)

    def capacity_now(self) -> dict[str, Room]:
        """What this machine has at this moment, by the incarnation of its host."""
        return {self._incarnation: self._duties.capacity()}

    def _describe(self, room: Room) -> None:
        """Tell what this machine has now, when that is not what was told a moment ago."""
        if not self._identity.takes_runs or time.monotonic() - self._seen.described < DESCRIBE_SECONDS:
            return
        self._seen.described = time.monotonic()
        if room != self._seen.room:
            self._store.hosts.describe(
                self._incarnation, cpus=room.cpus, memory_mib=room.memory_mib, disk_mib=room.disk_mib
            )
            self._seen.room = room

    # attempts

    async def _durable(self) -> Attempts:
        """The durable engine, opened when it is needed first."""
        async with self._engine_lock:
            if self._attempts is None:
                address = self._settings.engine_address
                opened = durable_attempts.opened(
                    address, incarnation=self._incarnation, build=self._attempt, settle=self._settle
                )
                self._attempts = await self._engine.enter_async_context(opened)
        return self._attempts

    async def _attempt(self, run_id: str, attempt: int) -> None:
        """One attempt of a run: its build as a task of its own, so that a cancel ends that and not the workflow."""
        run = await off_loop(self._store.runs.given, run_id, incarnation=self._incarnation, attempt=attempt)
        if run is None or self._is_stopping:
            return
        self._open.add((run_id, attempt))
        building = attempt_run(
            self._settings,
            self._store,
            self._duties,
            run,
            incarnation=self._incarnation,
            is_stopping=lambda: self._is_stopping,
            may_be_put_back=not self._identity.is_embedded,
        )
        task = asyncio.create_task(building, name=f"run:{run_id}")
        self._builds[run_id] = task
        try:
            await asyncio.wait([task])
        finally:
            self._builds.pop(run_id, None)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # what the run came to is settled next; that this happened at all is a mistake of ours
            log.error("the run %s could not be ended here", run_id, exc_info=error)
        elif task.result() is not None:
            self._readiness.met_a_fault(run_id)
        else:
            self._readiness.went_well()

    async def _settle(self, run_id: str, attempt: int) -> None:
        """Give an attempt's room back; what could not record its end waits again."""
        try:
            await off_loop(self._settled, run_id, attempt)
        except VmkilnError:
            if not self._is_stopping:
                raise
        finally:  # should the engine give up, the next look finds the run without its build, and withdraws it
            self._open.discard((run_id, attempt))
            self._seen.begun.pop((run_id, attempt), None)
            self._woken()

    def _settled(self, run_id: str, attempt: int) -> None:
        if self._store.hosts.release_ended(run_id, incarnation=self._incarnation, attempt=attempt):
            return
        run = self._store.runs.by_id([run_id], has_template=False).get(run_id)
        if run is not None and run.ended is None and run.attempt == attempt:
            self._withdraw(PlacedRun(run_id, attempt, self._incarnation, run.state, run.template_id))
            return
        self._store.hosts.release(run_id, incarnation=self._incarnation, attempt=attempt)

    # what others left

    def _withdraw(self, placed: PlacedRun) -> None:
        most = self._settings.most_run_attempts
        state = self._store.hosts.withdraw(placed.run_id, incarnation=placed.incarnation, most_attempts=most)
        if state:
            log.warning("the run %s was lost by its host: it is %s now", placed.run_id, state)

    async def _succeed(self) -> None:
        """Give up hosts whose lease has run out, and take their runs over."""
        with self._watch.looked() as is_unbroken:
            may = functools.partial(self._may_give_up, is_unbroken)
            for host in await in_round(self._store.hosts.give_up, besides=self._incarnation, may=may):
                log.warning("the host %s is given up for dead: its lease has run out", host.name)
        lost = {(placed.run_id, placed.attempt): placed for placed in await in_round(self._store.hosts.orphans)}
        for key in self._lost_runs.in_turn(lost):
            with self._lost_runs.tried(key):
                await (await self._durable()).fence(*key)
                await in_round(self._withdraw, lost[key])
                self._woken()

    async def _clean_up(self) -> None:
        """Clean up after the dead what their processes could not."""
        told: list[str] = []
        left = 1  # unless it is found otherwise
        try:
            await in_round(cleaning_up.end_leftovers, self._settings, self._store, told.append)
            left = await in_round(cleaning_up.remains, self._settings)
            if self._duties.shared is not None:
                await in_round(self._duties.shared.reconcile)
            await in_round(reserve_file.ensure, self._settings.home)
            if self._attempts is not None:
                await self._attempts.forget()
        except Exception:
            left = max(left, 1)
            raise
        finally:
            for text in told:
                log.warning("%s", text)
            self.tally.looked(cleaned_up=len(told), leftovers=left)
