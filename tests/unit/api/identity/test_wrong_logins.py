"""Wrong logins are counted for a minute, whoever else is wrong meanwhile."""

import pytest

from vmkiln.api.identity import failures
from vmkiln.api.identity.failures import FAILURES_SECONDS, MOST_FAILURES, MOST_OF_AN_ADDRESS, Failures

FEW_NAMES = 50


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(failures.time, "monotonic", lambda: found.now)
    monkeypatch.setattr(failures, "MOST_NAMES", FEW_NAMES)
    return found


def counted(found: Failures, name: str, times: int) -> None:
    for _ in range(times):
        found.count(name)


@pytest.mark.usefixtures("clock")
def test_being_wrong_under_many_names_gives_no_new_tries() -> None:
    """All of the counts were forgotten at once: one more name was enough when the others were there."""
    found = Failures()
    counted(found, "guesses", MOST_OF_AN_ADDRESS)
    for number in range(10 * FEW_NAMES):
        found.count(f"2001:db8:{number:x}::/64")
    assert found.recent("guesses") == MOST_OF_AN_ADDRESS
    assert len(found._moments) == FEW_NAMES


@pytest.mark.usefixtures("clock")
def test_of_those_who_were_wrong_a_few_times_the_oldest_is_forgotten() -> None:
    found = Failures()
    for number in range(FEW_NAMES):
        counted(found, str(number), 2)
    found.count("0")
    counted(found, "new", 2)
    assert [found.recent(name) for name in ("0", "1", "2", "new")] == [3, 0, 2, 2]


@pytest.mark.usefixtures("clock")
def test_where_all_were_wrong_often_the_oldest_is_forgotten() -> None:
    found = Failures()
    for number in range(FEW_NAMES):
        counted(found, str(number), MOST_FAILURES)
    found.count("new")
    assert [found.recent(name) for name in ("0", "1", "new")] == [0, MOST_FAILURES, 1]


def test_after_a_minute_nothing_counts_and_its_place_is_free(clock: Clock) -> None:
    found = Failures()
    for number in range(FEW_NAMES):
        counted(found, str(number), MOST_OF_AN_ADDRESS)
    clock.now += FAILURES_SECONDS + 1
    assert found.recent("0") == 0
    assert found.count("new") == 1
    assert "0" not in found._moments, "it is the oldest, and over"
