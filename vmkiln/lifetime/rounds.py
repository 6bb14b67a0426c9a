"""Rounds: what a process does again and again for as long as it lives.

No error ends a round: it is logged with its traceback, counted, and the round is tried again. How each round goes is
known: when it last ended well, since when it fails, how long it has been at it. From that follow the numbers of
`/metrics`, and what `/livez`, `/readyz` and systemd's watchdog are told.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.lifetime.owned_tasks import OwnedTasks
from vmkiln.waiting.off_loop import in_round

log = logging.getLogger(__name__)

PATIENCE_PERIODS = 3
LEAST_PATIENCE_SECONDS = 30.0
STUCK_SECONDS = 900.0
TOLD_AGAIN_SECONDS = 60.0  # how often a failure that does not change is logged
Clock = Callable[[], float]
Trouble = Callable[[str], None]


@dataclass(frozen=True)
class RoundState:
    """How a round goes now, in seconds by a steady clock; `failing_for` and `busy_for` are 0.0 when it does not.

    `problem` names the kind of the last failure, without its text, which may hold what is not for everybody.
    `ended_ago` is set when it goes on no more, though it should for as long as the process lives.
    """

    name: str
    failures: int
    good_ago: float
    failing_for: float = 0.0
    busy_for: float = 0.0
    problem: str = ""
    is_stuck: bool = False
    is_failing: bool = False
    is_needed: bool = True
    ended_ago: float | None = None


@dataclass
class Round:
    """One round that goes on. `tried` is entered for each try, from any thread; the log tells it as `told_as`.

    It counts as failing when it has failed for `patience_seconds` in a row, as stuck when one try lasts longer than
    `stuck_seconds`. A service can do without one that is not needed for a while, such as when a neighbour is away.
    """

    name: str
    patience_seconds: float
    stuck_seconds: float
    is_needed: bool
    clock: Clock
    trouble: Trouble
    on_failure: Callable[[str], None]
    told_as: str = ""
    _good: float = 0.0
    _failing_since: float | None = None
    _busy_since: float | None = None
    _problem: str = ""
    _told: tuple[str, float] = ("", float("-inf"))
    _untold: int = 0

    def __post_init__(self) -> None:
        self._good = self.clock()
        self.told_as = self.told_as or self.name

    @contextlib.contextmanager
    def tried(self) -> Iterator[None]:
        """One try: an error in the block is logged and counted, and the block is left without it."""
        self._busy_since = self.clock()
        try:
            yield
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            self._failed(error)  # nobody cancelled this task: what it waited for was cancelled
        except Exception as error:
            self._failed(error)
        else:
            self.goes_well()
        finally:
            self._busy_since = None

    def begins(self) -> None:
        """To be called first in each try: a test makes it raise here."""
        self.trouble(self.name)

    @property
    def is_failing(self) -> bool:
        """Whether the last try failed."""
        return self._failing_since is not None

    def goes_well(self) -> None:
        """It has ended well, or is known to go well though a try lasts."""
        self._good = self.clock()
        if self._failing_since is not None:
            log.info("%s goes well again, after %.0f s", self.told_as, self._good - self._failing_since)
        self._failing_since, self._problem, self._told = None, "", ("", float("-inf"))

    def _failed(self, error: BaseException) -> None:
        now = self.clock()
        if self._failing_since is None:
            self._failing_since = now
        self._problem = type(error).__name__
        self.on_failure(self.name)
        text = f"{self._problem}: {error}"
        before, when = self._told
        if text == before and now - when < TOLD_AGAIN_SECONDS:
            self._untold += 1
            return
        often = f" (and {self._untold} more times)" if self._untold else ""
        self._told, self._untold = (text, now), 0
        known = isinstance(error, VmkilnError)
        log.warning(
            "%s failed, which is tried again: %s%s", self.told_as, error, often, exc_info=None if known else error
        )

    def state(self, failures: int) -> RoundState:
        """How it goes now."""
        now = self.clock()
        failing, busy = self._failing_since, self._busy_since  # a thread may change them meanwhile
        failing_for = now - failing if failing is not None else 0.0
        busy_for = now - busy if busy is not None else 0.0
        return RoundState(
            self.name,
            failures,
            now - self._good,
            failing_for,
            busy_for,
            self._problem if failing is not None else "",
            is_stuck=busy_for > self.stuck_seconds,
            is_failing=failing is not None and failing_for >= self.patience_seconds,
            is_needed=self.is_needed,
        )


def _is_being_cancelled() -> bool:
    """Whether somebody asked the task that this runs in to end; false in a thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is None or bool(task.cancelling())


