"""How the last runs' times become columns of a chart."""

from itertools import pairwise
from typing import Any

from vmkiln.portal.templates.durations import HEIGHT, MOST_COLUMNS, chart_of


def a_run(name: str, seconds: int, *, state: str = "Succeeded", waited: int = 0) -> dict[str, Any]:
    """A run that began at noon."""

    def at(second: int) -> str:
        return f"2026-01-01T12:{second // 60:02}:{second % 60:02}Z"

    phases = [{"name": "Customizing", "startTime": at(waited), "endTime": at(seconds)}]
    properties = {"runState": state, "startTime": at(0), "endTime": at(seconds), "phases": phases}
    return {"id": f"/x/{name}", "properties": properties}


def test_runs_stand_in_order_of_time_and_are_as_high_as_long() -> None:
    chart = chart_of([a_run("new", 300, state="Failed"), a_run("mid", 600, waited=150), a_run("old", 60)])
    assert chart is not None
    assert [column.run_id for column in chart.columns] == ["/x/old", "/x/mid", "/x/new"]
    assert [column.height for column in chart.columns] == [HEIGHT / 10, HEIGHT, HEIGHT / 2]
    assert [column.waited for column in chart.columns] == [0, HEIGHT / 4, 0]
    assert [column.kind for column in chart.columns] == ["ok", "ok", "bad"]
    assert chart.phases == ("Queued", "Customizing")
    assert (chart.most_seconds, chart.usual_seconds) == (600, 330), "the failed one is no usual time"
    assert all(column.width < 10 for column in chart.columns), "three runs are no wall"


def test_columns_lie_side_by_side_within_the_chart() -> None:
    chart = chart_of([a_run(str(number), 60) for number in range(2 * MOST_COLUMNS)])
    assert chart is not None
    assert len(chart.columns) == MOST_COLUMNS
    ends = [(column.left, column.left + column.width) for column in chart.columns]
    assert ends[0][0] >= 0
    assert ends[-1][1] <= 100
    assert all(before[1] <= after[0] for before, after in pairwise(ends))


def test_there_is_nothing_to_compare_of_one_run_or_of_one_that_goes_on() -> None:
    going_on = a_run("live", 60)
    going_on["properties"]["endTime"] = None
    assert chart_of([]) is None
    assert chart_of([going_on, a_run("one", 60)]) is None
    at_once = chart_of([a_run("a", 0), a_run("b", 0, state="Canceled")])
    assert at_once is not None
    assert at_once.most_seconds == 1.0
