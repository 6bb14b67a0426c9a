"""What a round does for each of several things: one that fails holds up none of the others.

Each is told in the log with its traceback, and counted, by itself. What failed before is tried last; when several
fail in a row, what they need is away, and the round fails itself instead of waiting for each of them in turn.
"""

import contextlib
import time
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from vmkiln.lifetime.rounds import Round, Rounds

MOST_FAILURES = 3
Key = TypeVar("Key", bound=Hashable)


class Things(Generic[Key]):
    """The things of one round, by their keys. `name` is what they are called together, by metrics and `/readyz`."""

    def __init__(self, rounds: Rounds, name: str) -> None:
        self._rounds = rounds
        self._name = name
        self._failing: dict[Key, Round] = {}
        self._tried: dict[Key, float] = {}
        self._errors: list[Exception] = []

    def in_turn(self, keys: Iterable[Key]) -> Iterator[Key]:
        """These, to be `tried` one after the other; what failed before comes last, and others are forgotten.

        Raises: the last error, when `MOST_FAILURES` have failed.
        """
        present = list(keys)
        for gone in set(self._failing) - set(present):
            self._forget(gone)
        self._errors = []
        for key in sorted(present, key=lambda key: self._tried.get(key, float("-inf"))):
            yield key
            if len(self._errors) >= MOST_FAILURES:
                raise self._errors[-1]

    @contextlib.contextmanager
    def tried(self, key: Key) -> Iterator[None]:
        """One try: an error in the block is logged and counted, and the block is left without it."""
        parts = key if isinstance(key, tuple) else (key,)
        told_as = " ".join((self._name, *map(str, parts)))
        mine = self._failing.get(key) or self._rounds.one(self._name, told_as=told_as)
        with mine.tried():
            try:
                yield
            except Exception as error:
                self._errors.append(error)
                raise
        if not mine.is_failing:
            self._forget(key)
            return
        if key not in self._failing:
            self._failing[key] = mine
            self._rounds.join(mine)
        self._tried[key] = time.monotonic()

    def failing(self) -> set[Key]:
        """Those whose last try failed."""
        return set(self._failing)

    def _forget(self, key: Key) -> None:
        self._tried.pop(key, None)
        if (mine := self._failing.pop(key, None)) is not None:
            self._rounds.leave(mine)
