"""Whether a service or worker is well: asked by `/livez`, `/readyz` and systemd's watchdog.

It lives as long as what it does again and again goes on, and comes to an end each time; else only a new start helps.
It is ready when it can also do its work now: the database answers, its rounds and its lease succeed, the disk has room.
A round that is not needed, such as one that waits for a neighbour, is told and takes nothing away.
Reasons name kinds and numbers, never what an error says: who asks has not logged in.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmkiln import process_log
from vmkiln.errors import VmkilnError
from vmkiln.host import reserve_file
from vmkiln.lifetime.rounds import Rounds, RoundState
from vmkiln.settings import Settings
from vmkiln.store.database import Store

PING_SECONDS = 2.0
DATABASE, DISK, LOG = "database", "disk", "log"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: '' as `reason` when it is well; `seconds_since_good` of what goes round."""

    name: str
    reason: str = ""
    is_needed: bool = True
    seconds_since_good: float | None = None

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to say."""
        return not self.reason


class Asked:
    """A question that is answered within a time, or not. It is asked once at a time, in a thread, however many ask."""

    def __init__(self, question: Callable[[], object], *, seconds: float) -> None:
        self._question = question
        self._seconds = seconds
        self._lock = threading.Lock()
        self._pending: _Answer | None = None

    def problem(self) -> str:
        """Why there is no good answer; '' when there is one."""
        with self._lock:
            if self._pending is None or self._pending.is_there.is_set():
                self._pending = _Answer()
                threading.Thread(target=self._ask, args=[self._pending], name="health", daemon=True).start()
            pending = self._pending
        if not pending.is_there.wait(self._seconds):
            return f"does not answer within {self._seconds:g} s"
        return pending.problem

    def _ask(self, answer: "_Answer") -> None:
        try:
            self._question()
        except Exception as error:
            kind = error.code if isinstance(error, VmkilnError) else type(error).__name__
            answer.problem = f"cannot be used ({kind})"
        finally:
            answer.is_there.set()


class _Answer:
    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.problem = ""


class Health:
    """What is asked of one process; every method may be called from any thread, and none waits longer than `Asked`."""

    def __init__(self, settings: Settings, store: Store, rounds: Rounds) -> None:
        self._settings = settings
        self._rounds = rounds
        self._database = Asked(store.ping, seconds=PING_SECONDS)

    def live(self) -> list[Check]:
        """What only a new start helps against; nothing is asked for it."""
        return [_stuck(state) for state in self._rounds.states() if state.is_needed or state.ended_ago is not None]

    def ready(self) -> list[Check]:
        """What keeps it from doing its work now."""
        return [
            Check(DATABASE, self._database.problem()),
            Check(DISK, reserve_file.problem(self._settings.home)),
            Check(LOG, process_log.problem(), is_needed=False),
            *(_failing(state) for state in self._rounds.states()),
        ]

    def problems(self) -> Sequence[str]:
        """Why this process does not live any more, for systemd."""
        return [f"{check.name} {check.reason}" for check in self.live() if not check.is_well]


def _stuck(state: RoundState) -> Check:
    """Pure. What has ended is missed whether or not it is needed at every moment."""
    if state.ended_ago is not None:
        return Check(state.name, f"has ended {state.ended_ago:.0f} s ago", seconds_since_good=state.good_ago)
    reason = f"has been at it for {state.busy_for:.0f} s" if state.is_stuck else ""
    return Check(state.name, reason, seconds_since_good=state.good_ago)


def _failing(state: RoundState) -> Check:
    """Pure."""
    found = _stuck(state)
    if state.ended_ago is not None:
        return found
    reason = found.reason
    if state.is_failing and not reason:
        reason = f"has failed for {state.failing_for:.0f} s ({state.problem}); the log says why"
    return Check(state.name, reason, state.is_needed, state.good_ago)
