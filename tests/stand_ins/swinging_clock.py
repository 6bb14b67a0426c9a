"""A clock of the day that is set back and forth while a process works; the steady clock goes on as it is.

Whoever reads the time by `time.time` or `utc_now` sees it. What the kernel and SQLite read stays right.
"""

import itertools
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

DAY = 86_400.0
OFFSETS = (DAY, -DAY, 0.0, -3_600.0, 30 * DAY, -30 * DAY)  # of the right time, one after the other


def install() -> Callable[[], None]:
    """Give this process such a clock; who calls what is returned sets it anew."""
    real, turns = time.time, itertools.cycle(OFFSETS)
    offset = 0.0

    def swing() -> None:
        nonlocal offset
        offset = next(turns)

    def shifted() -> float:
        return real() + offset

    def utc_now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=offset)

    time.time = shifted
    for module in list(sys.modules.values()):
        if module.__name__.startswith("vmkiln.") and hasattr(module, "utc_now"):
            module.utc_now = utc_now  # type: ignore[attr-defined] # of whoever has imported it
    return swing
