"""A host's lease: kept while the database answers, lost in time when it does not."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.fleet.lease import GAP_FRACTION, Lease, Watch
from vmkiln.waiting import patience

SECONDS = 0.4


class Lost(list[str]):
    """Why the lease was lost; `told` is set when it was."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def __call__(self, reason: str) -> None:
        self.append(reason)
        self.told.set()


def away() -> bool:
    raise DatabaseAway("the database is away")


def kept(renew: Callable[[], bool], *, seconds: float = 1.5) -> Lost:
    """Keep a lease for some seconds, or until it is lost."""
    lost = Lost()
    with Lease(SECONDS, renew, lost).held():
        lost.told.wait(seconds)
    return lost


def test_a_lease_that_is_renewed_is_kept() -> None:
    times: list[int] = []
    lost = kept(lambda: not times.append(1))  # type: ignore[func-returns-value]
    assert lost == []
    assert len(times) >= 2


def test_a_host_that_was_given_up_ends_at_once() -> None:
    [reason] = kept(lambda: False)
    assert "given up for dead" in reason


def test_a_host_goes_on_however_long_its_database_is_away() -> None:
    assert kept(away, seconds=4 * SECONDS) == []


def test_a_host_that_was_given_up_meanwhile_ends_once_its_database_is_back() -> None:
    answers = iter([True, *[None] * 3, False])

    def renew() -> bool:
        answer = next(answers)
        return away() if answer is None else answer

    [reason] = kept(renew, seconds=30)
    assert "given up for dead" in reason


def test_a_host_whose_database_stands_still_goes_on() -> None:
    is_over = threading.Event()
    lost = Lost()
    with Lease(SECONDS, lambda: is_over.wait(30), lost).held():
        assert not lost.told.wait(4 * SECONDS)
        is_over.set()
    assert lost == []


def test_a_database_that_comes_back_in_time_is_no_loss() -> None:
    answers = iter([False, True, True, True, True, True, True, True, True, True, True, True])

    def renew() -> bool:
        return next(answers) or away()

    assert kept(renew, seconds=2 * SECONDS) == []


def test_the_threads_end_with_the_block() -> None:
    before = threading.active_count()
    kept(lambda: True, seconds=0.1)
    assert threading.active_count() == before


@pytest.mark.parametrize("moment", ["renewing", "waiting"])
def test_nothing_is_lost_by_leaving(moment: str) -> None:
    lost = Lost()
    with Lease(SECONDS, lambda: moment != "renewing", lost).held():
        pass
    assert lost == []


class Looks:
    """Looks at a database by a clock that is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.watch = Watch(60.0, clock=lambda: self.now)

    def look(self, *, after: float, lasts: float = 0.0, fails: bool = False) -> bool:
        """Look once; says whether the watch was unbroken for long enough."""
        self.now += after
        with contextlib.suppress(DatabaseAway), self.watch.looked() as is_unbroken:
            self.now += lasts
            if fails:
                raise DatabaseAway("away")
            return is_unbroken()
        return False


def test_others_are_given_up_only_after_a_whole_lease_without_a_gap() -> None:
    looks = Looks()
    assert [looks.look(after=5) for _ in range(14)] == [False] * 12 + [True] * 2


def test_a_wait_for_the_writers_lock_is_no_gap() -> None:
    looks = Looks()
    looks.watch = Watch(3.0, 15.0, clock=lambda: looks.now)
    assert [looks.look(after=0.75) for _ in range(5)] == [False] * 4 + [True]
    assert looks.look(after=0.75, lasts=11.0)
    assert looks.look(after=0.75)
    assert not looks.look(after=0.75, lasts=16.0)


@pytest.mark.parametrize(
    "gap",
    [
        {"after": 5, "fails": True},  # it is away
        {"after": 5, "lasts": 60 * GAP_FRACTION + 1},  # it answered at last
        {"after": 60 * GAP_FRACTION + 1},  # nobody looked, as when this machine stood still
    ],
)
def test_after_each_gap_others_have_a_whole_lease_again(gap: dict[str, Any]) -> None:
    looks = Looks()
    while not looks.look(after=5):
        pass
    at_once = looks.look(**gap)
    assert not at_once, "also a look that begins before an outage and ends behind it"
    later = [looks.look(after=5) for _ in range(14)]
    assert later.index(True) >= 11


def test_ten_minutes_without_a_database_give_nobody_up_and_lose_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """By clocks that are moved: what hosts would do in ten minutes, and in the minute after."""
    looks = Looks()
    while not looks.look(after=5):
        pass
    assert not any(looks.look(after=5, fails=True) for _ in range(120)), "600 s"
    assert [looks.look(after=5) for _ in range(14)] == [False] * 12 + [True] * 2, "then a whole lease for renewals"
    tries = []

    def record() -> str:
        tries.append("")
        if len(tries) <= 600 / patience.PAUSE_SECONDS:
            raise DatabaseAway("away")
        return "recorded"

    waiting = patience.Patience()
    monkeypatch.setattr(waiting._is_over, "wait", lambda _seconds: False)
    assert waiting.call(record) == "recorded"
    assert len(tries) == 1 + 600 / patience.PAUSE_SECONDS


def test_a_watch_is_broken_by_a_gap_until_it_was_long_enough_again() -> None:
    moment = [100.0]
    watch = Watch(4.0, clock=lambda: moment[0])
    found = []
    for pause in (0, 1, 1, 1, 1, 1, 10, 1, 1, 1, 1):
        moment[0] += pause
        with watch.looked():
            pass
        found.append(watch.is_unbroken())
    assert found == [False] * 4 + [True, True] + [False] * 4 + [True]
    with contextlib.suppress(OSError), watch.looked():
        raise OSError("away")
    assert not watch.is_unbroken()
    moment[0] += 3
    assert not watch.is_unbroken(), "the last look was long ago"
