"""Blocking calls beside the event loop: the database, files, hashes, big texts.

One loop answers requests, reads what virtual machines say and keeps runs going, so nothing on it may wait. What blocks
is called in a thread. For the task that waits, the call is as a plain one would be: it ends or fails as the function
does, and a cancel that comes meanwhile is heard at the next `await` behind it. So what a call made is always known to
whoever undoes it, and a clean-up is never cut short in the middle of a write.
"""

import asyncio
import contextlib
import contextvars
import functools
import os
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

MOST_THREADS = 8  # of a process; writers queue for the database anyway, and each call waits in a task that is limited
NAME = "off-loop"
P = ParamSpec("P")
R = TypeVar("R")
Make = Callable[[], contextlib.AbstractContextManager[R]]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    """Threads of our own: asyncio's may all be busy for minutes with the hashes of large images."""
    return ThreadPoolExecutor(MOST_THREADS, thread_name_prefix=NAME)


os.register_at_fork(after_in_child=_threads.cache_clear)  # a child has none of its parent's threads


async def off_loop(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """Call a blocking function in a thread, and wait for its end even when we are cancelled.

    A cancel is passed on afterwards: the next `await` of the task raises it. Raises: what the function raises.
    """
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await to_its_end(asyncio.get_running_loop().run_in_executor(_threads(), call))


async def to_its_end(future: "asyncio.Future[R]") -> R:
    """Wait for the end of something that must not be left, even when we are cancelled; that is passed on afterwards.

    Raises: what it ends with.
    """
    cancel: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancel = error
    task = asyncio.current_task()
    if cancel is not None and task is not None:
        task.uncancel()  # asyncio counts cancels, and this one is no second one
        task.cancel(*cancel.args)
    return future.result()


@contextlib.asynccontextmanager
async def off_loop_with(make: Make[R]) -> AsyncIterator[R]:
    """A context manager whose making, entering and leaving block, while the block lasts; each is called off the loop.

    It may be entered in one thread and left in another.
    """
    manager, value = await off_loop(_entered, make)
    try:
        yield value
    except BaseException:
        if not await off_loop(manager.__exit__, *sys.exc_info()):
            raise
    else:
        await off_loop(manager.__exit__, None, None, None)


def _entered(make: Make[R]) -> tuple[contextlib.AbstractContextManager[R], R]:
    manager = make()
    return manager, manager.__enter__()
