"""Blocking calls beside the event loop: the database, files, hashes, big texts.

One loop answers requests, reads what virtual machines say and keeps runs going, so nothing on it may wait. What blocks
is called in a thread. For the task that waits, the call is as a plain one would be: it ends or fails as the function
does, and a cancel that comes meanwhile is heard at the next `await` behind it. So what a call made is always known to
whoever undoes it, and a clean-up is never cut short in the middle of a write.

Rounds (`lifetime/rounds.py`) have threads of their own, so that they go on however busy all others are. There a cancel
is heard at once, and the call goes on alone: a round may fetch for minutes, and what it does is done again anyway.
"""

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

MOST_THREADS = 32  # of a process; each call waits in a task that is limited, and those of runs wait out an outage
MOST_ROUND_THREADS = 24  # more than there are rounds, each of which makes one call at a time
MOST_RUN_LOG_THREADS = 8  # for the rounds of runs, of which there are as many as runs
START_SECONDS = 20.0  # a new thread runs at once
STOP_SECONDS = 5.0
MOST_LOGIN_THREADS = 4  # two hash on two processors, and others may wait for what an issuer's keys are fetched from
NAME, ROUNDS, RUN_LOGS, LOGINS = "off-loop", "rounds", "run-logs", "logins"  # the names of the threads begin so
P = ParamSpec("P")
R = TypeVar("R")
Make = Callable[[], contextlib.AbstractContextManager[R]]
_is_stopped: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("is_stopped", default=None)
log = logging.getLogger(__name__)


class _Threads:
    """A few threads for blocking calls. They all begin with the first call: later there may be none to be had."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._forget()
        os.register_at_fork(after_in_child=self._forget)  # a child has none of its parent's threads

    def _forget(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def pool(self) -> ThreadPoolExecutor:
        """The threads. Raises: `RuntimeError` when there are none to be had."""
        with self._lock:
            if self._pool is None:
                self._pool = _begun(self._name, self._most)
            return self._pool


def _begun(name: str, most: int) -> ThreadPoolExecutor:
    """A pool all of whose threads run: each waits until all are there, so none is taken for an idle one before."""
    pool = ThreadPoolExecutor(most, thread_name_prefix=name)
    together = threading.Barrier(most)
    try:
        for _ in range(most):
            pool.submit(together.wait, START_SECONDS)
    except RuntimeError:
        together.abort()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return pool


_own = _Threads(NAME, MOST_THREADS)  # asyncio's may all be busy for minutes with the hashes of large images
_of_rounds = _Threads(ROUNDS, MOST_ROUND_THREADS)
_of_run_logs = _Threads(RUN_LOGS, MOST_RUN_LOG_THREADS)
_of_logins = _Threads(LOGINS, MOST_LOGIN_THREADS)


async def off_loop(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """Call a blocking function in a thread, and wait for its end even when we are cancelled.

    A cancel is passed on afterwards: the next `await` of the task raises it. Raises: what the function raises.
    """
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await to_its_end(asyncio.get_running_loop().run_in_executor(_own.pool(), call))


async def in_round(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """Call a blocking function of a round in a thread of the rounds; a cancel is heard at once."""
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_of_rounds.pool(), call)


async def in_round_of_a_run(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """The same for a round that a run has: there may be many, so they share other threads."""
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_of_run_logs.pool(), call)


async def in_login(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """The same for a login, whose hash is costly and whose caller is not known yet."""
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_of_logins.pool(), call)


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


class StoppedError(Exception):
    """Nobody waits for what a call fetches any more."""


def go_on() -> None:
    """To be called by a long call now and then. Raises: `StoppedError`, when the task that waits was cancelled."""
    is_stopped = _is_stopped.get()
    if is_stopped is not None and is_stopped.is_set():
        raise StoppedError


async def until_cancelled(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """Call what may take long, such as a fetch, in one of asyncio's threads; a cancel stops it at its next `go_on`.

    That is waited for, but not for ever: it may be stuck in a single read. Raises: what the function raises.
    """
    is_stopped = threading.Event()

    def call() -> R:
        _is_stopped.set(is_stopped)
        go_on()
        return function(*arguments, **named)

    calling = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        is_stopped.set()
        await asyncio.wait([calling], timeout=STOP_SECONDS)
        if not calling.done():
            log.warning("%s does not stop within %.0f s: it is left alone", function, STOP_SECONDS)
        elif not calling.cancelled():
            calling.exception()  # it was stopped, or ended badly, and nobody waits for it any more
        raise


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
