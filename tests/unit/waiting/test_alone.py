"""One at a time makes what all need; the lock ends with its holder."""

import asyncio
import os
from pathlib import Path

import pytest
from at_once import at_once

from vmkiln.files import locks
from vmkiln.waiting.alone import alone


def must_not_wait() -> None:
    raise AssertionError("waited")


async def test_only_one_at_a_time_makes_a_thing_of_a_name(tmp_path: Path) -> None:
    order: list[str] = []
    entered = asyncio.Event()

    async def first() -> None:
        async with alone(tmp_path, "a:b:c", waiting=lambda: None):
            entered.set()
            await asyncio.sleep(0.3)
            order.append("first is done")

    async def second() -> None:
        await entered.wait()
        async with alone(tmp_path, "a:b:c", waiting=lambda: order.append("second waits")):
            order.append("second")

    await asyncio.gather(first(), second())
    assert order == ["second waits", "first is done", "second"]


async def test_things_of_different_names_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async with alone(tmp_path, "a", waiting=must_not_wait), alone(tmp_path, "b", waiting=must_not_wait):
        pass


async def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"):
        async with alone(tmp_path, "a", waiting=must_not_wait):
            raise ValueError("x")
    async with alone(tmp_path, "a", waiting=must_not_wait):
        pass


def enter(directory: Path) -> int:
    async def entered() -> None:
        async with alone(directory, "a"):
            with (directory / "inside").open("x"):
                await asyncio.sleep(0.02)
            (directory / "inside").unlink()

    asyncio.run(entered())
    return os.getpid()


def test_processes_are_kept_apart(tmp_path: Path) -> None:
    assert [len(set(found)) for found in at_once(enter, [(tmp_path,)] * 3)] == [8] * 3


async def test_who_waits_is_alone_also_when_the_file_of_the_lock_is_removed(tmp_path: Path) -> None:
    lock = locks.file_of(tmp_path, "a")
    waits = asyncio.Event()

    async def enter() -> bool:
        async with alone(tmp_path, "a", waiting=waits.set):
            with locks.tried(lock) as is_anothers:
                return is_anothers

    with locks.tried(lock):
        working = asyncio.create_task(enter())
        await waits.wait()
        lock.unlink()
    assert await working is False
