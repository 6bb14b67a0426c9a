"""Who makes a thing that all of them need makes it alone, of all processes and tasks of this machine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from vmkiln.files import locks
from vmkiln.files.private_folder import private_folder
from vmkiln.waiting.off_loop import off_loop

PAUSE_SECONDS = 0.2


def _nothing() -> None:
    pass


@contextlib.asynccontextmanager
async def alone(directory: Path, name: str, *, waiting: Callable[[], None] = _nothing) -> AsyncIterator[None]:
    """Only one at a time makes or fetches what has this name in a folder, which is made; others wait.

    `waiting` is called once when there is another. The wait ends with the holder, whose own commands and downloads all
    have time limits.
    """
    with contextlib.ExitStack() as stack:
        await off_loop(private_folder, directory)
        while not await off_loop(_is_taken, directory, name, stack):
            waiting()
            waiting = _nothing
            await asyncio.sleep(PAUSE_SECONDS)
        yield


def _is_taken(directory: Path, name: str, stack: contextlib.ExitStack) -> bool:
    """Whether the lock is ours now, until the stack is closed; opened anew each time, for such files are removed."""
    with contextlib.ExitStack() as tries:
        is_ours = tries.enter_context(locks.tried(locks.file_of(directory, name)))
        if is_ours:
            stack.enter_context(tries.pop_all())
        return is_ours
