"""What this process logs, to standard error: from which level on, in which form, and never a secret.

Secrets of the settings are masked for as long as the process lives, those of a run while it goes on (`hiding`).
"""

import contextlib
import json
import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator

from vmkiln.secret_mask import SecretMask
from vmkiln.settings import LogFormat, LogLevel

TEXT_FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JSON_FORM = "%(asctime)s %(levelname)s %(name)s %(message)s"
JSON_NAMES = {"asctime": "time", "levelname": "level", "name": "logger"}
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
            found = {secret for secret, count in self._counts.items() if count > 0}
            # in a JSON line a secret stands as JSON writes it
            self._mask = SecretMask.of(found | {json.dumps(secret)[1:-1] for secret in found})

    def __call__(self, text: str) -> str:
        return self._mask(text)


_hidden = _Hidden()


class MaskingHandler(logging.Handler):
    """Writes a record to standard error without the secrets in it, in message, traceback and additions."""

    def format(self, record: logging.LogRecord) -> str:
        return _hidden(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # as logging's own handlers do
            self.handleError(record)


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
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _formatter(log_format: LogFormat) -> logging.Formatter:
    if log_format is LogFormat.TEXT:
        return logging.Formatter(TEXT_FORM)
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 (most commands do without)

    return JsonFormatter(JSON_FORM, rename_fields=JSON_NAMES)
