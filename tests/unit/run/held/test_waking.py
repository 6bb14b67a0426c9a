"""A visit to a failed VM that is awake ends with the visitor, the VM, its time or its release, and puts it back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.virtual_machine import WriteError
from vmkiln.run.held import waking


class Awake:
    """A failed VM that is awake, and what became of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.unwritten: asyncio.Future[WriteError] = asyncio.get_running_loop().create_future()
        self.unheard: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.released = asyncio.Event()
        self.done: list[str] = []
        vm = SimpleNamespace(ended=self.ended, unheard=self.unheard, stopped_by_write_error=self._unwritten)
        self.woken: Any = SimpleNamespace(
            directory=Path(), lease=None, vm=vm, released=self.released, put_back=self._put_back
        )
        monkeypatch.setattr(waking, "woken", self._awake)
        monkeypatch.setattr(waking, "seconds_left", lambda _lease: 60.0)
        monkeypatch.setattr(waking, "LEAVING_SECONDS", 0.05)
        monkeypatch.setattr(waking.lease, "forget", lambda *_: self.done.append("deleted"))

    @contextlib.asynccontextmanager
    async def _awake(self, *_: Any) -> AsyncIterator[Any]:
        yield self.woken

    async def _unwritten(self) -> WriteError:
        return await self.unwritten

    async def _put_back(self) -> None:
        self.done.append("put back")

    async def visited(self, *, status: int | None = None) -> int | None:
        """A visit that ends with this status, or not by itself."""

        async def visit(_folder: Path) -> int:
            return await asyncio.get_running_loop().create_future() if status is None else status

        host: Any = SimpleNamespace(settings=None, store=None)
        async with asyncio.timeout(30):
            return await waking.visited(host, "run", visit, self.done.append)


async def test_a_vm_that_was_left_is_put_back_and_one_that_was_released_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    awake = Awake(monkeypatch)
    assert (await awake.visited(status=5), awake.done) == (5, ["put back"])
    awake = Awake(monkeypatch)
    awake.released.set()
    assert (await awake.visited(), awake.done) == (None, ["deleted", "it was let go"])


async def test_a_visitor_does_not_wait_for_a_vm_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    awake = Awake(monkeypatch)
    awake.ended.set_result(None)
    assert await awake.visited() is None
    assert awake.done == ["the failed VM was turned off: it lies on disk as it was before this visit"]


async def test_a_visit_ends_when_this_host_cannot_write_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    awake = Awake(monkeypatch)
    awake.unwritten.set_result(WriteError(True, "No space left on device"))
    assert await awake.visited() is None
    told = "this host could not write what the failed VM wrote: No space left on device"
    assert awake.done == [told, "put back"]


async def test_a_visit_ends_when_the_vm_is_not_heard_any_more_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    awake = Awake(monkeypatch)
    awake.unheard.set_result(ValueError("too much"))
    assert await awake.visited() is None
    assert awake.done == ["what the failed VM says could not be read any more: too much", "put back"]
