"""Which operations on image templates begin now: few at once, in turn, and what fails takes no turn from others."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from vmkiln.azure_names import OperationStatus
from vmkiln.fleet.operation_turns import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_AT_ONCE,
    MOST_OF_A_SUBSCRIPTION,
    Failed,
    next_ones,
)
from vmkiln.store.rows import OperationRow

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def operations(subscription: str, count: int, *, later: int = 0) -> list[OperationRow]:
    return [
        OperationRow(
            f"{subscription}-{number}",
            "provision",
            subscription,
            "local",
            f"/t/{number}",
            "",
            OperationStatus.IN_PROGRESS,
            {},
            BEGINNING + timedelta(seconds=later + number),
            None,
        )
        for number in range(count)
    ]


def ids(found: list[OperationRow]) -> list[str]:
    return [operation.operation_id for operation in found]


def test_a_subscription_has_a_quarter_at_most_the_oldest_first() -> None:
    assert ids(next_ones(operations("a", 1000), [])) == [f"a-{number}" for number in range(MOST_OF_A_SUBSCRIPTION)]
    assert next_ones(operations("a", 1000), operations("a", MOST_OF_A_SUBSCRIPTION)) == []
    assert 4 * MOST_OF_A_SUBSCRIPTION <= MOST_AT_ONCE


def test_all_together_have_no_more_than_the_limit() -> None:
    waiting = [operation for name in "abcdefgh" for operation in operations(name, 100)]
    found = next_ones(waiting, [])
    assert len(found) == MOST_AT_ONCE
    assert set(Counter(operation.subscription_id for operation in found).values()) == {MOST_AT_ONCE // 8}


def test_who_has_least_going_on_is_next_however_late_it_came() -> None:
    going_on = [operation for name in "abcd" for operation in operations(name, MOST_OF_A_SUBSCRIPTION)][:-1]
    waiting = [*operations("a", 1000), *operations("d", 1000), *operations("late", 1, later=9000)]
    assert ids(next_ones(waiting, going_on)) == ["late-0"]


def test_what_failed_waits_longer_each_time_and_anew_when_it_went_well() -> None:
    failed = Failed()
    pauses = []
    now = 0.0
    for _ in range(6):
        failed.add("a", now=now)
        assert failed.not_due(now=now) == {"a"}
        due = next(float(later) for later in range(1000) if not failed.not_due(now=now + later))
        pauses.append(due)
        now += due
    assert pauses == [FIRST_PAUSE_SECONDS, 10.0, 20.0, 40.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    failed.forget("a")
    failed.add("a", now=now)
    assert failed.not_due(now=now + FIRST_PAUSE_SECONDS) == set()
