"""Where a run's time went."""

from datetime import UTC, datetime

from vmkiln.portal.rendering import duration, lasted, plain, when
from vmkiln.portal.waterfall import waterfall

NOW = datetime(2026, 1, 1, 0, 1, 40, tzinfo=UTC)


def phase(name: str, start: int, end: int | None) -> dict[str, str | None]:
    def at(seconds: int) -> str:
        return f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.000000Z"

    return {"name": name, "startTime": at(start), "endTime": None if end is None else at(end)}


def test_bars_stand_where_phases_were_and_what_goes_on_ends_now() -> None:
    before = [phase("Building", 0, 10), phase("Customizing", 10, None)]
    building, customizing = waterfall([phase("Building", 0, 20), phase("Customizing", 20, None)], before, NOW)
    assert (building.left, building.width, building.seconds, building.before_seconds) == (0, 20, 20, 10)
    assert (customizing.left, customizing.width, customizing.seconds) == (20, 80, 80)
    assert customizing.before_seconds is None, "what did not end says nothing"
    assert [building.is_live, customizing.is_live] == [False, True]


def test_a_run_without_phases_has_no_bars_and_one_without_time_has_thin_ones() -> None:
    assert waterfall([], [], NOW) == []
    assert [bar.width for bar in waterfall([phase("Building", 0, 0)], [], NOW)] == [0.4]


def test_times_are_told_as_people_read_them() -> None:
    assert [duration(seconds) for seconds in (None, 0.25, 59, 61, 3600 * 2 + 60)] == [
        "", "0.2 s", "59.0 s", "1 min 01 s", "2 h 01 min",
    ]  # fmt: skip
    assert when("2026-01-01T00:01:40.5Z") == "2026-01-01 00:01:40"
    assert [when(""), when(None), when("0001-01-01T00:00:00Z")] == ["", "", ""]
    assert lasted("2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z") == "5.0 s"
    assert plain("a\x1b[31mb\nc\x07") == "ab\nc\\x07"
