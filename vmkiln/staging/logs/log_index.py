"""When each line of a log was written, and in which step: an index beside the log, whose own bytes stay Azure's.

It is a file of one JSON object a line: `{"at": BYTES, "time": SECONDS, "step": NAME}` says of the log's lines from
that position on, up to the next entry's, when they came and which step was on. Lines that came together share one.

*Leaves behind:* the index. *Undone by:* deleting the storage account. *Safe to repeat:* appends.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from vmkiln.azure_names import utc_text
from vmkiln.files.private_folder import private_file

MOST_INDEX_BYTES = 16 * 1024**2
LEAST_SECONDS = 0.02  # between two entries of one step
LONGEST_ENTRY_BYTES = 4096
MOST_STEP_LETTERS = 256
NEAR_BYTES = 4096
SUFFIX = ".times"


@dataclass(frozen=True)
class LineTime:
    """When a line was written, in seconds since 1970, and the name of the step that was on; '' before the first."""

    time: float
    step: str = ""


class LogIndex:
    """An open index, written as the log is. It is left incomplete rather than that a run fails for it."""

    def __init__(self, log: Path, *, most_bytes: int = MOST_INDEX_BYTES) -> None:
        self.step = ""
        self._file = private_file(index_of(log), "ab", buffering=0)
        self._room = most_bytes - self._file.tell()
        self._last = LineTime(0.0, "\n")  # no step is called so

    def note(self, position: int, time: float) -> None:
        """What is written from `position` on comes now, in the step that is on."""
        is_soon = time - self._last.time < LEAST_SECONDS
        if self._last.step == self.step and is_soon:
            return
        entry = json.dumps({"at": position, "time": round(time, 3), "step": self.step[:MOST_STEP_LETTERS]}) + "\n"
        line = entry.encode()
        if len(line) > self._room:
            return
        with contextlib.suppress(OSError):
            if self._file.write(line) != len(line):
                self._room = 0  # the disk is full: what follows would join a torn entry
        self._room -= len(line)
        self._last = LineTime(time, self.step)

    def __enter__(self) -> "LogIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def clock_text(seconds: float) -> str:
    """A time as ARM writes it: ISO 8601 in UTC, with milliseconds and a Z; pure."""
    return utc_text(datetime.fromtimestamp(seconds, UTC))


def index_of(log: Path) -> Path:
    """The file of a log's index; pure."""
    return log.with_name(f"{log.name}{SUFFIX}")


def is_index(name: str) -> bool:
    """Whether a file of this name is a log's index, which is no blob of its own; pure."""
    return name.endswith(f".log{SUFFIX}")


def times_of(log: Path, start: int, lines: Sequence[bytes]) -> list[LineTime | None]:
    """When each of these lines of a log, the first of which begins at `start`, was written; None where it is not known.

    Only what is needed of the index is read.
    """
    found: list[LineTime | None] = []
    with line_times(log, start) as time_at:
        position = start
        for line in lines:
            found.append(time_at(position))
            position += len(line)
    return found


@contextlib.contextmanager
def line_times(log: Path, start: int) -> Iterator[Callable[[int], LineTime | None]]:
    """What tells when the line at a position of a log was written; to be asked for lines from `start` on, in order."""
    try:
        file = index_of(log).open("rb")
    except FileNotFoundError:
        yield lambda _position: None
        return
    with file:
        file.seek(_near(file, start))
        now, following = None, _next_entry(file)

        def time_at(position: int) -> LineTime | None:
            nonlocal now, following
            while following is not None and following[0] <= position:
                now, following = following[1], _next_entry(file)
            return now

        yield time_at


def _near(file: BinaryIO, position: int) -> int:
    """Where in the index to begin to look for the entry of a position: at an entry that is not behind it, or at 0."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > NEAR_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline(LONGEST_ENTRY_BYTES)
        begin = file.tell()
        entry = entry_of(file.readline(LONGEST_ENTRY_BYTES))
        if begin >= high or entry is None or entry[0] > position:
            high = middle
        else:
            low = begin
    return low


def _next_entry(file: BinaryIO) -> tuple[int, LineTime] | None:
    """The next whole entry; what is torn, or none, is passed over."""
    while line := file.readline(LONGEST_ENTRY_BYTES):
        if entry := entry_of(line):
            return entry
    return None


def entry_of(line: bytes) -> tuple[int, LineTime] | None:
    """An entry's position and what it says; None for a torn one, or what is none."""
    try:
        content = json.loads(line)
        return int(content["at"]), LineTime(float(content["time"]), str(content["step"]))
    except (ValueError, TypeError, KeyError):
        return None
