"""What the queue tells of runs that hold room: one's own always, whoever else waits, and no more of those of others."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from in_process import OTHER_SUBSCRIPTION, SUBSCRIPTION, InProcess

from vmkiln.fleet.admission import QueuePosition
from vmkiln.fleet.placement.forecast import Forecast
from vmkiln.run_state import RunState, new_run_id
from vmkiln.store.database import utc_now
from vmkiln.store.rows import HostRow, ReservationRow, RunRow

EVERY = "/providers/Vmkiln.Builds"
MANY = 250
END = datetime(2126, 1, 31, 12, 1, 2, 345678, tzinfo=UTC)


def a_run(state: RunState, *, age_minutes: float = 0.0, subscription: str = SUBSCRIPTION) -> RunRow:
    group = f"/subscriptions/{subscription}/resourcegroups/rg1"
    template_id = f"{group}/providers/microsoft.virtualmachineimages/imagetemplates/web"
    started = utc_now() - timedelta(minutes=age_minutes)
    return RunRow(new_run_id(), "web", "rg1", {}, state, "", "", "", "", {}, started, None, template_id)


def going_on(service: InProcess, who: str = "owner") -> list[str]:
    return [run["name"] for run in service.get(f"{EVERY}/queue", token=who).json()["goingOn"]]


def waits(run: RunRow, place: int = 1) -> QueuePosition:
    return QueuePosition(run.run_id, place, "waits for 2 CPUs (0 free)", "waits for 2 CPUs (0 free)")


@pytest.mark.parametrize("subscription", [SUBSCRIPTION, OTHER_SUBSCRIPTION])
def test_what_frees_room_is_told_though_hundreds_wait(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, subscription: str
) -> None:
    mine = a_run(RunState.RUNNING, age_minutes=9)
    waiting = [a_run(RunState.QUEUED, subscription=subscription) for _ in range(MANY)]
    service.service.store.runs.add_many([mine, *waiting])
    monkeypatch.setattr(service.builder, "queue", lambda: [waits(run) for run in waiting], raising=False)
    assert going_on(service) == [mine.run_id]


def test_hundreds_of_newer_runs_of_others_hide_nobodys_own(service: InProcess) -> None:
    mine = a_run(RunState.RUNNING, age_minutes=9)
    others = [a_run(RunState.RUNNING, subscription=OTHER_SUBSCRIPTION) for _ in range(MANY)]
    service.service.store.runs.add_many([mine, *others])
    assert going_on(service) == [mine.run_id]


def test_a_run_is_told_to_have_its_room_when_that_is_on_record(service: InProcess) -> None:
    store, early, late = service.service.store, a_run(RunState.QUEUED, age_minutes=9), a_run(RunState.RUNNING)
    store.runs.add_many([early, late])
    assert going_on(service) == [late.run_id], "one that is in no queue has no room for that"
    store.hosts.register(HostRow("here", "id", "here", "x64", "emulated", "", 8, 65_536, 100_000), lease_seconds=600)
    assert store.hosts.reserve([ReservationRow(early.run_id, 1, "here", 2, 4096, 4096, 0.0)], fits=lambda *_: True)
    assert going_on(service) == [early.run_id, late.run_id], "what begins stands in front"
    assert going_on(service, "stranger") == []


@pytest.mark.parametrize("address", ["runs", "runs/{}", "queue"])
def test_a_start_does_not_tell_exactly_when_anothers_run_ends(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    mine, theirs = a_run(RunState.QUEUED), a_run(RunState.RUNNING, subscription=OTHER_SUBSCRIPTION)
    service.service.store.runs.add_many([mine, theirs])
    monkeypatch.setattr(service.builder, "queue", lambda: [waits(mine)], raising=False)
    forecast = Forecast({mine.run_id: END}, {theirs.run_id: END})
    monkeypatch.setattr(service.builder, "forecast", lambda: forecast, raising=False)
    told: dict[str, Any] = service.get(f"{EVERY}/{address.format(mine.run_id)}").json()
    [body] = told.get("value", [told])
    assert body["properties"]["queue"]["expectedStart"] == "2126-01-31T12:05:00.000000Z"
    assert "345678" not in str(told)
    assert theirs.run_id not in str(told)
    [owned] = service.get(f"{EVERY}/queue", token="stranger").json()["goingOn"]
    assert owned["properties"]["expectedEnd"] == "2126-01-31T12:01:02.345678Z", "whose run it is knows its end"
