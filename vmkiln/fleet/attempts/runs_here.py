"""The runs that this host has: each is begun once, goes on as a task of its own, and gives its room back.

A run is this host's by its reservation, which is looked for every second; the durable engine begins each attempt once.
An attempt that the engine never settles is found by that look, too, and its room is given back here.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from vmkiln.errors import VmkilnError
from vmkiln.fleet import durable_attempts
from vmkiln.fleet.attempt import HostDuties, attempt_run
from vmkiln.fleet.durable_attempts import Attempts
from vmkiln.fleet.readiness import Readiness
from vmkiln.lifetime.rounds import Rounds
from vmkiln.lifetime.things import Things
from vmkiln.run_state import GOING_ON, TERMINAL_STATES, RunState
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import HostFault, PlacedRun
from vmkiln.waiting.off_loop import in_round, off_loop

SETTLE_SECONDS = 5.0
BEGIN_SECONDS = 30.0
UNSETTLED_SECONDS = 180.0  # after a build: the engine tries to settle it for a minute and a half
Key = tuple[str, int]
log = logging.getLogger(__name__)


@dataclass
class _Begun:
    """What goes on here: since when attempts were asked of the engine, are over, and which are not settled."""

    asked: dict[Key, float] = field(default_factory=dict)
    over: dict[Key, float] = field(default_factory=dict)
    open: set[Key] = field(default_factory=set)


class RunsHere:
    """The runs of one host; all on its event loop. `wake` lets the host look for runs of all hosts, and `has_room` for
    its own, when a run has ended here."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        duties: HostDuties,
        incarnation: str,
        *,
        readiness: Readiness,
        rounds: Rounds,
        may_be_put_back: bool,
        wake: Callable[[], None],
        has_room: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._duties = duties
        self._incarnation = incarnation
        self._readiness = readiness
        self._may_be_put_back = may_be_put_back
        self._wake = wake
        self._has_room = has_room
        self._builds: dict[str, asyncio.Task[HostFault | None]] = {}
        self._begun = _Begun()
        self._runs = Things[Key](rounds, "run of this host")
        self._engine = contextlib.AsyncExitStack()
        self._engine_lock = asyncio.Lock()
        self._is_stopping = False
        self.attempts: Attempts | None = None

    def cancel(self, run_id: str) -> None:
        """Let a run that goes on here end Canceled."""
        if (task := self._builds.get(run_id)) and not task.cancelling():
            task.cancel()

    def stop(self) -> None:
        """Interrupt all that go on: they are cleaned up, and wait again."""
        self._is_stopping = True
        for task in self._builds.values():
            if not task.cancelling():  # a second cancel would cut its clean-up short
                task.cancel()

    async def settled(self) -> None:
        """Wait until the attempts that were interrupted have given their room back; the next start does it else."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (self._begun.open or self._builds) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if left := sorted({*(run_id for run_id, _ in self._begun.open), *self._builds}):
            text = "this host ends though its runs %s have not given their room back; the next start does it for them"
            log.warning(text, ", ".join(left))

    async def closed(self) -> None:
        """End the durable engine."""
        await self._engine.aclose()

    async def durable(self) -> Attempts:
        """The durable engine, opened when it is needed first."""
        async with self._engine_lock:
            if self.attempts is None:
                address = self._settings.engine_address
                opened = durable_attempts.opened(
                    address, incarnation=self._incarnation, build=self._attempt, settle=self._settle
                )
                self.attempts = await self._engine.enter_async_context(opened)
        return self.attempts

    async def look(self) -> None:
        """Look after each run that this host keeps room for; one that cannot be looked after holds up no other."""
        mine = {(placed.run_id, placed.attempt): placed for placed in await in_round(self._placed)}
        for key in self._runs.in_turn(mine):
            with self._runs.tried(key):
                await self._look_after(mine[key])

    def _placed(self) -> list[PlacedRun]:
        return self._store.hosts.placed(incarnation=self._incarnation)

    async def _look_after(self, placed: PlacedRun) -> None:
        key = (placed.run_id, placed.attempt)
        if placed.run_id in self._builds:
            if placed.state == RunState.CANCELING:
                self.cancel(placed.run_id)
        elif placed.state in TERMINAL_STATES:
            if self._is_open(key):
                return  # its room is given back when the attempt is settled
            attempt = placed.attempt
            await in_round(self._store.hosts.release, placed.run_id, incarnation=self._incarnation, attempt=attempt)
            self._forget(key)
        elif placed.state == RunState.QUEUED and key not in self._begun.asked:
            self._begun.asked[key] = time.monotonic()
            try:
                await (await self.durable()).begin(*key)
            except BaseException:
                self._begun.asked.pop(key, None)
                raise
        elif placed.state == RunState.QUEUED and not self._is_open(key):
            if time.monotonic() - self._begun.asked[key] > BEGIN_SECONDS:
                # The engine has an attempt of this number on record already, for example after a back-up was restored.
                # It does not begin one twice, so the run gets another number.
                await in_round(self.withdraw, placed)
                self._forget(key)
        elif placed.state in GOING_ON and not self._is_open(key):
            await in_round(self.withdraw, placed)  # its end could not be recorded
            self._forget(key)

    def _is_open(self, key: Key) -> bool:
        """Whether an attempt goes on, or is to be settled by the engine, which may have given up for good."""
        over = self._begun.over.get(key)
        return key in self._begun.open and (over is None or time.monotonic() - over <= UNSETTLED_SECONDS)

    def _forget(self, key: Key) -> None:
        self._begun.open.discard(key)
        self._begun.asked.pop(key, None)
        self._begun.over.pop(key, None)

    # what the engine asks for

    async def _attempt(self, run_id: str, attempt: int) -> None:
        """One attempt of a run: its build as a task of its own, so that a cancel ends that and not the workflow."""
        run = await off_loop(self._store.runs.given, run_id, incarnation=self._incarnation, attempt=attempt)
        if run is None or self._is_stopping:
            return
        self._begun.open.add((run_id, attempt))
        building = attempt_run(
            self._settings,
            self._store,
            self._duties,
            run,
            incarnation=self._incarnation,
            is_stopping=lambda: self._is_stopping,
            may_be_put_back=self._may_be_put_back,
        )
        task = asyncio.create_task(building, name=f"run:{run_id}")
        self._builds[run_id] = task
        try:
            await asyncio.wait([task])
        finally:
            self._builds.pop(run_id, None)
            self._begun.over[run_id, attempt] = time.monotonic()
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
        has_ended = False
        try:
            has_ended = await off_loop(self._settled, run_id, attempt)
        except VmkilnError:
            if not self._is_stopping:
                raise
        finally:  # should the engine give up, the next look finds the run without its build, and withdraws it
            self._forget((run_id, attempt))
            if has_ended:
                self._has_room()
            else:
                self._wake()  # it may wait again, and another host be the one for it

    def _settled(self, run_id: str, attempt: int) -> bool:
        """Give an attempt's room back; false when its run had not ended, and may wait again."""
        if self._store.hosts.release_ended(run_id, incarnation=self._incarnation, attempt=attempt):
            return True
        run = self._store.runs.by_id([run_id], has_template=False).get(run_id)
        if run is not None and run.ended is None and run.attempt == attempt:
            self.withdraw(PlacedRun(run_id, attempt, self._incarnation, run.state, run.template_id))
            return False
        self._store.hosts.release(run_id, incarnation=self._incarnation, attempt=attempt)
        return False

    def withdraw(self, placed: PlacedRun) -> None:
        """Take a run from a host that lost it."""
        most = self._settings.most_run_attempts
        state = self._store.hosts.withdraw(placed.run_id, incarnation=placed.incarnation, most_attempts=most)
        if state:
            log.warning("the run %s was lost by its host: it is %s now", placed.run_id, state)
