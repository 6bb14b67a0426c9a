"""customization.log and validation.log: written line by line as Packer works, kept in the storage account.

Each line is `[<run id>] PACKER OUT <text>`, as Azure writes it; the guest's bytes are stored as they came.
The size is limited. When the limit is near, lines are held back: of those, the newest are written when the log is
sealed, for that is where a failure stands, and the ones between are dropped and counted. A full disk is such a limit.

*Leaves behind:* the log. *Undone by:* deleting the storage account. *Safe to repeat:* appends.
Source: docs/reference/behaviour.md#logs.
"""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vmkiln.files.durable_file import FULL
from vmkiln.files.private_folder import private_file
from vmkiln.run_failures import CheckpointLost

MOST_BYTES = 256 * 1024 * 1024
TAIL_BYTES = 1024 * 1024
LAST_LINE = "Done exporting Packer logs to Azure Storage."
LONGEST_READ_BYTES = 1024 * 1024
READ_BACK_BYTES = 64 * 1024


class CustomizationLog:
    """An open log. Every line is with the operating system when `write` returns, so a follower sees it at once.

    `end` is where the next line begins, in bytes. `dropped_bytes` is what did not find room, exactly, when the log has
    been sealed. With `is_ended` false more is written later, by another: the line that says that all is there is
    left to that one.
    """

    def __init__(
        self,
        path: Path,
        run_id: str,
        *,
        most_bytes: int = MOST_BYTES,
        tail_bytes: int = TAIL_BYTES,
        is_ended: bool = True,
    ) -> None:
        self.path = path
        self._is_ended = is_ended
        self.run_id = run_id
        self.dropped_bytes = 0
        self._file = private_file(path, "ab", buffering=0)
        self.end = self._file.tell()
        self._room = most_bytes - tail_bytes - self.end
        self._tail: deque[bytes] = deque()
        self._tail_room = tail_bytes

    def write(self, text: str, *, kind: str = "OUT") -> None:
        """Append one line (without its line end); surrogate escapes become the bytes they stand for."""
        line = self._line(text, kind)
        if not self._tail and len(line) <= self._room:
            written = self._written(line)
            self._room -= written
            if written == len(line):
                return
            line = line[written:]  # the disk is full: from here on lines are held back, as when the limit is near
        self._tail.append(line)
        self._tail_room -= len(line)
        while self._tail_room < 0:
            oldest = self._tail.popleft()
            self._tail_room += len(oldest)
            self.dropped_bytes += len(oldest)

    def _written(self, line: bytes) -> int:
        """How many bytes of a line went to the file; fewer than it has only when the disk is full."""
        done = 0
        try:
            while done < len(line):
                done += self._file.write(line[done:])
        except OSError as error:
            if error.errno not in FULL:
                raise
        self.end += done
        return done

    def _line(self, text: str, kind: str) -> bytes:
        return f"[{self.run_id}] PACKER {kind} {text}\n".encode(errors="surrogateescape")

    def __enter__(self) -> "CustomizationLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if self.dropped_bytes:
                note = f"{self.dropped_bytes} bytes were dropped here: the log reached its limit"
                self._written(self._line(note, "ERR"))
            for line in self._tail:
                self.dropped_bytes += len(line) - self._written(line)
            if self._is_ended and not isinstance(error, CheckpointLost):  # else the build begins anew
                self._written(self._line(LAST_LINE, "OUT"))
            os.fsync(self._file.fileno())


@dataclass(frozen=True)
class LogPart:
    """Whole lines of a log, each with its line end, and where they begin and end, in bytes.

    `is_last` says that no other whole line follows.
    """

    lines: tuple[bytes, ...] = ()
    start: int = 0
    end: int = 0
    is_last: bool = True


def last_lines(path: Path, *, most_lines: int, most_bytes: int) -> LogPart:
    """The last whole lines of a log, at most so many and of so many bytes; read from its end, and nothing before them.

    What is still being written is left for the next time. Of an overlong line there is the last part.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return LogPart()
    with file:
        size = file.seek(0, os.SEEK_END)
        start, text = size, b""
        # one line end more than lines: the one before the first of them
        while start > 0 and len(text) < most_bytes and text.count(b"\n") <= most_lines:
            step = min(READ_BACK_BYTES, start, most_bytes - len(text))
            start -= step
            file.seek(start)
            text = file.read(step) + text
    whole = text[: text.rfind(b"\n") + 1]
    lines = [line + b"\n" for line in whole.split(b"\n")[:-1]]
    if start > 0 and len(lines) > 1:  # the first one may have begun earlier
        start += len(lines[0])
        lines = lines[1:]
    dropped = max(0, len(lines) - most_lines)
    start += sum(len(line) for line in lines[:dropped])
    kept = tuple(lines[dropped:])
    return LogPart(kept, start, start + sum(len(line) for line in kept))


def lines_from(path: Path, position: int) -> Iterator[tuple[bytes, int]]:
    """The whole lines behind `position`, each with its line end and the position after it; none without the file.

    An overlong line comes in parts of 1 MiB. What is still being written is left for the next time.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(position)
        while line := file.readline(LONGEST_READ_BYTES):
            if not line.endswith(b"\n") and len(line) < LONGEST_READ_BYTES:
                return
            position += len(line)
            yield line, position


def lines_after(path: Path, position: int, *, most_lines: int, most_bytes: int) -> LogPart:
    """The whole lines behind `position`, at most so many and of so many bytes, but one of any length."""
    lines: list[bytes] = []
    end = position
    for line, after in lines_from(path, position):
        if lines and (len(lines) == most_lines or after - position > most_bytes):
            return LogPart(tuple(lines), position, end, is_last=False)
        lines.append(line)
        end = after
    return LogPart(tuple(lines), position, end)
