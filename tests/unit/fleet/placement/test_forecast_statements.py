"""What a forecast asks of the database does not grow with the queue, and every template that succeeded has its time."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgresql import cluster
from waiting_runs import add_waiting_runs

from vmkiln.fleet.placement.forecast import COMPARED_RUNS, Forecast
from vmkiln.fleet.placement.outlook import forecast_of
from vmkiln.fleet.run_queue import looked_at, place
from vmkiln.run_state import RunState, new_run_id
from vmkiln.settings import Settings
from vmkiln.store import tables
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import HostRow, RunRow

SUBSCRIPTIONS = [f"00000000-0000-0000-0000-{number:012}" for number in range(4)]
PROPERTIES = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"},
    "customize": [{"type": "Shell", "name": "say", "inline": ["echo hello"]}],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "provisioningState": "Succeeded",
}
MOST_STATEMENTS = 15
TOOK = timedelta(minutes=20)
OLD = timedelta(days=2)


@contextlib.contextmanager
def heard(store: Store) -> Iterator[list[str]]:
    """The statements of the block."""
    found = list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):
            found.append(" ".join(statement.split()))

    for engine in store.connections.engines:
        sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        for engine in store.connections.engines:
            sa.event.remove(engine, "before_cursor_execute", note)


def add_successes(store: Store) -> None:
    """Eleven successes of each template, the last five of 20 minutes, the six before them of days."""
    rows, phases = list[RunRow](), list[dict[str, Any]]()
    for waits in store.runs.list(limit=None):
        for number in range(2 * COMPARED_RUNS + 1):
            started = store.now() - OLD - timedelta(hours=number)
            took = TOOK if number < COMPARED_RUNS else OLD
            values = {"run_id": new_run_id(), "state": RunState.SUCCEEDED, "started": started, "ended": started + took}
            rows.append(RunRow(**{**vars(waits), **values}))
            phases.append({"run_id": values["run_id"], "number": 0, "name": "Building", "started": started})
    store.runs.add_many(rows)
    with store.connections.begin() as connection:
        connection.execute(tables.phases.insert(), phases)


def forecast_with(home: Path, url: str, *, going_on: int, waiting: int) -> tuple[Forecast, list[str]]:
    """The forecast of a queue, each run of a template of its own, and the statements that it took."""
    settings = Settings(home, database_url=url)
    with opened(url or settings.database, home=home) as store:
        numbers = range(going_on + waiting)
        add_waiting_runs(
            store,
            numbers,
            subscriptions=SUBSCRIPTIONS,
            properties=PROPERTIES,
            resource_group="rg",
            staging_group="IT_x",
        )
        add_successes(store)
        host = HostRow("here", "id", "here", "x64", "emulated", "", 2 * going_on, 10**8, 10**8)
        store.hosts.register(host, lease_seconds=600)
        assert len(place(settings, store, {}).taken) == going_on
        with heard(store) as said:
            return forecast_of(store, looked_at(settings, store)), said


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_a_forecast_takes_few_statements_however_many_runs_there_are(kind: str, tmp_path: Path) -> None:
    costs = list[int]()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(cluster()) if kind == "PostgreSQL" else None
        for going_on, waiting in ((2, 2), (60, 45)):
            url = "" if server is None else server.new_database()
            home = tmp_path / str(going_on)
            found, said = forecast_with(home, url, going_on=going_on, waiting=waiting)
            assert len(found.ends) == going_on, "every template has a time"
            assert len(found.starts) == waiting
            assert max(found.ends.values()) < utc_now() + 2 * TOOK, "by the last successes alone"
            costs.append(len(said))
            assert len(said) <= MOST_STATEMENTS, said
    assert costs[0] == costs[1], "and as many for a long queue as for a short one"
