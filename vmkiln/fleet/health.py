"""Whether a service or worker is well: asked by `/livez`, `/readyz` and systemd's watchdog.

It lives as long as what it does again and again goes on, and comes to an end each time; else only a new start helps.
It is ready when it can also do its work now: the database answers, its rounds and its lease succeed, the disk has room.
A round that is not needed, such as one that waits for a neighbour, is told and takes nothing away.
Reasons name kinds and numbers, never what an error says: who asks has not logged in.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from vmkiln import process_log
from vmkiln.errors import VmkilnError
from vmkiln.host import reserve_file
from vmkiln.lifetime.rounds import Rounds, RoundState
from vmkiln.settings import Settings
from vmkiln.store.database import Store

PING_SECONDS = 2.0
FRESH_SECONDS = 1.0
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

    def __init__(self, question: Callable[[], str], *, seconds: float) -> None:
        self._question = question
        self._seconds = seconds
        self._lock = threading.Lock()
        self._pending: Future[str] | None = None

    async def found(self) -> str:
        """Why there is no good answer; '' when there is one. Who waits takes no thread."""
        answer = asyncio.wrap_future(self._asked())
        await asyncio.wait([answer], timeout=self._seconds)
        if not answer.done():
            answer.cancel()  # no more than that nobody waits here
            return self._late()
        return answer.result()

    def problem(self) -> str:
        """The same, for a thread."""
        try:
            return self._asked().result(self._seconds)
        except TimeoutError:
            return self._late()

    def _late(self) -> str:
        return f"does not answer within {self._seconds:g} s"

    def _asked(self) -> "Future[str]":
        with self._lock:
            if self._pending is None or self._pending.done():
                self._pending = Future()
                self._pending.set_running_or_notify_cancel()  # so that nobody can cancel it for the others
                try:
                    threading.Thread(target=self._ask, args=[self._pending], name="health", daemon=True).start()
                except RuntimeError:
                    self._pending.set_result("cannot be asked: there is no thread to be had")
            return self._pending

    def _ask(self, answer: "Future[str]") -> None:
        problem = "cannot be asked"
        try:
            problem = self._question()
        except Exception as error:
            kind = error.code if isinstance(error, VmkilnError) else type(error).__name__
            problem = f"cannot be used ({kind})"
        finally:
            answer.set_result(problem)


class Health:
    """What is asked of one process. Only `ready` may wait, no longer than `Asked`, and not right after `look`."""

    def __init__(self, settings: Settings, store: Store, rounds: Rounds) -> None:
        self._rounds = rounds

        def ping() -> str:
            store.ping()
            return ""

        questions = {DATABASE: ping, DISK: lambda: reserve_file.problem(settings.home)}
        self._asked = {name: Asked(question, seconds=PING_SECONDS) for name, question in questions.items()}
        self._found: dict[str, str] = {}
        self._looked = float("-inf")

    def live(self) -> list[Check]:
        """What only a new start helps against; nothing is asked for it."""
        return [_stuck(state) for state in self._rounds.states() if state.is_needed or state.ended_ago is not None]

    async def look(self) -> None:
        """Ask what is outside of this process; no thread is taken from anybody for it."""
        found = await asyncio.gather(*(asked.found() for asked in self._asked.values()))
        self._remember(dict(zip(self._asked, found, strict=True)))

    def ready(self) -> list[Check]:
        """What keeps it from doing its work now."""
        if time.monotonic() - self._looked > FRESH_SECONDS:
            self._remember({name: asked.problem() for name, asked in self._asked.items()})
        return [
            *(Check(name, problem) for name, problem in self._found.items()),
            Check(LOG, process_log.problem(), is_needed=False),
            *(_failing(state) for state in self._rounds.states()),
        ]

    def _remember(self, found: dict[str, str]) -> None:
        self._found, self._looked = found, time.monotonic()

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
