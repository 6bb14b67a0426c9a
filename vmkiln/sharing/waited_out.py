"""Giving a finished image to the other hosts, however long the object store is away: the build is worth more."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from vmkiln.errors import ObjectMissing, SharedStorageFailed
from vmkiln.waiting.deadline import time_stands_still

PAUSE_SECONDS = 2.0
MOST_PAUSE_SECONDS = 60.0


async def waited_out(
    give: Callable[[], Awaitable[str]], *, patience_seconds: float, warn: Callable[[str], None]
) -> str:
    """What `give` gives, which is asked again while the object store is away; the run's time stands still meanwhile.

    `warn` gets why it waits, once for each reason. A cancel is heard between two tries.
    Raises: `SharedStorageFailed` when it has been away for the whole patience, or lacks what is asked for.
    """
    try:
        return await give()
    except ObjectMissing:
        raise
    except SharedStorageFailed as error:
        first = error
    with time_stands_still():
        return await _again(give, first, until=time.monotonic() + patience_seconds, warn=warn)


async def _again(
    give: Callable[[], Awaitable[str]], error: SharedStorageFailed, *, until: float, warn: Callable[[str], None]
) -> str:
    pause, told = PAUSE_SECONDS, ""
    while True:
        if str(error) != told:
            told = str(error)
            warn(f"the image is kept here, and shared when that can be done: {told}")
        if time.monotonic() + pause > until:
            raise error
        await asyncio.sleep(pause)
        pause = min(2 * pause, MOST_PAUSE_SECONDS)
        try:
            return await give()
        except SharedStorageFailed as again:
            error = again
