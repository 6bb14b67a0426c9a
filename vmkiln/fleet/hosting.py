"""What a host does: it keeps its lease, gives waiting runs their hosts, runs those that are its own, and takes over.

Every host does all of this; there is no leader. When a run ends on it, it looks for another one for itself; now and
then, and when a run was asked for or waits again, it looks for all hosts. Whatever it decides is decided again inside
the transaction that records it, so it does not matter who is first. What goes on here is `attempts/runs_here.py`; a run
of a host that died is taken from it by whoever notices.
"""

import asyncio
import contextlib
import functools
import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from vmkiln.errors import DatabaseAway
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.attempts.runs_here import RunsHere
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.lease import Lease, Watch
from vmkiln.fleet.placement.kept_sources import KEPT_SECONDS, KeptHere
from vmkiln.fleet.placement.known_templates import KnownTemplates
from vmkiln.fleet.readiness import Readiness
from vmkiln.fleet.run_queue import FRONT, Given, place
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
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.engine import LOCK_SECONDS
from vmkiln.store.rows import HostRow
from vmkiln.waiting.off_loop import in_round, off_loop_with
from vmkiln.waiting.patience import Patience

TICK_SECONDS = 1.0
LOOK_SECONDS = 5.0
JITTER_SECONDS = 0.1  # at most, before a host looks again that was too slow for a run
SUCCESSIONS = 4  # looks after other hosts in the time a lease lasts
JANITOR_SECONDS = 60.0
DESCRIBE_SECONDS = 2.0
READY_SECONDS = 30.0  # between two tries to make this machine ready
log = logging.getLogger(__name__)


@dataclass
class _Seen:
    """When something was done last, by the steady clock, and whether a run has ended here since the queue was seen."""

    looked: float = float("-inf")
    has_room: bool = False
    described: float = float("-inf")
    room: Room | None = None


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
        self._asked: set[str] = set()
        self._seen = _Seen()
        self._patience = Patience()
        self._watch = Watch(identity.lease_seconds, LOCK_SECONDS)
        self._renewals = Watch(identity.lease_seconds)  # these wait for no lock: where they had a gap, so had others'
        self._lost_runs = Things[tuple[str, int]](self._rounds, "run of a dead host")
        self._readiness = Readiness(
            store,
            self._incarnation,
            duties.isolation_level,
            duties.shared,
            on_ready=self._woken,
            is_ready=duties.isolation_level is None or not duties.is_tried_first,
        )
        self._runs = RunsHere(
            settings,
            store,
            duties,
            self._incarnation,
            readiness=self._readiness,
            rounds=self._rounds,
            may_be_put_back=not identity.is_embedded,
            wake=self._woken,
            has_room=self._has_room,
        )
        self.templates = KnownTemplates()
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
        self._call(self._runs.cancel, run_id)
        self.wake()

    def _woken(self) -> None:
        """Look for runs that wait at once, and not only when it is time for that."""
        self._seen.looked = float("-inf")
        self._wake.set()

    def _has_room(self) -> None:
        """Look for a run that this host may have: what others may have is theirs to look for, as soon as they can."""
        self._seen.has_room = True
        self._wake.set()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the host is ending, and its runs too
                self._loop.call_soon_threadsafe(function, *arguments)

    # the host's own life

    async def serve(self, *, on_unasked: OnUnasked = owned_tasks.nothing) -> None:
        """Do what is to be done, until cancelled; runs that go on then are cleaned up, and wait again.

        Raises: `InputError` when another host has the name, `VmkilnError` when the database is away at the start.
        """
        self._loop = asyncio.get_running_loop()
        self._patience = self._store.patience = Patience()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._runs.closed)
            if self._identity.takes_runs:
                await in_round(self._register)
                stack.push_async_callback(self._leave)
                # not renewed any more when the host leaves, or it would take itself for one that was given up
                await stack.enter_async_context(off_loop_with(self._lease().held))
            self.is_at_work.set()
            stack.push_async_callback(self._runs.settled)
            async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
                self._begin_rounds(tasks)
                try:
                    await owned_tasks.for_ever()
                finally:
                    self._patience.end()
                    self._runs.stop()

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
        self._store.hosts.register(row, lease_seconds=identity.lease_seconds)
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
            leave = functools.partial(self._store.hosts.leave, is_brief=self._identity.is_embedded)
            await in_round(leave, self._incarnation)

    # rounds

    async def _round(self) -> None:
        is_for_all = time.monotonic() - self._seen.looked >= LOOK_SECONDS
        try:
            if is_for_all or self._seen.has_room:
                await self._look_at_the_queue(is_for_all=is_for_all)
        except Exception:
            await self._runs.look()  # whatever becomes of those that wait
            raise
        await self._runs.look()

    async def _look_at_the_queue(self, *, is_for_all: bool) -> None:
        """Give waiting runs their hosts: now and then whichever those are, when a run has ended here this one only."""
        self._seen.has_room = False
        if is_for_all:
            self._seen.looked = time.monotonic()
        await in_round(self._make_room)
        given = await in_round(self._place, "" if is_for_all else self._incarnation)
        if len(given.taken) >= FRONT:
            self._woken()  # not all that there is room for was looked at
        if any(row.incarnation == self._incarnation for row in given.lost):
            # there is room here still; hosts that met each other do not meet again
            pause = random.uniform(0.0, JITTER_SECONDS)  # noqa: S311 (nothing is kept secret by it)
            asyncio.get_running_loop().call_later(pause, self._has_room)

    def _place(self, own: str) -> Given:
        """Give waiting runs their hosts, or only those that the host `own` gets."""
        capacities = self.capacity_now()
        self._describe(capacities[self._incarnation])
        only = frozenset(self._asked) if self._identity.is_embedded else None
        return place(self._settings, self._store, capacities, only=only, own=own, templates=self.templates)

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

    # what others left

    async def _succeed(self) -> None:
        """Give up hosts whose lease has run out, and take their runs over."""
        with self._watch.looked() as is_unbroken:
            may = functools.partial(self._may_give_up, is_unbroken)
            for host in await in_round(self._store.hosts.give_up, besides=self._incarnation, may=may):
                log.warning("the host %s is given up for dead: its lease has run out", host.name)
        lost = {(placed.run_id, placed.attempt): placed for placed in await in_round(self._store.hosts.orphans)}
        for key in self._lost_runs.in_turn(lost):
            with self._lost_runs.tried(key):
                await (await self._runs.durable()).fence(*key)
                await in_round(self._runs.withdraw, lost[key])
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
            forget = functools.partial(self._store.hosts.forget, kept_seconds=self._settings.dead_hosts_kept_seconds)
            await in_round(forget)
            if self._runs.attempts is not None:
                await self._runs.attempts.forget()
        except Exception:
            left = max(left, 1)
            raise
        finally:
            for text in told:
                log.warning("%s", text)
            self.tally.looked(cleaned_up=len(told), leftovers=left)
