"""The lock of a live run, and its folder: overlays, keys, sockets.

The lock is held from before the run is recorded until its end is, so whoever finds a run that is said to go on and
whose lock nobody holds knows that its process died, however it died.

*Leaves behind:* nothing. *Undone by:* leaving the block, or the next command's `abandoned` and `forget_locks`.
*Safe to repeat:* yes.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from vmkiln.errors import CleanUpFailed
from vmkiln.files import locks
from vmkiln.files.private_folder import private_folder

LOCK_SUFFIX = ".lock"


@contextlib.contextmanager
def locked(runs: Path, run_id: str) -> Iterator[None]:
    """The run's lock, held by this process until the block is left or the process dies."""
    private_folder(runs)
    path = _lock(runs, run_id)
    with locks.taken(path):  # another file, should this one be removed as an abandoned one before it is locked
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked_if_free(runs: Path, run_id: str) -> Iterator[bool]:
    """The same, if no process holds it: whether it is ours."""
    private_folder(runs)
    path = _lock(runs, run_id)
    with locks.opened(path) as descriptor:
        is_ours = locks.try_to_take(descriptor) and locks.is_at(descriptor, path)
        try:
            yield is_ours
        finally:
            if is_ours:
                path.unlink(missing_ok=True)


def _lock(runs: Path, run_id: str) -> Path:
    return runs / f"{run_id}{LOCK_SUFFIX}"


def is_live(runs: Path, run_id: str) -> bool:
    """Whether a process holds the run's lock."""
    return locks.is_held(_lock(runs, run_id))


def holder_of(runs: Path, run_id: str) -> int | None:
    """The process that holds the run's lock, where it can be told."""
    return locks.holder_of(_lock(runs, run_id))


def live_runs(runs: Path) -> list[str]:
    """The ids of runs whose lock is held."""
    return [path.stem for path in sorted(runs.glob(f"*{LOCK_SUFFIX}")) if locks.is_held(path)]


def folder_of(runs: Path, run_id: str, *, attempt: int = 1) -> Path:
    """The folder of one attempt of a run; pure."""
    return runs / (run_id if attempt == 1 else f"{run_id}.{attempt}")


def kept(runs: Path) -> Path:
    """Where the customized disks are that later attempts of their runs may go on from, a folder for each; pure."""
    return runs.with_name("kept")


@contextlib.contextmanager
def held(runs: Path, run_id: str, *, attempt: int = 1) -> Iterator[Path]:
    """A new folder for an attempt of a run whose lock is held, mode 0700; deleted when the block is left.

    Raises: `CleanUpFailed` when something in it could not be deleted.
    """
    with _made(folder_of(runs, run_id, attempt=attempt)) as directory:
        yield directory


@contextlib.contextmanager
def woken(runs: Path, run_id: str) -> Iterator[Path]:
    """The same for the failed VM of a run that has ended, while it is awake."""
    with _made(folder_of_woken(runs, run_id)) as directory:
        yield directory


def folder_of_woken(runs: Path, run_id: str) -> Path:
    """The folder of a failed VM that is awake; pure."""
    return runs / f"{run_id}.woken"


@contextlib.contextmanager
def _made(directory: Path) -> Iterator[Path]:
    directory.mkdir(mode=0o700)
    try:
        yield directory
    finally:
        remove(directory)


def remove(directory: Path) -> None:
    """Delete a run's folder with everything in it; finds nothing and is content."""
    failures: list[str] = []
    shutil.rmtree(directory, onerror=lambda _function, path, _information: failures.append(str(path)))
    if failures and directory.exists():
        raise CleanUpFailed(f"these files of the run could not be deleted: {', '.join(failures[:5])}")


def abandoned(runs: Path) -> list[Path]:
    """Folders of runs whose process is gone."""
    if not runs.is_dir():
        return []
    folders = [directory for directory in sorted(runs.iterdir()) if directory.is_dir()]
    return [directory for directory in folders if not is_live(runs, directory.name.partition(".")[0])]


def forget_locks(runs: Path) -> None:
    """Delete the locks that nobody holds."""
    for path in runs.glob(f"*{LOCK_SUFFIX}"):
        locks.remove_free(path)
