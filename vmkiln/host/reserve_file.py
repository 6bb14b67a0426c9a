"""Keeps a file of 64 MiB in reserve, deleted when the disk is full, so that clean-up and the database can still write.

*Leaves behind:* 64 MiB in the state directory. *Undone by:* deleting the file. *Safe to repeat:* yes.
Source: posix_fallocate(3): the blocks are really there, not promised.
"""

import contextlib
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "reserve"
PART = "reserve.part"
OLD_NAME, OLD_PART = "ballast", "ballast.part"  # of 0.1.0
RESERVE_BYTES = 64 * 1024**2
LOW_BYTES = 8 * 1024**2  # less than this, and a commit or a deletion may fail
PLENTY_BYTES = 1024**3
LITTLE_BYTES = 4 * RESERVE_BYTES  # what is still free when it was deleted, and could not be made again


def ensure(home: Path, *, plenty_bytes: int = PLENTY_BYTES) -> None:
    """Make the reserve file when there is plenty of room and it is not there."""
    path = home / NAME
    (home / OLD_PART).unlink(missing_ok=True)
    if (home / OLD_NAME).exists():
        (home / OLD_NAME).replace(path)
    if path.exists() or shutil.disk_usage(home).free < plenty_bytes:
        return
    temporary = home / PART
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        temporary.rename(path)
    except OSError:  # no room after all
        temporary.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def release_if_full(home: Path) -> bool:
    """Delete the reserve file when the disk is as good as full; says whether it was there."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(home).free < LOW_BYTES:
            return _released(home)
    return False


def problem(home: Path) -> str:
    """Why the disk has too little room for a service to go on; '' when it has enough."""
    try:
        free = shutil.disk_usage(home).free
    except OSError:
        return "cannot be looked at"
    is_gone = not (home / NAME).exists()
    if free < LOW_BYTES or (is_gone and free < LITTLE_BYTES):
        return f"is full: {free // 1024**2} MiB are free{', and the reserve is gone' if is_gone else ''}"
    return ""


def _released(home: Path) -> bool:
    found = [path for path in (home / name for name in (NAME, PART, OLD_NAME, OLD_PART)) if path.exists()]
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        log.error("the disk of %s is full: the reserve file was deleted, so that clean-up can work", home)
    return bool(found)
