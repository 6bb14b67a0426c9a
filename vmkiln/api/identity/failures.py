"""Counts wrong secrets, so that guessing is slowed down."""

import threading
import time
from collections import deque

MOST_FAILURES = 20
FAILURES_SECONDS = 60.0
MOST_NAMES = 10_000


class Failures:
    """Wrong secrets of the last minute, by application id; a right secret is never held up by them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: dict[str, deque[float]] = {}

    def count(self, app_id: str) -> int:
        """Count one more, and tell how many there were."""
        now = time.monotonic()
        with self._lock:
            if len(self._moments) > MOST_NAMES:
                self._moments.clear()
            moments = self._moments.setdefault(app_id, deque(maxlen=MOST_FAILURES + 1))
            moments.append(now)
            while moments and now - moments[0] > FAILURES_SECONDS:
                moments.popleft()
            return len(moments)
