"""The queue says when the runs that hold the room are usually over, by the last successes of their templates."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from in_process import TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned
from page_visitor import Visitor

from vmkiln.portal.overview.estimate import COMPARED_RUNS, expected_end
from vmkiln.run_state import RunState, new_run_id
from vmkiln.store.database import utc_now

NOON = datetime.fromisoformat("2026-01-31T12:00:00+00:00")


def a_run(name: str, *, waited: float, took: float | None, state: str = "Succeeded") -> dict[str, Any]:
    begun = NOON + timedelta(seconds=waited)
    phases = [
        {"name": "Queued", "startTime": NOON.isoformat(), "endTime": begun.isoformat()},
        {"name": "Building", "startTime": begun.isoformat(), "endTime": None},
    ]
    ended = None if took is None else (begun + timedelta(seconds=took)).isoformat()
    return {"name": name, "properties": {"runState": state, "endTime": ended, "phases": phases}}


def test_a_run_is_usually_over_after_the_median_of_the_last_successes() -> None:
    now = a_run("now", waited=30, took=None, state="Running")
    good = [a_run(str(at), waited=1000 * at, took=60 + at) for at in range(COMPARED_RUNS)]
    older = [a_run("old", waited=0, took=9000)] * 20
    failed = [a_run("failed", waited=0, took=1, state="Failed")]
    assert expected_end("now", [now, *failed, *good, *older]) == NOON + timedelta(seconds=30 + 62)
    assert expected_end("now", [now, *failed]) is None
    assert expected_end("other", [now, *good]) is None
    waits = {"name": "now", "properties": {**now["properties"], "phases": now["properties"]["phases"][:1]}}
    assert expected_end("now", [waits, *good]) is None


def test_the_queue_tells_it_of_a_run_that_goes_on(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template())
    living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    store = living.service.store
    [row] = store.runs.of_template(TEMPLATE.lower())
    store.runs.add(replace(row, run_id=new_run_id(), state=RunState.RUNNING, started=utc_now(), ended=None))
    [going_on] = [one for one in store.runs.of_template(TEMPLATE.lower()) if one.ended is None]
    page = browser.get("/portal/queue").text
    assert "not known" in page.partition('data-label="Usually over"')[2].partition("</td>")[0]
    store.runs.begin_phase(going_on.run_id, "Customizing")
    cell = browser.get("/portal/queue").text.partition('data-label="Usually over"')[2].partition("</td>")[0]
    assert "later than usual" in cell or "<time datetime=" in cell
