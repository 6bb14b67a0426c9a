"""A finished image waits for an object store that is away, and the run's time stands still meanwhile."""

import asyncio

import pytest

from vmkiln.errors import ObjectMissing, SharedStorageFailed
from vmkiln.sharing import waited_out as module
from vmkiln.sharing.waited_out import waited_out
from vmkiln.waiting.deadline import deadline_in, time_stands_still


class Away:
    """An object store that refuses so many times."""

    def __init__(self, times: int, error: type[SharedStorageFailed] = SharedStorageFailed) -> None:
        self.times, self.error, self.asked = times, error, 0
        self.warnings: list[str] = []

    async def give(self) -> str:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error("the store is away")
        return "key"

    async def waited_out(self, patience_seconds: float = 3600.0) -> str:
        return await waited_out(self.give, patience_seconds=patience_seconds, warn=self.warnings.append)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(module, "MOST_PAUSE_SECONDS", 0.05)


async def test_it_is_asked_again_until_it_is_back_and_the_reason_is_told_once() -> None:
    store = Away(4)
    assert await store.waited_out() == "key"
    assert store.asked == 5
    assert store.warnings == ["the image is kept here, and shared when that can be done: the store is away"]


async def test_the_time_of_the_run_stands_still_meanwhile() -> None:
    async with deadline_in(0.15):
        assert await Away(8).waited_out() == "key", "0.4 s of waiting"

    async def stands_still_and_goes_on() -> None:
        async with deadline_in(0.05):
            with time_stands_still():
                await asyncio.sleep(0.1)
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        await stands_still_and_goes_on()


async def test_patience_has_an_end_and_what_is_missing_is_not_waited_for() -> None:
    with pytest.raises(SharedStorageFailed):
        await Away(10**9).waited_out(patience_seconds=0.2)
    store = Away(1, ObjectMissing)
    with pytest.raises(ObjectMissing):
        await store.waited_out()
    assert store.asked == 1


async def test_a_cancel_ends_the_waiting() -> None:
    waiting = asyncio.create_task(Away(10**9).waited_out())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
