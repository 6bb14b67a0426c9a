"""Tasks that belong to a block: they end with it, and the block ends when one of them ends that nobody asked to end.

Everything that a process does for as long as it lives is such a task, so nothing of it can be gone while the rest goes
on. What ended, and why, is in the log before anything else happens. Blocks stand in one another; whatever ends one of
them unasked is told to `on_unasked` at once, because the clean-up on the way to the outermost one may never end.
Source: Python, "Task Groups": a group waits for its tasks, and one that fails cancels the others and the block.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from vmkiln.errors import TaskEnded, VmkilnError

OnUnasked = Callable[[], None]
log = logging.getLogger(__name__)


class OwnedTasks:
    """The tasks of one block. `own` adds one."""

    def __init__(self, tasks: asyncio.TaskGroup, on_unasked: OnUnasked) -> None:
        self._group = tasks
        self._on_unasked = on_unasked
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self.cause: BaseException | None = None

    def own(self, name: str, work: Coroutine[Any, Any, object], *, may_end: bool = False) -> None:
        """Do this while the block lasts. With `may_end` the work may return, but must not raise."""
        task = self._group.create_task(self._watched(name, work, may_end=may_end), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _done: work.close())  # also when it was cancelled before its first step

    async def _watched(self, name: str, work: Coroutine[Any, Any, object], *, may_end: bool) -> None:
        try:
            await work
        except asyncio.CancelledError as error:
            # a task group takes a cancelled task for one that is done, whoever cancelled it
            if self._is_ending:
                raise
            self._ended_unasked(name, TaskEnded(f"{name} was cancelled, and nobody asked for that"), error)
        except Exception as error:
            if self._is_ending:
                log.warning("%s ended with an error: %s", name, error, exc_info=_unforeseen(error))
                return
            self._ended_unasked(name, error, error)
        except BaseException as error:  # such as the panic of a library that is written in another language
            self._ended_unasked(name, error, error)
        else:
            if not may_end and not self._is_ending:
                self._ended_unasked(name, TaskEnded(f"{name} came to an end, and nobody asked for that"), None)

    def _ended_unasked(self, name: str, error: BaseException, seen: BaseException | None) -> None:
        """Raises: `error`, always; the task group then cancels everything else."""
        self._is_ending = True
        self.cause = error
        self._on_unasked()  # before the log, which may have nobody who reads it
        log.critical("%s failed, and everything else ends with it: %s", name, error, exc_info=_unforeseen(seen))
        raise error

    def block_failed(self) -> None:
        """What stands in the block itself failed: that ends everything, too, and whoever gets the error tells it."""
        if not self._is_ending:
            self._on_unasked()
        self.end(is_cancelling=False)

    def end(self, *, is_cancelling: bool) -> None:
        """From now on tasks are asked to end; `is_cancelling` says so to them here and not by the group."""
        self._is_ending = True
        for task in list(self._tasks) if is_cancelling else ():
            task.cancel()


def _unforeseen(error: BaseException | None) -> BaseException | None:
    """What is logged with its traceback: whatever is no error of ours; pure."""
    return None if isinstance(error, VmkilnError) else error


def nothing() -> None:
    """For a block whose end is nothing to the process, because whoever waits for the block has limits of its own."""


@contextlib.asynccontextmanager
async def opened(*, on_unasked: OnUnasked) -> AsyncIterator[OwnedTasks]:
    """Tasks that end with this block. When one ends unasked, the block is cancelled and `on_unasked` is called.

    So it is when the block itself fails. A block inside another one is given what that one was given.
    Raises: what ended a task unasked, itself and not as a group; `TaskEnded` when it just came to an end.
    """
    owned: OwnedTasks | None = None
    error: BaseException
    try:
        async with asyncio.TaskGroup() as tasks:
            owned = OwnedTasks(tasks, on_unasked)
            try:
                yield owned
            except asyncio.CancelledError:
                owned.end(is_cancelling=False)
                raise
            except BaseException:
                owned.block_failed()
                raise
            else:
                owned.end(is_cancelling=True)
        return
    except BaseExceptionGroup as group:
        error = (owned.cause if owned else None) or group.exceptions[0]
        context = error.__context__
    # raised outside of the handler, which would put the group in place of what the error followed
    try:
        raise error
    finally:
        error.__context__ = context


async def for_ever() -> None:
    """Wait until this is cancelled."""
    await asyncio.Event().wait()
