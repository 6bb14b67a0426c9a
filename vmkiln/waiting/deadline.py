"""The time that a run may take, which stands still while the run waits for what it cannot help."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar

_deadline: ContextVar[asyncio.Timeout | None] = ContextVar("deadline", default=None)


@contextlib.asynccontextmanager
async def deadline_in(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """As `asyncio.timeout`: the block has so many seconds. Raises: `TimeoutError` when they are over."""
    async with asyncio.timeout(seconds) as deadline:
        token = _deadline.set(deadline)
        try:
            yield deadline
        finally:
            _deadline.reset(token)


@contextlib.contextmanager
def time_stands_still() -> Iterator[None]:
    """What the block takes is not counted by the deadline of this context; nothing when there is none."""
    deadline = _deadline.get()
    when = None if deadline is None else deadline.when()
    if deadline is None or when is None:
        yield
        return
    now = asyncio.get_running_loop().time
    left = when - now()
    deadline.reschedule(None)
    try:
        yield
    finally:
        deadline.reschedule(now() + left)
