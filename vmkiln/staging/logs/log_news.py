"""Tells those who follow a log that it has grown, at once and without asking again and again.

It reaches followers in the process that writes the log. Others, and those of another host, look now and then.
"""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import AsyncIterator


class Follower:
    """One who waits for news of a run's logs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._has_news = asyncio.Event()

    def tell(self) -> None:
        """Wake it, from any thread; once is enough however often this is called."""
        if not self._has_news.is_set():
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._has_news.set)

    async def news(self, *, at_most_seconds: float) -> bool:
        """Wait for news, but not longer; whether there were any. What came since the last time counts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_seconds):
                await self._has_news.wait()
        found = self._has_news.is_set()
        self._has_news.clear()
        return found


class LogNews:
    """Who follows the logs of which run, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._followers: dict[str, set[Follower]] = defaultdict(set)

    def tell(self, run_id: str) -> None:
        """A log of this run has grown; from any thread."""
        with self._lock:
            followers = tuple(self._followers.get(run_id, ()))
        for follower in followers:
            follower.tell()

    @contextlib.asynccontextmanager
    async def followed(self, run_id: str) -> AsyncIterator[Follower]:
        """A follower of a run's logs, for as long as the block lasts; to be entered before the log is looked at."""
        follower = Follower(asyncio.get_running_loop())
        with self._lock:
            self._followers[run_id].add(follower)
        try:
            yield follower
        finally:
            with self._lock:
                self._followers[run_id].discard(follower)
                if not self._followers[run_id]:
                    del self._followers[run_id]


NEWS = LogNews()
