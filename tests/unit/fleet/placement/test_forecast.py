"""When waiting runs usually start: the queue is played on, and what nothing tells is not guessed."""

from datetime import UTC, datetime, timedelta

import pytest

from vmkiln.fleet.admission import Host, Need, Waiting
from vmkiln.fleet.placement.forecast import MOST_FORESEEN, Forecast, GoingOn, starts_of, usual_time
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
