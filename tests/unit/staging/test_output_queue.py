"""Packer's output on its way into the log: in order, told when it is written, and read on while the disk is slow."""

import asyncio
import errno
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from vmkiln.run_failures import LogLost
from vmkiln.staging import output_queue
from vmkiln.staging.output_queue import MOST_WAITING_BYTES


class SlowLog:
    """A log whose disk waits until it is let go, and may be broken."""

    def __init__(self, error: OSError | None = None) -> None:
        self.may_write = threading.Event()
        self.lines: list[str] = []
        self.error = error

    def write(self, events: Sequence[object]) -> None:
        assert self.may_write.wait(20)
        if self.error is not None:
            raise self.error
        self.lines += map(str, events)


async def test_what_is_told_is_in_the_log_and_in_order(tmp_path: Path) -> None:
    path, seen = tmp_path / "customization.log", list[bool]()

    def tell(event: object) -> None:
        seen.append(f"{event}\n" in path.read_text())

    def write(events: Sequence[object]) -> None:
        with path.open("a") as file:
            file.writelines(f"{event}\n" for event in events)

    async with output_queue.opened(write, tell) as queue:
        for number in range(100):
            await queue.put([f"line {number}"], size_bytes=10)
    assert seen == [True] * 100
    assert path.read_text().splitlines() == [f"line {number}" for number in range(100)]


async def test_reading_goes_on_while_the_disk_waits_and_ends_with_the_room() -> None:
    log, told = SlowLog(), list[object]()
    async with output_queue.opened(log.write, told.append) as queue:
        await queue.put(["first"], size_bytes=10)
        await queue.put(["second"], size_bytes=MOST_WAITING_BYTES - 10)
        third = asyncio.create_task(queue.put(["third"], size_bytes=10))
        await asyncio.sleep(0.02)
        assert not third.done()
        assert told == []
        log.may_write.set()
        await third
    assert log.lines == told == ["first", "second", "third"]


async def test_a_log_that_cannot_be_written_is_lost_at_once_and_nobody_waits() -> None:
    log, told = SlowLog(OSError(errno.EIO, "broken")), list[object]()
    log.may_write.set()

    async def work() -> None:
        async with output_queue.opened(log.write, told.append) as queue:
            await queue.put(["first"], size_bytes=MOST_WAITING_BYTES + 1)
            assert "broken" in str(await asyncio.wait_for(queue.lost, 10))
            await queue.put(["second"], size_bytes=10)

    with pytest.raises(LogLost, match=r"the log could not be kept: .*broken"):
        await work()
    assert told == []


async def test_what_was_read_is_written_when_the_block_ends_with_an_error() -> None:
    log, told = SlowLog(), list[object]()
    asyncio.get_running_loop().call_later(0.02, log.may_write.set)

    async def work() -> None:
        async with output_queue.opened(log.write, told.append) as queue:
            await queue.put(["last"], size_bytes=10)
            raise ValueError("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"):
        await work()
    assert log.lines == ["last"]


async def test_a_cancel_leaves_no_write_behind() -> None:
    log, told = SlowLog(), list[object]()

    async def work() -> None:
        async with output_queue.opened(log.write, told.append) as queue:
            await queue.put(["last"], size_bytes=10)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0.02)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    log.may_write.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log.lines == ["last"]


class Panic(BaseException):
    """What libraries that are written in other languages raise."""


@pytest.mark.parametrize("where", ["write", "tell"])
async def test_a_panic_of_whoever_writes_or_is_told_leaves_nobody_waiting(where: str) -> None:
    def write(_events: Sequence[object]) -> None:
        if where == "write":
            raise Panic

    def tell(_event: object) -> None:
        if where == "tell":
            raise Panic

    async def run() -> None:
        async with asyncio.timeout(10), output_queue.opened(write, tell) as queue:
            for _ in range(3):
                await queue.put(["much"], size_bytes=MOST_WAITING_BYTES + 1)

    with pytest.raises(LogLost, match="Panic"):
        await run()
