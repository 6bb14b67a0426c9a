"""What is in source images, found once by a look from outside and kept by the digest of their bytes and of the looker.

A look that failed is remembered for a while, too: it may take long, and the next build's would fail as well. One that
may have failed by this host's fault is remembered as one of two.

*Leaves behind:* a file for each source, the latest used ones. *Undone by:* deleting it; `remove_left` deletes what a
writer left that was killed. *Safe to repeat:* yes.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path

from vmkiln import __version__
from vmkiln.files.durable_file import is_part, remove_abandoned_part, reported, write_whole
from vmkiln.files.private_folder import private_folder
from vmkiln.image_contents.contents import FORM, ImageContents, read_contents

MOST_KEPT = 100  # sources; of the others the next build looks again
FAILED_SECONDS = 6 * 3600.0  # before a source is looked at again that could not be read
LONGEST_REASON_BYTES = 1024
SUFFIX, FAILED = ".json", ".failed"
FAILED_ONCE = ""  # as a reason: the next build looks again


def key_of(source_digest: str, looker_digest: str) -> str:
    """What it is kept by: the source, and what looks and reads, for one of another release may see more; pure."""
    return hashlib.sha256(f"{source_digest} {looker_digest} {__version__} {FORM}".encode()).hexdigest()


def keep(folder: Path, key: str, contents: ImageContents) -> None:
    """Keep what is in a source, in place of what was kept of it. Raises: `StorageFailed`."""
    _written(folder, key, SUFFIX, contents.text)
    with reported("keeping what is in a source"):
        _file(folder, key, FAILED).unlink(missing_ok=True)


def keep_failure(folder: Path, key: str, reason: str) -> None:
    """Keep that a source could not be read now, and why, or `FAILED_ONCE`. Raises: `StorageFailed`."""
    _written(folder, key, FAILED, reason)


def known(folder: Path, key: str) -> ImageContents | None:
    """What is in a source; none when nobody looked, or what was kept cannot be read."""
    file = _file(folder, key, SUFFIX)
    try:
        contents = read_contents(file.read_text())
    except (OSError, ValueError, TypeError, RecursionError):  # a later look writes it anew
        return None
    with contextlib.suppress(OSError):  # of a full disk, or deleted meanwhile
        os.utime(file)
    return contents


def failed_lately(folder: Path, key: str) -> str | None:
    """Why a source could not be read a while ago, so that it is not looked at now.

    `FAILED_ONCE` when it is to be, and one look in a row has failed; none when none has.
    """
    try:
        with _file(folder, key, FAILED).open("rb") as file:
            is_old = not 0 <= time.time() - os.fstat(file.fileno()).st_mtime < FAILED_SECONDS
            return None if is_old else file.read(LONGEST_REASON_BYTES).decode(errors="replace")
    except OSError:
        return None


def remove_left(folder: Path) -> None:
    """Delete what writers left unfinished who were killed. Raises: `OSError`."""
    for path in folder.glob(".*"):
        if is_part(path):
            remove_abandoned_part(path)


def _written(folder: Path, key: str, suffix: str, text: str) -> None:
    with reported("keeping what is in a source"):
        private_folder(folder)
        write_whole(_file(folder, key, suffix), text.encode())
        for kind in (SUFFIX, FAILED):
            by_use = sorted(folder.glob(f"*{kind}"), key=_last_used, reverse=True)
            for file in by_use[MOST_KEPT:]:
                file.unlink(missing_ok=True)


def _file(folder: Path, key: str, suffix: str) -> Path:
    return folder / f"{key.replace(':', '-')}{suffix}"


def _last_used(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another run's
        return 0.0
