"""When waiting runs usually start: the queue is played on, and what nothing tells is not guessed."""

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.fleet.admission import Host, Need, QueuePosition, Waiting, positions
from vmkiln.fleet.placement import forecast
from vmkiln.fleet.placement.forecast import (
    MOST_ENDS,
    MOST_FORESEEN,
    Forecast,
    GoingOn,
    starts_of,
    told_start,
    usual_time,
)
from vmkiln.fleet.placement.outlook import Outlook
from vmkiln.run.room import Room
from vmkiln.store.rows import PhaseRow

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROOM = Room(2, 4096, 4096)
FULL = Host("kiln", "kiln", ROOM, promised=ROOM)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def waiting(*names: str) -> list[Waiting]:
    return [Waiting(name, "a", NOW) for name in names]


def need(_run_id: str) -> Need:
    return Need(ROOM)


def holds(ends_in: float | None, *, host: str = "kiln") -> GoingOn:
    return GoingOn(host, ROOM, None if ends_in is None else NOW + minutes(ends_in))


def test_each_starts_when_those_before_it_are_usually_over() -> None:
    usual = {"one": minutes(10), "two": minutes(20)}
    queue = waiting("one", "two", "three", "four")
    found = starts_of(queue, [holds(5)], need_of=need, hosts=[FULL], usual=usual, now=NOW)
    assert found == {"one": NOW + minutes(5), "two": NOW + minutes(15), "three": NOW + minutes(35)}
    assert "four" not in found, "nobody knows how long the third takes"


@pytest.mark.parametrize("ends_in", [None, -1, 0])
def test_no_start_is_told_behind_what_is_not_known_or_late(ends_in: float | None) -> None:
    assert starts_of(waiting("one"), [holds(ends_in)], need_of=need, hosts=[FULL], usual={}, now=NOW) == {}


def test_the_host_that_is_free_first_takes_the_first() -> None:
    hosts, going_on = [FULL, Host("other", "other", ROOM, promised=ROOM)], [holds(60), holds(5, host="other")]
    found = starts_of(waiting("one", "two"), going_on, need_of=need, hosts=hosts, usual={"one": minutes(9)}, now=NOW)
    assert found == {"one": NOW + minutes(5), "two": NOW + minutes(14)}
    free = Host("free", "free", ROOM)
    assert starts_of(waiting("one"), going_on, need_of=need, hosts=[*hosts, free], usual={}, now=NOW) == {"one": NOW}
    assert starts_of(waiting("one"), [holds(5, host="gone")], need_of=need, hosts=[FULL], usual={}, now=NOW) == {}


def test_a_long_queue_is_foreseen_in_part() -> None:
    names = [str(number) for number in range(10 * MOST_FORESEEN)]
    usual = dict.fromkeys(names, minutes(1))
    found = starts_of(waiting(*names), [holds(1)], need_of=need, hosts=[FULL], usual=usual, now=NOW)
    assert list(found) == names[:MOST_FORESEEN]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each look of the play judges."""
    found = list[int]()

    def counted(ordered: Sequence[Waiting], **options: Any) -> list[QueuePosition]:
        found.append(len(ordered))
        return positions(ordered, **options)

    monkeypatch.setattr(forecast, "positions", counted)
    return found


def test_who_suits_no_host_is_judged_once_and_holds_up_nobody(judged: list[int]) -> None:
    unsuited = {f"no{number}" for number in range(MOST_FORESEEN - 1)}

    def need_of(run_id: str) -> Need:
        return Need(ROOM, isolation_level="x" if run_id in unsuited else "")

    going_on = [holds(5 + number) for number in range(100)]
    queue = waiting(*sorted(unsuited), "last")
    host = Host("kiln", "kiln", ROOM, promised=Room(200, 409_600, 409_600))
    found = starts_of(queue, going_on, need_of=need_of, hosts=[host], usual={}, now=NOW)
    assert found == {"last": NOW + minutes(5 + 99)}
    assert sum(judged) == MOST_FORESEEN + len(going_on), "the last alone is judged again at each end"


def test_the_queue_is_played_on_by_few_ends(judged: list[int]) -> None:
    going_on = [holds(number) for number in range(1, 5 * MOST_ENDS)]
    host = Host("kiln", "kiln", ROOM, promised=Room(10_000, 10**8, 10**8))
    assert starts_of(waiting("one"), going_on, need_of=need, hosts=[host], usual={}, now=NOW) == {}
    assert len(judged) == MOST_ENDS + 1


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, 0), (0.000001, 300), (299.5, 300), (300, 300), (300.000001, 600), (-300, -300)]
)
def test_a_start_is_told_to_the_next_five_minutes(seconds: float, told: float) -> None:
    assert told_start(NOW + timedelta(seconds=seconds)) == NOW + timedelta(seconds=told)


def test_what_is_usual_is_the_median_without_the_waiting() -> None:
    def success(waited: float, took: float) -> tuple[datetime, list[PhaseRow]]:
        begun = NOW + minutes(waited)
        phases = [PhaseRow("Queued", NOW, begun), PhaseRow("Building", begun, None)]
        return begun + minutes(took), phases

    assert usual_time([success(0, 10), success(500, 12), success(3, 90)]) == minutes(12)
    assert usual_time([]) is None
    assert usual_time([(None, [PhaseRow("Building", NOW, None)]), (NOW, [])]) is None


def test_one_forecast_is_everybodys_for_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, at = list[Forecast](), [0.0]
    monkeypatch.setattr("vmkiln.fleet.placement.outlook.time.monotonic", lambda: at[0])

    def work_out() -> Forecast:
        asked.append(Forecast())
        return asked[-1]

    outlook = Outlook(work_out)
    assert all(outlook.now() is asked[0] for _ in range(50))
    at[0] = 5.0
    assert outlook.now() is asked[1]
    assert len(asked) == 2


def test_who_asks_while_one_is_worked_out_is_given_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    at, works, goes_on = [0.0], threading.Event(), threading.Event()
    monkeypatch.setattr("vmkiln.fleet.placement.outlook.time.monotonic", lambda: at[0])
    made = [Forecast({"one": NOW}), Forecast({"two": NOW})]

    def work_out() -> Forecast:
        if len(made) == 1:
            works.set()
            assert goes_on.wait(30)
        return made.pop(0)

    outlook = Outlook(work_out)
    assert outlook.now() == Forecast({"one": NOW})
    at[0] = 6.0
    slow = threading.Thread(target=outlook.now)
    slow.start()
    try:
        assert works.wait(30)
        given = list[Forecast]()
        asks = threading.Thread(target=lambda: given.append(outlook.now()), daemon=True)
        asks.start()
        asks.join(10)
        assert given == [Forecast({"one": NOW})], "nobody waits for the other's"
    finally:
        goes_on.set()
        slow.join()
    assert outlook.now() == Forecast({"two": NOW})


def test_a_forecast_that_fails_refuses_nobody_and_is_not_tried_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    at, tries = [0.0], list[float]()
    monkeypatch.setattr("vmkiln.fleet.placement.outlook.time.monotonic", lambda: at[0])

    def work_out() -> Forecast:
        tries.append(at[0])
        if len(tries) == 1:
            raise DatabaseAway("the database does not answer")
        return Forecast({"one": NOW})

    outlook = Outlook(work_out)
    with caplog.at_level(logging.ERROR, logger="vmkiln"):
        assert all(outlook.now() == Forecast() for _ in range(20))
    assert "could not be worked out" in caplog.text
    at[0] = 5.0
    assert outlook.now() == Forecast({"one": NOW})
    assert tries == [0.0, 5.0]
