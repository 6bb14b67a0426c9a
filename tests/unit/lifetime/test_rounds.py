"""Rounds: no error ends them, each failure is told and counted, and how each one goes is known."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.lifetime.rounds import TOLD_AGAIN_SECONDS, Rounds


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def gone_round(
    rounds: Rounds, work: Callable[[], object], *, times: int, wake: asyncio.Event | None = None
) -> None:
    """Let a round be tried so many times."""
    left = [times]
    done = asyncio.Event()

    async def counted() -> None:
        left[0] -= 1
        if left[0] <= 0:
            done.set()
        work()

    task = asyncio.create_task(rounds.for_ever("sweeping", counted, seconds=0.001, wake=wake))
    async with asyncio.timeout(10):
        await done.wait()
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize(
    "error", [RuntimeError("nobody foresaw this"), PermissionError(13, "denied"), asyncio.CancelledError()]
)
async def test_no_error_ends_a_round(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds()

    def work() -> None:
        raise error

    await gone_round(rounds, work, times=3)
    assert rounds.failures() == {"sweeping": 3}
    [told] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "sweeping failed" in told.message
    assert told.exc_info, "with its traceback"


async def test_what_we_foresaw_is_told_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise DatabaseAway("the database is away")

    await gone_round(Rounds(), work, times=2)
    [told] = caplog.records
    assert "the database is away" in told.message
    assert not told.exc_info


def test_a_failure_that_lasts_is_told_once_a_minute_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vmkiln")
    clock = Clock()
    rounds = Rounds(clock)
    with rounds.going_on("sweeping", seconds=1) as sweeping:
        for _ in range(3):
            with sweeping.tried():
                raise DatabaseAway("away")
        assert len(caplog.records) == 1
        with sweeping.tried():
            raise DatabaseAway("away for another reason")
        assert len(caplog.records) == 2
        clock.now += TOLD_AGAIN_SECONDS
        with sweeping.tried():
            raise DatabaseAway("away for another reason")
        assert len(caplog.records) == 3
        with sweeping.tried():
            pass
        assert "sweeping goes well again, after 60 s" in caplog.records[-1].message


def test_a_round_fails_when_it_did_for_longer_than_its_patience() -> None:
    clock = Clock()
    rounds = Rounds(clock)
    with rounds.going_on("sweeping", seconds=1, patience_seconds=20) as sweeping:
        for later, is_failing in ((0, False), (19, False), (1, True)):
            clock.now += later
            with sweeping.tried():
                raise RuntimeError("the password is hunter22")
            [state] = rounds.states()
            assert state.is_failing is is_failing
            assert state.problem == "RuntimeError", "the kind only: the text may hold secrets"
        with sweeping.tried():
            clock.now += 5
        [state] = rounds.states()
        assert (state.is_failing, state.problem, state.good_ago, state.failures) == (False, "", 0.0, 3)
    assert rounds.failures() == {"sweeping": 3}


def test_a_round_is_stuck_when_a_try_does_not_end() -> None:
    clock = Clock()
    rounds = Rounds(clock)
    with rounds.going_on("sweeping", seconds=1, stuck_seconds=60) as sweeping, sweeping.tried():
        clock.now += 60
        assert not rounds.states()[0].is_stuck
        clock.now += 1
        assert rounds.states()[0].is_stuck
        assert rounds.states()[0].busy_for == 61


def test_of_several_of_one_name_the_worst_is_told() -> None:
    clock = Clock()
    rounds = Rounds(clock)
    with rounds.going_on("log", seconds=1) as good, rounds.going_on("log", seconds=1) as bad:
        with bad.tried():
            raise RuntimeError
        clock.now += 100
        with good.tried():
            pass
        [state] = rounds.states()
        assert state.failing_for == 100


async def test_a_round_is_woken_but_not_while_it_fails() -> None:
    wake = asyncio.Event()
    rounds = Rounds()
    tries: list[bool] = []
    is_bad = [False]

    async def work() -> None:
        tries.append(is_bad[0])
        if is_bad[0]:
            raise RuntimeError

    task = asyncio.create_task(rounds.for_ever("sweeping", work, seconds=30, wake=wake))
    await asyncio.sleep(0.01)
    is_bad[0] = True
    wake.set()
    await asyncio.sleep(0.01)
    assert tries == [False, True]
    wake.set()
    await asyncio.sleep(0.01)
    assert tries == [False, True], "what fails is tried again after its pause, or it would turn for ever"
    task.cancel()


async def test_a_round_that_is_cancelled_ends() -> None:
    rounds = Rounds()

    async def work() -> None:
        await asyncio.sleep(30)

    task = asyncio.create_task(rounds.for_ever("sweeping", work, seconds=30))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rounds.failures() == {"sweeping": 0}


def test_a_round_that_has_ended_is_told_until_it_begins_again() -> None:
    clock = Clock()
    rounds = Rounds(clock)
    with rounds.going_on("sweeping", seconds=1), rounds.going_on("of a run", seconds=1, may_end=True):
        assert [state.ended_ago for state in rounds.states()] == [None, None]
    clock.now += 7
    assert [(state.name, state.ended_ago) for state in rounds.states()] == [("sweeping", 7.0)]
    with rounds.going_on("sweeping", seconds=1):
        assert [state.ended_ago for state in rounds.states()] == [None]
