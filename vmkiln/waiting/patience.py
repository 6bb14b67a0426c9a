"""Waiting for a database that is away, for whoever would throw a build away otherwise.

What a run writes is one call of a table each, and one transaction. A call whose transaction was not committed is made
again when the database is back; one whose commit got no answer is not, for it may have been done.
"""

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from vmkiln.errors import DatabaseAway

PAUSE_SECONDS = 0.5
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
log = logging.getLogger(__name__)


class Patience:
    """For the runs of one host: calls wait as long as it takes, until `end` says that nobody waits any more.

    An outage is told once when it begins and once when it is over, however many calls wait.
    """

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._waiting = 0

    def end(self) -> None:
        """Let calls that wait fail now, and others at once."""
        self._is_over.set()

    def call(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """What a call gives. Raises: `DatabaseAway` when its commit is in doubt, or after `end`."""
        is_told = False
        try:
            while True:
                try:
                    return function(*arguments, **named)
                except DatabaseAway as error:
                    if error.is_in_doubt:
                        raise
                    if not is_told:
                        is_told = True
                        self._waits(error)
                    if self._is_over.wait(PAUSE_SECONDS):
                        raise
        finally:
            if is_told:
                self._goes_on()

    def _waits(self, error: DatabaseAway) -> None:
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                log.warning("runs go on, and wait where they have to record something: %s", error)

    def _goes_on(self) -> None:
        with self._lock:
            self._waiting -= 1
            if self._waiting == 0 and not self._is_over.is_set():
                log.warning("runs can record what they do again")


def patient(table: T, patience: Patience) -> T:
    """The same table, whose calls wait while the database is away."""
    return cast(T, _Patient(table, patience))


class _Patient:
    """Stands in for a table: all that is asked of one are calls."""

    def __init__(self, table: object, patience: Patience) -> None:
        self._table = table
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._table, name)
        return functools.partial(self._patience.call, value) if callable(value) else value
