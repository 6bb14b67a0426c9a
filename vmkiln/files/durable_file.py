"""Files and folders that are still there, and whole, after the power fails.

A file's content is on disk after fsync of the file; its name is after fsync of the folder that has the name, and that
folder's own name after fsync of the folder above it. A rename is one step, and what it replaced is there until then.
Source: fsync(2), rename(2).
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vmkiln.errors import StorageFailed, StorageFull
from vmkiln.files import locks

FULL = {errno.ENOSPC, errno.EDQUOT}
PART = ".part"


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk (fsync(2)). A failure is final: what was to be written may be lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """Wait until a folder and everything in it is on disk; symbolic links are not followed."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                sync(path)
        sync(Path(place))


def make_folder(path: Path, *, mode: int = 0o700) -> None:
    """Make a folder, with those above it, and wait until its way is on disk; content when it exists.

    The whole way is waited for, as far as its folders are this user's: whoever made them may have died before that.

    Raises: `StorageFailed` when it cannot be made.
    """
    with reported(f"making the folder {path}"):
        missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
        for folder in reversed(missing):  # `parents=True` would give those above the mode that the umask leaves
            folder.mkdir(exist_ok=True, mode=mode)
        for above in path.parents:
            if above.stat().st_uid != os.getuid():
                break
            sync(above)


def name_folder(workplace: Path, place: Path) -> None:
    """Give a whole folder its name, on disk, its files for reading only; what had the name before is deleted."""
    for path in workplace.iterdir():
        path.chmod(0o400)
    sync_all(workplace)
    shutil.rmtree(place, ignore_errors=True)
    workplace.rename(place)
    sync(place.parent)


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file, whole or not at all, on disk when the call returns; what was there is replaced.

    Who writes the same file at the same time is waited for. Raises: `StorageFailed` when it cannot be written.
    """
    with reported(f"writing {path}"), part_of(path, mode=mode) as descriptor:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]


@contextlib.contextmanager
def part_of(path: Path, *, mode: int = 0o600) -> Iterator[int]:
    """An empty file to write, that gets its name when the block ends well, whole and on disk; else it is deleted.

    Its maker holds its lock, so whoever cleans up tells one that is being made from one whose maker died
    (`remove_abandoned_part`). Another maker of the same file waits here.
    """
    part = path.with_name(f".{path.name}{PART}")
    # locked before it is opened to write: a maker that died just before the end left it read-only
    with locks.taken(part, flags=os.O_CREAT | os.O_RDONLY | os.O_NOFOLLOW) as lock:
        try:
            os.fchmod(lock, 0o600)
            with locks.opened(part, flags=os.O_RDWR | os.O_TRUNC | os.O_NOFOLLOW) as descriptor:
                yield descriptor
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            part.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
    sync(path.parent)


def is_part(path: Path) -> bool:
    """Whether this is the name of a file that is still being made; pure."""
    return path.name.startswith(".") and path.name.endswith(PART)


def remove_abandoned_part(part: Path) -> bool:
    """Delete what a maker left unfinished who died; false, and nothing done, while its maker lives."""
    try:
        with locks.opened(part, flags=os.O_RDONLY | os.O_NOFOLLOW) as descriptor:
            if locks.try_to_take(descriptor) and locks.is_at(descriptor, part):
                part.unlink()
                return True
    except FileNotFoundError:
        pass
    return False


def storage_error(doing: str, error: OSError) -> StorageFailed:
    """What the system said while something was written, as an error of ours."""
    kind = StorageFull if error.errno in FULL else StorageFailed
    return kind(f"{doing} failed: {error.strerror or error}")


@contextlib.contextmanager
def reported(doing: str) -> Iterator[None]:
    """Tell what the system says as an error of ours. Raises: `StorageFull` for a full disk, else `StorageFailed`."""
    try:
        yield
    except OSError as error:
        raise storage_error(doing, error) from error
