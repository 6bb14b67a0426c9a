"""The time as the database's server has it: of a fleet's clocks the one that all of its hosts have."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

SLACK_SECONDS = 1.0  # an answer comes later than the moment that it tells of


def heard(clock: Callable[[], datetime], seconds: float) -> None:
    """The database has just said what time it is (seconds since 1970), which matters where its clock is asked."""
    if isinstance(clock, ServerClock):
        clock.hear(seconds)


class ServerClock:
    """What the server said last and what the steady clock counted since; this machine's clock until it has said it.

    It never goes back, unless what the server says is behind it by more than an answer can be late: then it is another
    server's clock, or this machine stood still. Any thread may ask and tell it.
    """

    def __init__(self, *, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._ahead: float | None = None  # of the steady clock
        self._lock = threading.Lock()

    def hear(self, seconds: float) -> None:
        """The server has just said what time it is, in seconds since 1970."""
        ahead = seconds - self._steady()
        with self._lock:
            if self._ahead is None or not 0 <= self._ahead - ahead <= SLACK_SECONDS:
                self._ahead = ahead

    def __call__(self) -> datetime:
        """The time now (UTC)."""
        with self._lock:
            ahead = self._ahead
        return datetime.now(UTC) if ahead is None else datetime.fromtimestamp(ahead + self._steady(), UTC)
