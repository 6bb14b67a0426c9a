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
        self._moments: dict[str, deque[float]] = {}

    def recent(self, name: str) -> int:
        """How many there were."""
        now = time.monotonic()
        with self._lock:
            return sum(now - moment <= FAILURES_SECONDS for moment in self._moments.get(name, ()))

    def count(self, app_id: str) -> int:
        """Count one more, and tell how many there were."""
        now = time.monotonic()
        with self._lock:
            if len(self._moments) > MOST_NAMES:
                self._moments.clear()
            moments = self._moments.setdefault(app_id, deque(maxlen=max(MOST_FAILURES, MOST_OF_AN_ADDRESS) + 1))
            moments.append(now)
            while moments and now - moments[0] > FAILURES_SECONDS:
                moments.popleft()
            return len(moments)
