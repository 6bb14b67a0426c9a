"""A log that others cannot fill: some lines of each kind are written in a minute, the rest is counted and told."""

import logging
import time
from collections import Counter

MOST_LINES = 10  # of a kind in a minute
MOST_KINDS = 100
ROUND_SECONDS = 60.0


class FewLines(logging.Filter):
    """Lets through the first lines of each kind; a kind is what was written in the code, without what is filled in."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()
        self._began = time.monotonic()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; the first of the next minute says how many were not."""
        now = time.monotonic()
        kind = str(record.msg)[:200]
        left_out: Counter[str] = Counter()
        if now - self._began >= ROUND_SECONDS or len(self._seen) > MOST_KINDS:
            left_out = Counter({name: count - MOST_LINES for name, count in self._seen.items() if count > MOST_LINES})
            self._seen.clear()
            self._began = now
        self._seen[kind] += 1
        if self._seen[kind] > MOST_LINES:
            return False
        if left_out:
            record.msg = f"{record.msg} (%d lines were left out before)"
            record.args = (*(record.args if isinstance(record.args, tuple) else ()), left_out.total())
        return True
