"""The front of the queue, as the database finds it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql import cluster
from waiting_runs import add_waiting_runs

from vmkiln.run_state import RunState
from vmkiln.store.database import Store, opened
from vmkiln.store.queue_table import FRONT, NEXT, STARTED, WaitingHead
from vmkiln.store.rows import HostRow, ReservationRow, RunRow

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "SQLite":
        with opened(tmp_path / "db") as store:
            yield store
    else:
        with cluster() as server, opened(server.new_database(), home=tmp_path) as store:
            yield store


def a_run(number: int, *, subscription: int, state: str = "Queued") -> RunRow:
    template = f"/subscriptions/{subscription:036}/resourcegroups/rg/providers/x/imagetemplates/t{number}"
    started = BEGIN + timedelta(seconds=number)
    return RunRow(f"r{number}", f"t{number}", "rg", {}, state, "", "", "", "", {}, started, None, template)


def test_the_front_has_the_oldest_of_each_subscription_that_have_no_host(store: Store) -> None:
    store.runs.add_many([a_run(9, subscription=1), a_run(1, subscription=1), a_run(4, subscription=1)])
    store.runs.add_many([a_run(2, subscription=2), a_run(3, subscription=2), a_run(5, subscription=2, state="Running")])
    store.runs.add_many([a_run(0, subscription=3), a_run(8, subscription=3), a_run(6, subscription=4, state="Failed")])
    store.hosts.register(HostRow("b", "h", "kiln", "x86_64", "", "", 8, 1024, 1024), lease_seconds=60)
    row = ReservationRow(run_id="r0", attempt=1, incarnation="b", cpus=1, memory_mib=1, disk_mib=1, placed=0.0)
    assert store.hosts.reserve([row], fits=lambda _host, _wanted: True) == ["r0"]
    names = [item.run_id for item in store.queue.waiting()]
    assert names == ["r1", "r2", "r3", "r4", "r8", "r9"]
    assert [item.run_id for item in store.queue.waiting(per_subscription=1)] == ["r1", "r2", "r8"]
    assert [item.run_id for item in store.queue.waiting(per_subscription=2)] == ["r1", "r2", "r3", "r4", "r8"]
    assert [item.run_id for item in store.queue.waiting(per_subscription=9)] == names
    assert {item.started.tzinfo for item in store.queue.waiting(per_subscription=9)} <= {UTC, BEGIN.tzinfo}


def test_the_front_of_a_long_queue_has_as_many_of_each_subscription(store: Store) -> None:
    store.runs.add_many([a_run(number, subscription=number % 3) for number in range(40)])
    names = [item.run_id for item in store.queue.waiting(per_subscription=2)]
    assert names == ["r0", "r1", "r2", "r3", "r4", "r5"]
    names = [item.run_id for item in store.queue.waiting(per_subscription=11)]
    assert names == [f"r{number}" for number in range(33)]


def test_each_subscriptions_last_start_is_known_as_far_back_as_is_asked(store: Store) -> None:
    for number, state in enumerate(STARTED):
        store.runs.add_many([a_run(number, subscription=number % 2, state=state)])
    store.runs.add_many([a_run(90, subscription=1), a_run(91, subscription=3)])
    names = [f"{number:036}" for number in range(2)]
    assert store.queue.last_starts(limit=9) == {
        names[0]: BEGIN + timedelta(seconds=4),
        names[1]: BEGIN + timedelta(seconds=5),
    }
    assert store.queue.last_starts(limit=1) == {names[1]: BEGIN + timedelta(seconds=5)}


def test_every_state_but_queued_has_started() -> None:
    assert {*STARTED, RunState.QUEUED} == set(RunState)


@pytest.mark.parametrize("query", [FRONT, NEXT])
def test_the_front_is_found_by_an_index_however_many_wait(tmp_path: Path, query: "sa.Select[tuple[object]]") -> None:
    with opened(tmp_path / "db"):
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'db'}")
        text = str(query.compile(engine, compile_kwargs={"render_postcompile": True}))
        with engine.connect() as connection:
            values = {name: "x" if name != "most" else 1 for name in query.compile(engine).params}
            ordered = [values.get(name, values.get("after")) for name in query.compile(engine).positiontup or ()]
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", tuple(ordered)).all()
        engine.dispose()
    steps = [str(row[3]) for row in plan]
    assert "vmkiln_run_by_turn (state=? AND <expr>" in steps[0], steps
    assert not any("TEMP B-TREE" in step for step in steps), "nothing is sorted"


def test_the_head_of_a_run_has_as_much_of_its_template(store: Store) -> None:
    properties = {"provisioningState": "Succeeded"}
    [run_id] = add_waiting_runs(
        store, range(1), subscriptions=["s"], properties=properties, resource_group="rg", staging_group="IT_x"
    )
    store.runs.add_many([a_run(1, subscription=1)])
    heads = store.queue.heads([run_id, "r1"])
    row = store.resources.get(heads[run_id].template_id)
    assert row is not None
    assert heads[run_id] == WaitingHead(run_id, row.key, 1, frozenset(), row.etag, "local", {})
    assert (heads["r1"].etag, heads["r1"].location, heads["r1"].tags) == ("", "", {}), "its template is gone"


def test_runs_without_a_host_are_those_that_go_on_and_have_no_room_kept(store: Store) -> None:
    states = {1: "Running", 2: "Canceling", 3: "Succeeded", 4: "Queued", 5: "Queued"}
    store.runs.add_many([a_run(number, subscription=1, state=state) for number, state in states.items()])
    store.hosts.register(HostRow("b", "h", "kiln", "x86_64", "", "", 8, 1024, 1024), lease_seconds=60)
    row = ReservationRow(run_id="r5", attempt=1, incarnation="b", cpus=1, memory_mib=1, disk_mib=1, placed=0.0)
    assert store.hosts.reserve([row], fits=lambda _host, _wanted: True) == ["r5"]
    store.runs.move("r5", expected=[RunState.QUEUED], state=RunState.RUNNING)
    assert {run.run_id for run in store.queue.going_on_alone()} == {"r1", "r2"}
