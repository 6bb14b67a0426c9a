"""Logs of ended runs are kept for so long, and so many of a subscription; then a line in their place says so.

The pictures of their VMs' screens count and go as logs do, without a line.
What goes first is what ended first. Logs of runs that go on are left alone, and so is everything that is not a log.
Of runs that are on no record any more (`provisioning/record_retention.py` deletes their logs on one host of a fleet,
and each may have a copy) logs and pictures go when nobody has written them for as long.

*Leaves behind:* a line in each log that went. *Undone by:* nothing. *Safe to repeat:* yes.
"""

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from vmkiln.azure_names import LOG_FILES
from vmkiln.files.durable_file import write_whole
from vmkiln.fleet.run_queue import subscription_of
from vmkiln.run.guest.screen import PICTURES
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

NOTE = b"[vmkiln] this log was deleted, for logs are kept for a time and up to a size (docs/operations.md)\n"
MIB = 1024 * 1024
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeptLog:
    """A log that is there: whose it is, its size, and when its run ended."""

    file: Path
    subscription_id: str
    size_bytes: int
    ended: datetime


def forget_logs(settings: Settings, store: Store) -> int:
    """Delete what is too old, and the oldest of what is too much; returns how many logs and pictures."""
    files = list(_files(settings.staging))
    runs = store.runs.by_id(sorted({file.parent.name for file in files}), has_template=False)
    oldest = store.now() - timedelta(days=settings.run_logs_kept_days)
    _forget_unknown([file for file in files if file.parent.name not in runs], oldest=oldest)
    gone = to_forget(_kept(files, runs), oldest=oldest, most_bytes=settings.most_run_log_mib * MIB)
    for item in gone:
        if item.file.match(PICTURES):
            item.file.unlink(missing_ok=True)
        else:
            write_whole(item.file, NOTE)
    if gone:
        log.info("%d logs and pictures of ended runs are not kept any longer", len(gone))
    return len(gone)


def _forget_unknown(files: Sequence[Path], *, oldest: datetime) -> None:
    """Delete what is too old of runs on no record, with the folders that are empty then.

    What is younger is left: a back-up of the database may have been restored that does not know its run.
    """
    for file in files:
        with contextlib.suppress(OSError):  # it, or its template, was deleted just now; a folder has more in it
            if file.stat().st_mtime < oldest.timestamp():
                file.unlink()
                file.parent.rmdir()


def to_forget(logs: Sequence[KeptLog], *, oldest: datetime, most_bytes: int) -> list[KeptLog]:
    """The logs that ended before `oldest`, and of each subscription what is beyond `most_bytes`, oldest first; pure."""
    found = []
    total: dict[str, int] = defaultdict(int)
    for item in sorted(logs, key=lambda item: item.ended, reverse=True):
        total[item.subscription_id] += item.size_bytes
        if item.ended < oldest or total[item.subscription_id] > most_bytes:
            found.append(item)
    return found[::-1]


def _files(staging: Path) -> Iterator[Path]:
    for name in (*sorted(LOG_FILES.values()), PICTURES):
        yield from staging.glob(f"*/*/{LOGS}/*/{name}")


def _kept(files: Sequence[Path], runs: Mapping[str, RunRow]) -> list[KeptLog]:
    """Those of runs that have ended."""
    found = []
    for file in files:
        run = runs.get(file.parent.name)
        if run is None or run.ended is None:
            continue
        try:
            size = file.stat().st_size
        except FileNotFoundError:  # its template was deleted just now
            continue
        if size > len(NOTE) or file.match(PICTURES):
            found.append(KeptLog(file, subscription_of(run.template_id), size, run.ended))
    return found
