"""What Packer prints, on its way into the log: written beside the loop, in order, and told when it is in the log.

Reading goes on meanwhile, as far as there is room: how far Packer is must be known at once, also when the disk is slow.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from vmkiln.run_failures import LogLost
from vmkiln.waiting.off_loop import off_loop, to_its_end

MOST_WAITING_BYTES = 1024**2  # of output; a guest that says more waits, as its writes are not read then
Events = Sequence[object]
Write = Callable[[Events], None]
Tell = Callable[[object], None]


class OutputQueue:
    """Events that wait to be written and told. `write` may block; `lost` ends with the error when it fails."""

    def __init__(self, write: Write, tell: Tell) -> None:
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._write = write
        self._tell = tell
        self._waiting: deque[tuple[Events, int]] = deque()
        self._bytes = 0
        self._has_more = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_closed = False

    def add(self, events: Events, *, size_bytes: int = 0) -> None:
        """Have events written and told; for a few of our own."""
        self._waiting.append((events, size_bytes))
        self._bytes += size_bytes
        self._has_more.set()

    async def put(self, events: Events, *, size_bytes: int) -> None:
        """Have events written and told that came as so many bytes; waits while too many wait already."""
        self.add(events, size_bytes=size_bytes)
        while self._bytes > MOST_WAITING_BYTES and not self.lost.done():
            self._has_room.clear()
            await self._has_room.wait()

    def close(self) -> None:
        """There comes no more."""
        self._is_closed = True
        self._has_more.set()

    async def write_all(self) -> None:
        """Write and tell what comes, until the queue is closed and empty, or the log is lost."""
        while not self.lost.done() and (self._waiting or not self._is_closed):
            batch = list(self._waiting)
            self._waiting.clear()
            try:
                events = [event for each, _ in batch for event in each]
                if events:
                    await off_loop(self._write, events)
                for event in events:
                    self._tell(event)
            except BaseException as error:  # also a panic, or a cancel: nobody may wait for room that never comes
                self.lost.set_result(error if isinstance(error, Exception) else LogLost(type(error).__name__))
                self._has_room.set()
                if isinstance(error, asyncio.CancelledError):
                    raise
            self._bytes -= sum(size for _, size in batch)
            self._has_room.set()
            if not self._waiting and not self._is_closed:
                self._has_more.clear()
                await self._has_more.wait()


@contextlib.asynccontextmanager
async def opened(write: Write, tell: Tell) -> AsyncIterator[OutputQueue]:
    """A queue in front of an open log, which `write` writes to; when the block is left, nothing waits in it any more.

    Raises: `LogLost`, when nothing else ended the block.
    """
    queue = OutputQueue(write, tell)
    writing = asyncio.create_task(queue.write_all())
    try:
        yield queue
    finally:
        queue.close()
        await to_its_end(writing)  # so that its file is not closed while it is written to
    if queue.lost.done():
        error = queue.lost.result()
        raise LogLost(f"the log could not be kept: {error}") from error
