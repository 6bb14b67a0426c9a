"""What a round does for each of several things: one that fails holds up none of the others."""

import asyncio
import logging

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.lifetime.rounds import Rounds
from vmkiln.lifetime.things import MOST_FAILURES, Things


def looked_at(things: Things[str], keys: str, *, bad: str = "", error: Exception | None = None) -> str:
    """One look at things that are called by letters; gives those that were tried, in their order."""
    tried = ""
    for key in things.in_turn(keys):
        tried += key
        with things.tried(key):
            if key in bad:
                raise error or RuntimeError(f"{key} is broken")
    return tried


def test_one_that_fails_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds()
    things = Things[str](rounds, "run")
    assert looked_at(things, "abc", bad="a") == "abc"
    assert looked_at(things, "abc", bad="a") == "bca", "what failed before comes last"
    [record] = caplog.records
    assert "run a failed, which is tried again: a is broken" in record.message
    assert record.exc_info
    assert rounds.failures() == {"run": 2}


def test_one_that_fails_is_told_until_it_goes_well_or_is_gone() -> None:
    rounds = Rounds()
    things = Things[str](rounds, "run")
    looked_at(things, "ab", bad="ab")
    assert [(state.name, state.problem, state.is_needed) for state in rounds.states()] == [
        ("run", "RuntimeError", False)
    ]
    assert things.failing() == {"a", "b"}
    looked_at(things, "ab", bad="a")
    assert things.failing() == {"a"}
    looked_at(things, "b")
    assert things.failing() == set()
    assert rounds.states() == []


def test_when_several_fail_what_they_need_is_away_and_the_round_fails() -> None:
    things = Things[str](Rounds(), "run")
    with pytest.raises(DatabaseAway):
        looked_at(things, "abcdef", bad="abcdef", error=DatabaseAway("away"))
    assert len(things.failing()) == MOST_FAILURES
    assert looked_at(things, "abcdef") == "defabc", "those that were not looked at come first"


async def test_a_cancel_is_no_failure_of_a_thing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rounds = Rounds()
    things = Things[str](rounds, "run")

    async def look() -> None:
        for key in things.in_turn("ab"):
            with things.tried(key):
                await asyncio.sleep(30)

    task = asyncio.create_task(look())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert rounds.failures() == {"run": 0}
    assert caplog.records == []
