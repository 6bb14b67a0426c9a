"""The folder of a live run: its overlays, keys, sockets; locked while the run lives, gone when it ends.

A folder whose lock nobody holds belongs to a run whose process died; `abandoned` finds them, `remove` ends them.

*Leaves behind:* nothing. *Undone by:* leaving the block, or the next command's `abandoned`. *Safe to repeat:* yes.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vmkiln.errors import CleanUpFailed

LOCK = "lock"


@contextlib.contextmanager
def held(runs: Path, run_id: str) -> Iterator[Path]:
    """A new folder for a run, mode 0700, locked by this process until the block is left; then deleted.

    Raises: `CleanUpFailed` when something in it could not be deleted.
    """
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = runs / run_id
    directory.mkdir(mode=0o700)
    descriptor = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield directory
    finally:
        remove(directory)
        os.close(descriptor)


def remove(directory: Path) -> None:
    """Delete a run's folder with everything in it; finds nothing and is content."""
    failures: list[str] = []
    shutil.rmtree(directory, onerror=lambda _function, path, _information: failures.append(str(path)))
    if failures and directory.exists():
        raise CleanUpFailed(f"these files of the run could not be deleted: {', '.join(failures[:5])}")


def abandoned(runs: Path) -> list[Path]:
    """Folders of runs whose process is gone, however it died."""
    if not runs.is_dir():
        return []
    return [directory for directory in sorted(runs.iterdir()) if directory.is_dir() and not _is_locked(directory)]


def _is_locked(directory: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
