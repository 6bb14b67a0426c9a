"""Copies of a process that run a program of ours: none is left, whenever its start is given up."""

import asyncio
import os
import time
from contextlib import suppress

import pytest

from vmkiln.host.copies import forking

SECONDS = 60


def main() -> None:
    """What the copy runs."""
    time.sleep(SECONDS)


async def test_a_copy_whose_start_is_given_up_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    is_read = asyncio.Event()
    fork = os.fork

    def noted() -> int:
        begun.append(fork())
        return begun[0]

    async def never(_descriptor: int) -> asyncio.StreamReader:
        is_read.set()
        await asyncio.sleep(SECONDS)
        raise AssertionError("it was not given up")

    async def starts() -> None:
        async with forking.started(__name__, [], is_heard=True):
            pass

    monkeypatch.setattr(os, "fork", noted)
    monkeypatch.setattr(forking, "_reader", never)
    starting = asyncio.ensure_future(starts())
    await is_read.wait()
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)
