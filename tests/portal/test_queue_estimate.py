"""The queue says when waiting runs usually start, and when those that hold the room are usually over."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned, wait_for
from page_visitor import Visitor

from vmkiln.run_state import RunState
from vmkiln.store import tables
from vmkiln.store.database import utc_now
from vmkiln.store.rows import HostRow, ReservationRow

OTHER = f"{TEMPLATE}-other"


def asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkiln.fleet.placement.outlook.KEPT_SECONDS", 0.0)


def cell(page: str, label: str) -> str:
    return page.partition(f'data-label="{label}"')[2].partition("</td>")[0]


@pytest.fixture
def held(living: InProcess, tmp_path: Path) -> Callable[[], None]:
    """One run goes on, whose template succeeded once, in an hour, and another waits; ends them."""
    marker = tmp_path / "held"
    add_group(living)
    provisioned(living, TEMPLATE, a_template(f"hold while {marker}"))
    living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    [good] = living.service.store.runs.of_template(TEMPLATE.lower())
    marker.touch()
    provisioned(living, OTHER, a_template())
    living.request("POST", f"{TEMPLATE}/run")
    started(living)
    living.request("POST", f"{OTHER}/run")
    runs = living.service.store.connections
    assert good.ended is not None
    ended = good.ended + timedelta(hours=1)
    runs.change(tables.runs.update().where(tables.runs.c.run_id == good.run_id).values(ended=ended))
    return marker.unlink


def started(living: InProcess) -> Any:
    store = living.service.store
    return wait_for(lambda: [run for run in store.runs.list() if run.sub_state == "Customizing"])


def room_elsewhere(living: InProcess) -> None:
    """Give the run that waits its room on a host that never begins it."""
    store = living.service.store
    [run] = [run for run in store.runs.list() if run.state == RunState.QUEUED]
    store.hosts.register(HostRow("there", "id", "there", "x64", "emulated", "", 8, 65_536, 100_000), lease_seconds=600)
    store.hosts.reserve([ReservationRow(run.run_id, 1, "there", 2, 4096, 4096, 0.0)], fits=lambda *_: True)
    assert [row.incarnation for row in store.hosts.reservations() if row.run_id == run.run_id] == ["there"]


def test_a_start_and_an_end_are_told_by_what_is_usual(
    browser: Visitor, living: InProcess, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for_anew(monkeypatch)
    try:
        [going_on] = living.get("/providers/Vmkiln.Builds/queue", api_version="2024-03-01").json()["goingOn"]
        assert going_on["properties"]["expectedEnd"] > (utc_now() + timedelta(minutes=50)).isoformat()
        page = browser.get("/portal/queue").text
        assert "<time datetime=" in cell(page, "Usually over")
        assert cell(page, "Starts").count("data-comes") == 1
        [waits] = living.get(f"{OTHER}/providers/Vmkiln.Builds/runs").json()["value"]
        start, end = (
            datetime.fromisoformat(text)
            for text in (waits["properties"]["queue"]["expectedStart"], going_on["properties"]["expectedEnd"])
        )
        assert timedelta() <= start - end < timedelta(minutes=5)
        assert start.timestamp() % 300 == 0
        assert "usually starts <time" in browser.get(f"/portal{waits['id']}").text
        browser.token = "stranger"
        assert TEMPLATE not in browser.get("/portal/queue").text
    finally:
        held()
    ended_run(living, OTHER)


def test_a_run_that_has_its_room_and_has_not_begun_is_in_the_queue(
    browser: Visitor, living: InProcess, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        assert "has its room" not in browser.get("/portal/queue").text
        [home] = re.findall(r"<tr>(?:(?!</tr>).)*>web-other</a>.*?</tr>", browser.get("/portal/").text, re.DOTALL)
        assert "chip warn Queued" in home
        assert "Running" not in home
        with monkeypatch.context() as patched:  # as when it is let in between two statements
            patched.setattr(living.builder, "queue", list)
            page = browser.get("/portal/queue").text
            assert "Nothing waits." in page
            assert "has its room" not in page
        room_elsewhere(living)
        page = browser.get("/portal/queue").text
        assert "Nothing waits." in page
        assert "has its room, and begins" in page.partition("What frees it")[2]
        living.request("POST", f"{OTHER}/cancel")
    finally:
        held()
    ended_run(living, OTHER)


def test_what_nothing_tells_is_said_to_be_not_known(
    browser: Visitor, living: InProcess, held: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for_anew(monkeypatch)
    runs = living.service.store.connections
    try:
        good = tables.runs.c.state == RunState.SUCCEEDED
        runs.change(tables.runs.update().where(good).values(ended=tables.runs.c.started))
        page = browser.get("/portal/queue").text
        assert "later than usual" in cell(page, "Usually over")
        assert "not known" in cell(page, "Starts")
        runs.change(tables.runs.update().where(good).values(state=RunState.FAILED))
        page = browser.get("/portal/queue").text
        assert "not known" in cell(page, "Usually over")
        [waits] = living.get(f"{OTHER}/providers/Vmkiln.Builds/runs").json()["value"]
        assert "when it starts is not known" in browser.get(f"/portal{waits['id']}").text
    finally:
        held()
    ended_run(living, OTHER)
