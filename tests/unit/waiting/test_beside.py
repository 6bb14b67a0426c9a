"""Two pieces of work at the same time, of which neither is left alone."""

import asyncio

import pytest

from vmkiln.errors import InputError
from vmkiln.waiting.beside import beside


async def failing() -> None:
    await asyncio.sleep(0)
    raise InputError("the cause")


@pytest.mark.parametrize("block_fails", [True, False])
async def test_when_one_fails_the_other_is_stopped_and_waited_for(*, block_fails: bool) -> None:
    stopped: list[bool] = []

    async def going_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            stopped.append(True)

    async def both() -> None:
        async with beside() as tasks:
            tasks.create_task(going_on() if block_fails else failing())
            await (failing() if block_fails else going_on())

    with pytest.raises(InputError, match="the cause") as caught:
        await both()
    assert stopped == [True]
    assert caught.value.__cause__ is None
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_the_notes_of_a_cancel_reach_who_waits() -> None:
    async def work() -> None:
        async with asyncio.timeout(0), beside() as tasks:
            tasks.create_task(asyncio.Event().wait())
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                error.add_note("the end of the console")
                raise

    with pytest.raises(TimeoutError) as timed_out:
        await work()
    cause = timed_out.value.__cause__ or timed_out.value.__context__
    assert getattr(cause, "__notes__", ()) == ["the end of the console"]
