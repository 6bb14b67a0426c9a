"""Locks between processes of one machine: who makes a thing that all of them need makes it alone.

A lock is a file that stays. An open descriptor holds it (flock(2)), so it ends with its process, however that ends.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from vmkiln.durable_file import make_folder
from vmkiln.waiting.off_loop import off_loop

PAUSE_SECONDS = 0.2


def _nothing() -> None:
    pass


def _opened(directory: Path, name: str) -> int:
    make_folder(directory)
    lock = directory / f".lock-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


@contextlib.asynccontextmanager
async def alone(directory: Path, name: str, *, waiting: Callable[[], None] = _nothing) -> AsyncIterator[None]:
    """Only one at a time, of all processes and tasks, makes or fetches what has this name in a folder; others wait.

    The folder is made. `waiting` is called once when there is another. The wait ends with the holder, whose own
    commands and downloads all have time limits.
    """
    descriptor = await off_loop(_opened, directory, name)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                waiting = _nothing
                await asyncio.sleep(PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)
