"""What this process logs, to standard error: from which level on, in which form, and never a secret.

Secrets of the settings are masked for as long as the process lives, those of a run while it goes on (`hiding`). So a
line is made, and masked, where it is logged; in a process that serves, a thread writes it (`beside_the_loop`), for
whoever should read it may not.
"""

import contextlib
import json
import logging
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator

from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.setting_texts.declaration import LogFormat, LogLevel
from vmkiln.waiting.line_writer import LineWriter, Lost

AUDIT = "vmkiln.audit"  # the logger of acts, whose lines have room when others have none
FLUSH_SECONDS = 2.0
STUCK_SECONDS = 10.0
STDERR = 2

TEXT_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JSON_FORM = "%(asctime)s %(levelname)s %(name)s %(message)s"
JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}
QUIET = ("httpx", "azure", "qemu.qmp")  # each request, each header, each end of a monitor is a line of theirs
LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


class _Hidden:
    """What is masked now; of the same secret as often as it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._mask = SecretMask()

    def change(self, secrets: Iterable[str], by: int) -> None:
        with self._lock:
            for secret in secrets:
                self._counts[secret] += by
            self._counts = +self._counts  # what nobody hides any more is not kept
            found = set(self._counts)
            # in a JSON line a secret stands as JSON writes it
            self._mask = SecretMask.of(found | {json.dumps(secret)[1:-1] for secret in found})

    def __call__(self, text: str) -> str:
        return self._mask(text)


_hidden = _Hidden()
_writer: LineWriter | None = None


def _written(text: str, *, is_precious: bool = False) -> None:
    """Have a text written on standard error; by a thread, in a process that has one for it."""
    if _writer is not None:
        _writer.put(text.encode(errors="backslashreplace"), is_precious=is_precious)
        return
    sys.stderr.write(text)
    sys.stderr.flush()


def say(text: str) -> None:
    """Tell whoever started this process; it is no line of the log."""
    _written(f"{text}\n")


@contextlib.contextmanager
def beside_the_loop() -> Iterator[None]:
    """Have what is logged and said written by a thread while the block lasts; what waits at its end has a moment."""
    global _writer  # noqa: PLW0603 (there is one standard error)
    sys.stderr.flush()
    writer = _writer = LineWriter(STDERR, _line_of_lost)
    try:
        yield
    finally:
        is_written = writer.close(FLUSH_SECONDS)
        if is_written:  # else others would wait for it, too
            _writer = None


def flush(seconds: float = FLUSH_SECONDS) -> bool:
    """Wait until what was logged and said is written, or for so long; false when something is not."""
    return _writer is None or _writer.flush(seconds)


def lost() -> Lost:
    """How many lines of this process nobody ever got."""
    return Lost() if _writer is None else _writer.lost


def problem() -> str:
    """Why the log is not written now; '' when it is."""
    seconds = 0.0 if _writer is None else _writer.stuck_seconds
    if seconds < STUCK_SECONDS:
        return ""
    return f"is not written: standard error has taken nothing for {seconds:.0f} s, and {lost().lines} lines are lost"


def _line_of_lost(new: Lost) -> bytes:
    """The line of the log that says how many others are missing in it."""
    ours = [handler for handler in logging.getLogger().handlers if isinstance(handler, MaskingHandler)]
    text = "%d lines of this log were lost here, %d of them of the audit: standard error took none"
    record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, (new.lines, new.precious), None)
    handler = ours[0] if ours else MaskingHandler()
    return f"{handler.format(record)}\n".encode()


class MaskingHandler(logging.Handler):
    """Writes a record to standard error without the secrets in it, in message, traceback and additions."""

    def format(self, record: logging.LogRecord) -> str:
        return _hidden(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _written(f"{self.format(record)}\n", is_precious=record.name == AUDIT)
        except Exception:  # as logging's own handlers do
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """A line that could not be made is told as that, the way of all lines."""
        with contextlib.suppress(Exception):
            where = f"{record.name}, {record.filename}:{record.lineno}"
            _written(_hidden(f"a line of the log could not be made ({where}): {traceback.format_exc()}"))

    def flush(self) -> None:
        """Called by `logging.shutdown`."""
        flush()


@contextlib.contextmanager
def hiding(secrets: Iterable[str]) -> Iterator[None]:
    """Mask these in the log while the block lasts."""
    mine = frozenset(secrets) - {""}
    _hidden.change(mine, 1)
    try:
        yield
    finally:
        _hidden.change(mine, -1)


def set_up(level: LogLevel, log_format: LogFormat, *, secrets: Iterable[str] = ()) -> None:
    """Write the log of this process on standard error; `secrets` are masked in it from now on.

    A JSON line has time, level, logger, message, and what was added to the record. Libraries are heard from `info` on
    at most: below that, some of them write down requests with what they log in with.
    """
    _hidden.change(frozenset(secrets) - {""}, 1)
    handler = MaskingHandler()
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if isinstance(one, MaskingHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(max(LEVELS[level], logging.INFO))
    logging.getLogger("vmkiln").setLevel(LEVELS[level])
    for library in QUIET:
        logging.getLogger(library).setLevel(logging.WARNING)


def _formatter(log_format: LogFormat) -> logging.Formatter:
    if log_format is LogFormat.TEXT:
        return logging.Formatter(TEXT_FORM)
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 (most commands do without)

    return JsonFormatter(JSON_FORM, rename_fields=JSON_NAMES)