def _no_trouble(_name: str) -> None:
    pass


@dataclass
class Rounds:
    """The rounds of a process; any thread may ask. `trouble` is called in each try, for tests that make it raise."""

    clock: Clock = time.monotonic
    trouble: Trouble = _no_trouble
    _going_on: list[Round] = field(default_factory=list)
    _ended: dict[str, tuple[Round, float]] = field(default_factory=dict)
    _failures: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def going_on(
        self,
        name: str,
        *,
        seconds: float,
        is_needed: bool = True,
        patience_seconds: float = 0.0,
        stuck_seconds: float = STUCK_SECONDS,
        may_end: bool = False,
    ) -> Iterator[Round]:
        """A round that goes on while the block lasts, `seconds` between two tries.

        Its end is told from then on, unless it `may_end` before the process does.
        """
        patience = patience_seconds or max(PATIENCE_PERIODS * seconds, LEAST_PATIENCE_SECONDS)
        round_ = Round(name, patience, stuck_seconds, is_needed, self.clock, self.trouble, self.count)
        with self._lock:
            self._failures[name] += 0
            self._going_on.append(round_)
            self._ended.pop(name, None)
        try:
            yield round_
        finally:
            with self._lock:
                self._going_on.remove(round_)
                if not may_end:
                    self._ended[name] = round_, self.clock()

    def one(self, name: str, *, told_as: str) -> Round:
        """A round for one of several things of this name, which tells and counts by itself; `join` has it told."""
        with self._lock:
            self._failures[name] += 0
        patience, needed = LEAST_PATIENCE_SECONDS, False
        return Round(name, patience, STUCK_SECONDS, needed, self.clock, self.trouble, self.count, told_as)

    def join(self, round_: Round) -> None:
        """Tell how it goes from now on."""
        with self._lock:
            self._going_on.append(round_)

    def leave(self, round_: Round) -> None:
        """Tell no more how it goes."""
        with self._lock:
            self._going_on.remove(round_)

    def count(self, name: str) -> None:
        """A try of this round has failed."""
        with self._lock:
            self._failures[name] += 1

    async def for_ever(
        self,
        name: str,
        work: Callable[[], Awaitable[object]],
        *,
        seconds: float,
        wake: asyncio.Event | None = None,
        is_late_first: bool = False,
        on_failure: Callable[[], object] = lambda: None,
        is_needed: bool = True,
        may_end: bool = False,
    ) -> None:
        """Do this every so many seconds, until cancelled; `wake` ends a pause early, unless the last try failed.

        `is_late_first` begins with a pause; `on_failure` is called after each failure, beside the loop, and must not
        raise.
        """
        with self.going_on(name, seconds=seconds, is_needed=is_needed, may_end=may_end) as round_:
            if is_late_first:
                await asyncio.sleep(seconds)
            while True:
                if wake is not None:
                    wake.clear()
                with round_.tried():
                    round_.begins()
                    await work()
                if round_.is_failing:
                    await in_round(on_failure)
                await _pause(seconds, None if round_.is_failing else wake)

    def own(self, tasks: OwnedTasks, name: str, work: Callable[[], Awaitable[object]], **pace: Any) -> None:
        """Let a block own a round that goes on as long as it lasts; `pace` as `for_ever` has it."""
        tasks.own(name, self.for_ever(name, work, **pace))

    def states(self) -> list[RoundState]:
        """How each round goes now, by name, with those that ended; of several of one name the one that goes worst."""
        with self._lock:
            going_on, failures, ended = list(self._going_on), dict(self._failures), dict(self._ended)
        worst = {
            name: replace(round_.state(failures[name]), ended_ago=self.clock() - when)
            for name, (round_, when) in ended.items()
        }
        for round_ in going_on:
            state = round_.state(failures[round_.name])
            if state.name not in worst or _how_bad(state) > _how_bad(worst[state.name]):
                worst[state.name] = state
        return [worst[name] for name in sorted(worst)]

    def failures(self) -> dict[str, int]:
        """How often each round has failed since the start, also those that have ended."""
        with self._lock:
            return dict(sorted(self._failures.items()))


def _how_bad(state: RoundState) -> tuple[bool, bool, float, float]:
    return state.ended_ago is not None, state.is_stuck, state.failing_for, state.good_ago


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # wait_for may lose a cancel (Python before 3.12)
            await wake.wait()
