"""Counts wrong secrets, so that guessing is slowed down."""

import threading
import time
from collections import deque

MOST_FAILURES = 20
FAILURES_SECONDS = 60.0
MOST_OF_AN_ADDRESS = 60
MOST_NAMES = 10_000


class Failures:
    """Wrong secrets of the last minute, by application id or by the address they came from.

    By its application's no right secret is held up; by its address's it is, for what is not looked at cannot be right.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: dict[str, deque[float]] = {}  # in the order of their last ones

    def recent(self, name: str) -> int:
        """How many there were."""
        now = time.monotonic()
        with self._lock:
            return sum(now - moment <= FAILURES_SECONDS for moment in self._moments.get(name, ()))

    def count(self, name: str) -> int:
        """Count one more, and tell how many there were."""
        now = time.monotonic()
        with self._lock:
            moments = self._moments.pop(name, None) or deque(maxlen=max(MOST_FAILURES, MOST_OF_AN_ADDRESS) + 1)
            while len(self._moments) >= MOST_NAMES:
                self._forget_one(now)
            self._moments[name] = moments
            moments.append(now)
            while moments and now - moments[0] > FAILURES_SECONDS:
                moments.popleft()
            return len(moments)

    def _forget_one(self, now: float) -> None:
        """Whose last was longest ago: when that is within the minute, of those who had few, so that nobody who was
        wrong often gets new tries by being wrong under many other names.
        """
        name, moments = next(iter(self._moments.items()))
        if now - moments[-1] <= FAILURES_SECONDS:
            few = (one for one, moments in self._moments.items() if len(moments) < MOST_FAILURES)
            name = next(few, name)
        del self._moments[name]
