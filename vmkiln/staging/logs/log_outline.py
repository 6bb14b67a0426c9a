"""Which steps a log has, and where its lines are by number: read once, and then only what has been added.

A group is what was written while one step was on. Its lines are counted from 1 over the whole log, so a line has one
number for ever. What is known of the last logs that were asked for is kept; the bytes of a log are not.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from vmkiln.staging.customization_log import LONGEST_READ_BYTES
from vmkiln.staging.logs.log_index import LONGEST_ENTRY_BYTES, entry_of, index_of

BLOCK_BYTES = 64 * 1024
MOST_GROUPS = 1000
REMEMBERED_LOGS = 32
ERROR_LINE = b"] PACKER ERR "


@dataclass(frozen=True)
class LogGroup:
    """Lines that were written while one step was on ('' before the first).

    `start` and `end` in bytes, `first_line` from 1, times in seconds since 1970 (None when not known); `errors` are
    lines of stderr.
    """

    step: str
    start: int
    end: int
    first_line: int
    lines: int = 0
    errors: int = 0
    began: float | None = None
    ended: float | None = None


@dataclass(frozen=True)
class LogOutline:
    """A log's groups, how many whole lines it has, where they end, and marks: (position, number of the line there)."""

    groups: tuple[LogGroup, ...] = ()
    lines: int = 0
    end: int = 0
    marks: tuple[tuple[int, int], ...] = ()

    def before_line(self, number: int) -> tuple[int, int]:
        """A mark that is not behind a line: where to begin to read for it; pure."""
        index = bisect_right(self.marks, number, key=lambda mark: mark[1])
        return self.marks[index - 1] if index else (0, 1)

    def before_position(self, position: int) -> tuple[int, int]:
        """A mark that is not behind a position; pure."""
        index = bisect_right(self.marks, position, key=lambda mark: mark[0])
        return self.marks[index - 1] if index else (0, 1)


class _Reading:
    """How far a log has been read, and what it had."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._groups: list[LogGroup] = []
        self._marks: list[tuple[int, int]] = []
        self._steps: list[tuple[int, str, float]] = []  # changes that lie behind what was read
        self._step = "\n"  # no step is called so
        self._time: float | None = None
        self._lines = self._end = self._index_end = 0

    def outline(self) -> LogOutline:
        groups = self._groups
        if groups and groups[-1].ended is None:
            groups = [*groups[:-1], replace(groups[-1], ended=self._time)]
        return LogOutline(tuple(groups), self._lines, self._end, tuple(self._marks))

    def go_on(self, path: Path) -> None:
        """Read what was added. The log before its index: an entry is written before its lines are."""
        with path.open("rb") as log:
            size = log.seek(0, 2)
            if size < self._end:  # it is another file
                self._begin_anew()
            self._read_index(path)
            log.seek(self._end)
            for block, lines in _blocks(log, size - self._end):
                self._take(block, lines)
            self._begin_due()

    def _read_index(self, path: Path) -> None:
        try:
            index = index_of(path).open("rb")
        except FileNotFoundError:
            return
        with index:
            index.seek(self._index_end)
            while (line := index.readline(LONGEST_ENTRY_BYTES)).endswith(b"\n"):
                self._index_end += len(line)
                if (entry := entry_of(line)) is None:
                    continue
                position, said = entry
                self._time = said.time
                if said.step != self._step:
                    self._step = said.step
                    self._steps.append((position, said.step, said.time))

    def _take(self, block: bytes, lines: int) -> None:
        """Whole lines. A step that changes within them begins a group there."""
        self._marks.append((self._end, self._lines + 1))
        while block:
            self._begin_due()
            if not self._groups:
                self._groups.append(LogGroup("", self._end, self._end, self._lines + 1))
            cut = self._steps[0][0] - self._end if self._steps else len(block)
            part, block = block[:cut], block[cut:]
            self._end += len(part)
            count = part.count(b"\n") if block else lines
            lines -= count
            self._lines += count
            last = self._groups[-1]
            errors = last.errors + part.count(ERROR_LINE)
            self._groups[-1] = replace(last, end=self._end, lines=last.lines + count, errors=errors)

    def _begin_due(self) -> None:
        """Begin the groups of the steps that changed before what comes next."""
        while self._steps and self._steps[0][0] <= self._end:
            _, step, time = self._steps.pop(0)
            if self._groups and self._groups[-1].ended is None:
                self._groups[-1] = replace(self._groups[-1], ended=time)
            if self._groups and self._groups[-1].lines == 0 and not self._groups[-1].step:
                self._groups.pop()
            if len(self._groups) < MOST_GROUPS:
                self._groups.append(LogGroup(step, self._end, self._end, self._lines + 1, began=time))


def _blocks(log: BinaryIO, most: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines in pieces of about one block, and how many they are; what is still being written is left.

    An overlong line comes in parts of 1 MiB, each of which counts as one, as where lines are read.
    """
    rest = b""
    while most > 0 and (read := log.read(min(BLOCK_BYTES, most))):
        most -= len(read)
        rest += read
        while len(rest) >= LONGEST_READ_BYTES and b"\n" not in rest[:LONGEST_READ_BYTES]:
            yield rest[:LONGEST_READ_BYTES], 1
            rest = rest[LONGEST_READ_BYTES:]
        whole, end, rest = rest.rpartition(b"\n")
        if end:
            whole += end
            yield whole, whole.count(b"\n")


_readings: OrderedDict[Path, _Reading] = OrderedDict()
_lock = threading.Lock()


def outline_of(path: Path) -> LogOutline:
    """The outline of a log as far as it is; empty without the file."""
    with _lock:
        reading = _readings.pop(path, None) or _Reading()
        _readings[path] = reading
        while len(_readings) > REMEMBERED_LOGS:
            _readings.popitem(last=False)
    with reading.lock:
        try:
            reading.go_on(path)
        except FileNotFoundError:
            return LogOutline()
        return reading.outline()
