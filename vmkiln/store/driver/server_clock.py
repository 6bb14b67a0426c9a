"""The time as the database's server has it: of a fleet's clocks the one that all of its hosts have."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime


@contextlib.contextmanager
def asking(clock: Callable[[], datetime]) -> Iterator[Callable[[float], None]]:
    """Whoever asks the database for the time in the block says what it was told (seconds since 1970).

    That matters where its clock is asked.
    """
    began = _steady()

    def heard(seconds: float) -> None:
        if isinstance(clock, ServerClock):
            clock.hear(seconds, waited=_steady() - began)

    yield heard


def _steady() -> float:
    """The clock that nobody sets; it goes on while the machine sleeps, where it is told so (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServerClock:
    """What the server said last and what the steady clock counted since; this machine's clock until it has said it.

    An answer tells of a moment in which it was waited for, so it is believed no more closely than that: one that was
    late changes nothing. The time goes back only as far as an answer proves that it was ahead: it was another server's
    clock then, or that was set. Any thread may ask and tell it.
    """

    def __init__(self, *, steady: Callable[[], float] = _steady) -> None:
        self._steady = steady
        self._ahead: float | None = None  # of the steady clock
        self._lock = threading.Lock()

    def hear(self, seconds: float, *, waited: float = 0.0) -> None:
        """The server has said what time it is, in seconds since 1970, to whoever `waited` for so long until now."""
        least = seconds - self._steady()
        with self._lock:
            self._ahead = least if self._ahead is None else min(max(self._ahead, least), least + waited)

    def __call__(self) -> datetime:
        """The time now (UTC)."""
        with self._lock:
            ahead = self._ahead
        return datetime.now(UTC) if ahead is None else datetime.fromtimestamp(ahead + self._steady(), UTC)
