"""Locks between processes of one machine (flock(2)): the only module that takes them.

A lock lies on an open descriptor, so it ends with its process, however that ends. Names of errors: whatever opening the
file raises (`OSError`).
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock-"  # how the names of these files begin


def take(descriptor: int) -> None:
    """Lock what is open here, and wait for whoever has it; blocks."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_to_take(descriptor: int, *, shared: bool = False) -> bool:
    """Lock what is open here, alone or (`shared`) beside others who share it; false when it is somebody else's."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def opened(path: Path, *, flags: int = os.O_CREAT | os.O_RDWR) -> Iterator[int]:
    """A file (mode 0600) or folder to lock; what is locked on it is free again when the block is left."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Have the lock of a file, which is made and stays; waits for whoever has it, and blocks."""
    with opened(path) as descriptor:
        take(descriptor)
        yield


@contextlib.contextmanager
def taken(path: Path, *, flags: int = os.O_CREAT | os.O_RDWR) -> Iterator[int]:
    """Have the lock of the file that has this name, open to write; blocks.

    Others may remove or rename the file between its opening and its locking. What was locked is then another file than
    the one of that name, so it is opened anew.
    """
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(opened(path, flags=flags))
        take(descriptor)
        while not is_at(descriptor, path):
            stack.close()
            descriptor = stack.enter_context(opened(path, flags=flags))
            take(descriptor)
        yield descriptor


@contextlib.contextmanager
def tried(path: Path) -> Iterator[bool]:
    """The same without waiting: whether it is ours, until the block is left; also when others remove such files."""
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(opened(path))
        is_ours = try_to_take(descriptor)
        while is_ours and not is_at(descriptor, path):
            stack.close()
            descriptor = stack.enter_context(opened(path))
            is_ours = try_to_take(descriptor)
        yield is_ours


def remove_free(path: Path) -> None:
    """Delete the file of a lock that nobody has. Who takes it by `taken` or `tried` meanwhile makes a new one."""
    with contextlib.suppress(FileNotFoundError), opened(path, flags=os.O_RDWR) as descriptor:
        if try_to_take(descriptor) and is_at(descriptor, path):
            path.unlink()


def is_at(descriptor: int, path: Path) -> bool:
    """Whether what is open here is still the file of this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Whether a process has the lock of a file; false when there is none."""
    try:
        with opened(path, flags=os.O_RDWR) as descriptor:
            return not try_to_take(descriptor, shared=True)
    except FileNotFoundError:
        return False


def holder_of(path: Path) -> int | None:
    """The process that has the lock of a file; None when nobody has it, or it is out of our sight (proc(5), locks)."""
    try:
        number = path.stat().st_ino
    except FileNotFoundError:
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if "->" not in words and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(number):
            return int(words[4]) if int(words[4]) > 0 else None
    return None


def file_of(directory: Path, name: str) -> Path:
    """The file in a folder that is the lock of a name, whatever letters that has; pure."""
    return directory / f"{LOCK}{hashlib.sha256(name.encode()).hexdigest()[:16]}"
