"""Lines that a thread of their own writes, so that nobody waits for whoever should read them.

Standard error may take nothing for a while, or never again: a pipe that nobody empties, a stopped journald, a full
disk. Whoever has a line leaves it here and goes on. There is room for so many bytes; what has none is counted, and how
much was lost is told as soon as lines are taken again. Lines that must not be lost have room of their own.
Source: write(2), on pipes and partial writes; pipe(7), "Pipe capacity".
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST_WAITING_BYTES = 4 * 1024**2
MOST_PRECIOUS_BYTES = 8 * 1024**2  # all lines together, as long as the one that comes is precious
MOST_AT_ONCE_BYTES = 64 * 1024
AGAIN_SECONDS = 1.0  # after an error


@dataclass(frozen=True)
class Lost:
    """How many lines were lost, precious ones among them."""

    lines: int = 0
    precious: int = 0


@dataclass(frozen=True)
class _Line:
    content: bytes
    is_precious: bool = False


class LineWriter:
    """Writes lines to a file descriptor, in order; any thread may leave one at any time.

    `tell` makes the line that says how much was lost. The thread begins here, and ends with the process.
    Raises: `RuntimeError` when there is no thread to be had.
    """

    def __init__(self, descriptor: int, tell: Callable[[Lost], bytes]) -> None:
        self._descriptor = descriptor
        self._tell = tell
        self._changed = threading.Condition()  # it can be entered again: a line may be left while one is left
        self._waiting: deque[_Line] = deque()
        self._bytes = 0
        self._is_closed = False
        self._since: float | None = None
        self._lost = self._told = Lost()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> Lost:
        """What was lost since the start."""
        return self._lost

    @property
    def stuck_seconds(self) -> float:
        """How long what is being written now is not taken; 0.0 when nothing is."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def put(self, content: bytes, *, is_precious: bool = False) -> None:
        """Have a line written, which ends with its newline. It never waits and raises nothing."""
        most = MOST_PRECIOUS_BYTES if is_precious else MOST_WAITING_BYTES
        with self._changed:
            if self._is_closed or (self._bytes and self._bytes + len(content) > most):
                self._lose([_Line(content, is_precious)])
                return
            self._waiting.append(_Line(content, is_precious))
            self._bytes += len(content)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, or for so long; false when something is not."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes, seconds)

    def close(self, seconds: float) -> bool:
        """Take no more lines, and wait for those that are here, or for so long; false when some are not written."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._bytes, seconds)

    def _lose(self, lines: list[_Line]) -> None:
        precious = sum(line.is_precious for line in lines)
        self._lost = Lost(self._lost.lines + len(lines), self._lost.precious + precious)

    # the thread

    def _write_all(self) -> None:
        while batch := self._next_batch():
            content = b"".join(line.content for line in batch)
            try:
                self._write(content)
            except Exception:  # nobody can be told now; it is told with the first line that is taken again
                with self._changed:
                    self._lose(batch)
                time.sleep(AGAIN_SECONDS)
            else:
                self._tell_of_lost()
            with self._changed:
                self._since = None
                self._bytes -= len(content)
                self._changed.notify_all()

    def _next_batch(self) -> list[_Line]:
        """The lines to write next, as many as go well at once; none when there come no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            batch: list[_Line] = []
            size = 0
            while self._waiting and (not batch or size + len(self._waiting[0].content) <= MOST_AT_ONCE_BYTES):
                batch.append(self._waiting.popleft())
                size += len(batch[-1].content)
            self._since = time.monotonic() if batch else None
            return batch

    def _tell_of_lost(self) -> None:
        lost = self._lost
        if lost == self._told:
            return
        new = Lost(lost.lines - self._told.lines, lost.precious - self._told.precious)
        try:
            self._write(self._tell(new))
        except Exception:  # then the next line that is taken tells it
            return
        self._told = lost

    def _write(self, content: bytes) -> None:
        """Raises: `OSError`."""
        left = memoryview(content)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # who shares the file made it so
                select.select([], [self._descriptor], [])
