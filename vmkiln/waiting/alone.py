"""Who makes a thing that all of them need makes it alone, of all processes and tasks of this machine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from vmkiln.files import locks
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
        descriptor = await off_loop(_opened_in, directory, name, stack)
        while not locks.try_to_take(descriptor):
            waiting()
            waiting = _nothing
            await asyncio.sleep(PAUSE_SECONDS)
        yield


def _opened_in(directory: Path, name: str, stack: contextlib.ExitStack) -> int:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return stack.enter_context(locks.opened(locks.file_of(directory, name)))
