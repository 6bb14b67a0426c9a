"""Standard output that nobody reads any more: `vmkiln run list | head -1` ends quietly, as other programs do.

Python ignores SIGPIPE and raises `BrokenPipeError` at whatever happened to print, which is told as an error of that.
Here the first line that nobody takes ends the command: at once, or as Ctrl-C does where there is something to clean
up. What is said on standard error is lost when nobody reads it, and the command goes on: it is not what was asked for.
A full disk ends a command in the same way, but for the reason, which is told; a terminal that is gone ends it as the
SIGHUP does that comes with it, whichever of the two is noticed first.
Source: signal(7), SIGPIPE; write(2), EIO, EPIPE; the status that a shell gives a program that a signal ended is 128
more.
"""

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

STATUS = 128 + signal.SIGPIPE
STANDARD = (0, 1, 2)
GONE = "the terminal is gone"
_ended: list[str] = []  # why standard output took nothing more; '' when nobody read it any more


def is_closed() -> bool:
    """Whether standard output was printed to when it took nothing more."""
    return bool(_ended)


def is_terminal_gone() -> bool:
    """Whether it was a terminal that is closed, or whose connection was cut."""
    return _ended[:1] == [GONE]


def problem() -> str:
    """Why it took nothing more, such as a full disk; '' when nobody read it, or no terminal is left."""
    return "" if is_terminal_gone() or not _ended else _ended[0]


def watch() -> None:
    """From now on a closed pipe ends this command; files that its caller closed lead nowhere, and to no other file."""
    _ended.clear()
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            _lead_nowhere(descriptor)
    if sys.stdin is None:  # it was closed
        sys.stdin = _nothing()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _watched(sys.stdout, 1, _end)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _watched(sys.stderr, 2, lambda _: None)


def _nothing() -> TextIO:
    return open(0, closefd=False)


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == descriptor:  # the lowest that is free
        os.set_inheritable(descriptor, True)  # as a copy is, for programs that are started have it too
    else:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _watched(stream: TextIO | None, descriptor: int, on_close: Callable[[str], None]) -> TextIO:
    if stream is None:  # it was closed
        return open(descriptor, "w", closefd=False)
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, on_close)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Output(io.FileIO):
    """A file that takes everything once it took nothing more."""

    def __init__(self, descriptor: int, on_close: Callable[[str], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._on_close = on_close
        self._is_terminal = os.isatty(descriptor)  # one that is gone is none any more

    def write(self, content: object, /) -> int | None:  # type: ignore[override] # whatever has bytes, as in the base
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            _lead_nowhere(self.fileno())
            why = GONE if self._is_terminal and error.errno == errno.EIO else error.strerror or str(error)
            self._on_close("" if isinstance(error, BrokenPipeError) else why)
            return super().write(content)  # type: ignore[arg-type]


def _end(why: str) -> None:
    """End the command: what runs in an event loop is cancelled and cleans up, all else unwinds from here."""
    _ended.append(why)
    is_main = threading.current_thread() is threading.main_thread()
    if (is_main and not _has_loop()) or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        raise SystemExit(STATUS)
    signal.raise_signal(signal.SIGTERM)


def _has_loop() -> bool:
    asyncio: Any = sys.modules.get("asyncio")  # which short commands do not import
    return asyncio is not None and asyncio.events._get_running_loop() is not None
