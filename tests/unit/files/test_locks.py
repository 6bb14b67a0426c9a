"""One at a time makes what all need; the lock ends with its holder."""

import asyncio
import os
from pathlib import Path

import pytest
from at_once import at_once

from vmkiln.files import locks
from vmkiln.files.locks import alone


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


def test_a_lock_is_seen_while_it_is_held_and_not_after(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert not locks.is_held(file)
    with locks.exclusive(file):
        assert locks.is_held(file)
    assert not locks.is_held(file)
    assert file.exists(), "it stays for the next one"


def test_those_who_share_a_lock_keep_out_who_wants_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locks.opened(file) as one, locks.opened(file) as other, locks.opened(file) as third:
        assert locks.try_to_take(one, shared=True)
        assert locks.try_to_take(other, shared=True)
        assert not locks.try_to_take(third)


def test_a_file_that_is_removed_before_it_is_locked_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    take, calls = locks.take, []

    def late(descriptor: int) -> None:
        if not calls:
            calls.append(descriptor)
            file.unlink()
        take(descriptor)

    monkeypatch.setattr(locks, "take", late)
    with locks.taken(file) as descriptor:
        assert locks.is_at(descriptor, file)
        assert locks.is_held(file)
