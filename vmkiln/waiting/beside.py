"""Work beside other work: when one of the two fails the other is cancelled, and waited for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from vmkiln.run_failures import first_of


@contextlib.asynccontextmanager
async def beside() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks that go on beside the block and are over behind it, as in a task group; the block fails for them too.

    What a cancel is noted with in the block reaches the caller. Raises: of all errors the first that is ours, else the
    first; not in a group.
    """
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        failure = first_of(group)
    if failure is not None:
        raise failure
