"""What a process does for as long as it lives: one part that ends unasked ends all of it, with its cause."""

import asyncio
import logging

import pytest

from vmkiln.errors import InputError, TaskEnded
from vmkiln.lifetime import owned_tasks


async def goes_on(ended: list[str], name: str = "other") -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)  # a clean-up that takes its time
        ended.append(name)


async def fails(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def returns() -> None:
    await asyncio.sleep(0)


async def test_tasks_end_with_their_block() -> None:
    ended: list[str] = []
    async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
        tasks.own("other", goes_on(ended))
        await asyncio.sleep(0)
    assert ended == ["other"]


@pytest.mark.parametrize("error", [RuntimeError("broken"), PermissionError(13, "no"), InputError("a name is taken")])
async def test_a_task_that_fails_ends_the_block(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []
    unasked: list[int] = []

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=lambda: unasked.append(1)) as tasks:
            tasks.own("other", goes_on(ended))
            tasks.own("the part", fails(error))
            await owned_tasks.for_ever()

    with pytest.raises(type(error)) as caught:
        await service()
    assert caught.value is error, "it is raised itself, not as a group"
    assert ended == ["other"], "the rest is ended and waited for"
    assert unasked == [1]
    [record] = [item for item in caplog.records if item.levelno == logging.CRITICAL]
    assert "the part failed" in record.message
    assert str(error) in record.message
    assert bool(record.exc_info) is not isinstance(error, InputError), "what nobody foresaw has its traceback"


async def test_a_task_that_returns_ends_the_block() -> None:
    async def service() -> None:
        async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
            tasks.own("the part", returns())
            await owned_tasks.for_ever()

    with pytest.raises(TaskEnded, match="the part came to an end"):
        await service()


async def test_a_task_that_may_return_does_not_end_it() -> None:
    async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
        tasks.own("the part", returns(), may_end=True)
        await asyncio.sleep(0.01)


async def test_a_task_that_somebody_else_cancels_ends_the_block() -> None:
    """A task group itself takes it for one that is done."""

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
            tasks.own("the part", goes_on([]))
            await asyncio.sleep(0)
            [task] = [task for task in asyncio.all_tasks() if task.get_name() == "the part"]
            task.cancel()
            await owned_tasks.for_ever()

    with pytest.raises(TaskEnded, match="the part was cancelled"):
        await service()


async def test_what_the_block_raises_is_raised_itself() -> None:
    ended: list[str] = []

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
            tasks.own("other", goes_on(ended))
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await service()
    assert ended == ["other"]


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    ended: list[str] = []

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
            tasks.own("other", goes_on(ended))
            await owned_tasks.for_ever()

    task = asyncio.create_task(service())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["other"]


async def test_an_error_while_all_ends_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def cleans_up_badly() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the disk is gone")

    async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:
        tasks.own("the part", cleans_up_badly())
        await asyncio.sleep(0)
    assert "the disk is gone" in caplog.text


async def test_a_part_that_panics_is_told_as_well(caplog: pytest.LogCaptureFixture) -> None:
    class Panic(BaseException):
        """What libraries that are written in other languages raise."""

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=lambda: unasked.append("told")) as tasks:
            tasks.own("the part", fails(Panic()))
            await owned_tasks.for_ever()

    unasked: list[str] = []
    with pytest.raises(Panic):
        await service()
    assert unasked == ["told"]
    assert "the part failed, and everything else ends with it" in caplog.text


async def test_an_error_keeps_what_it_followed() -> None:
    async def service() -> None:
        async with owned_tasks.opened(on_unasked=owned_tasks.nothing):
            try:
                raise ValueError("first")
            except ValueError:
                raise KeyError("second")  # noqa: B904 (the context is what is tried)

    with pytest.raises(KeyError) as caught:
        await service()
    assert isinstance(caught.value.__context__, ValueError)


async def test_a_block_that_fails_is_told_before_its_tasks_are_waited_for() -> None:
    unasked: list[str] = []
    may_end = asyncio.Event()

    async def hangs() -> None:
        try:
            await owned_tasks.for_ever()
        finally:
            await may_end.wait()

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=lambda: unasked.append("told")) as tasks:
            tasks.own("hangs", hangs())
            await asyncio.sleep(0)
            raise TaskEnded("the listener ended")

    task = asyncio.create_task(service())
    await asyncio.sleep(0.05)
    assert unasked == ["told"]
    assert not task.done()
    may_end.set()
    with pytest.raises(TaskEnded):
        await task
    assert unasked == ["told"], "once"


async def test_an_end_that_was_asked_for_is_not_told() -> None:
    unasked: list[str] = []

    async def service() -> None:
        async with owned_tasks.opened(on_unasked=lambda: unasked.append("told")) as tasks:
            tasks.own("other", goes_on([]))
            await owned_tasks.for_ever()

    task = asyncio.create_task(service())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    assert unasked == []
