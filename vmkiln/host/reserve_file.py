"""Ballast: a file that is thrown off when the disk is full, so that clean-up and the database can still write.

*Leaves behind:* 64 MiB in the state directory. *Undone by:* deleting the file. *Safe to repeat:* yes.
Source: posix_fallocate(3): the blocks are really there, not promised.
"""

import contextlib
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "ballast"
PART = "ballast.part"
BALLAST_BYTES = 64 * 1024**2
LOW_BYTES = 8 * 1024**2  # less than this, and a commit or a deletion may fail
PLENTY_BYTES = 1024**3
LITTLE_BYTES = 4 * BALLAST_BYTES  # what is still free when it was thrown off, and could not be taken on board again


def kept(home: Path, *, plenty_bytes: int = PLENTY_BYTES) -> None:
    """Take the ballast on board when there is plenty of room and none is there."""
    path = home / NAME
    if path.exists() or shutil.disk_usage(home).free < plenty_bytes:
        return
    temporary = home / PART
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        temporary.rename(path)
    except OSError:  # no room after all
        temporary.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def thrown_off_when_low(home: Path) -> bool:
    """Throw the ballast off when the disk is as good as full; says whether it was."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(home).free < LOW_BYTES:
            return _thrown_off(home)
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


def _thrown_off(home: Path) -> bool:
    aboard = [path for path in (home / NAME, home / PART) if path.exists()]
    for path in aboard:
        path.unlink(missing_ok=True)
    if aboard:
        log.error("the disk of %s is full: the ballast was thrown off, so that clean-up can work", home)
    return bool(aboard)
