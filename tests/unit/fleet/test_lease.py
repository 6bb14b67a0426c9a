"""A host's lease: kept while the database answers, lost in time when it does not."""

import threading
from collections.abc import Callable

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.fleet.lease import WAIT_FRACTION, Lease

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


def kept(renew: Callable[[], bool], *, is_alone: bool = False, seconds: float = 1.5) -> Lost:
    """Keep a lease for some seconds, or until it is lost."""
    lost = Lost()
    with Lease(SECONDS, renew, lost, is_alone).held():
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


def test_a_host_that_cannot_reach_the_database_ends_before_others_take_over() -> None:
    assert WAIT_FRACTION < 1
    [reason] = kept(away)
    assert "could not be renewed" in reason


def test_a_host_whose_database_stands_still_ends_all_the_same() -> None:
    is_over = threading.Event()
    lost = Lost()
    with Lease(SECONDS, lambda: is_over.wait(30), lost).held():
        assert lost.told.wait(5)
        is_over.set()
    assert "could not be renewed" in lost[0]


def test_a_host_that_is_alone_waits_for_its_database() -> None:
    assert kept(away, is_alone=True, seconds=3 * SECONDS) == []


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
