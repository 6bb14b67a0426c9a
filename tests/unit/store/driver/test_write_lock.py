"""Who waits for whom in PostgreSQL, and that a connection which died while it was kept is noticed when it is used."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from in_process import wait_for
from postgresql import Cluster, cluster
from waiting_runs import add_waiting_runs

from vmkiln.errors import DatabaseAway, RunTakenOver
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import HostRow, ReservationRow

SECONDS = 60
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
PROPERTIES = {"distribute": []}


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def store(server: Cluster, tmp_path: Path) -> Iterator[Store]:
    """A host that has two runs."""
    with opened(server.new_database(), home=tmp_path) as found:
        found.hosts.register(HostRow("here", "id", "here", "x64", "emulated", "", 8, 65_536, 1_000), lease_seconds=60)
        ids = add_waiting_runs(
            found, range(2), subscriptions=["s"], properties=PROPERTIES, resource_group="rg", staging_group="IT_x"
        )
        rows = [ReservationRow(run_id, 1, "here", 2, 1024, 100, 0.0) for run_id in ids]
        assert found.hosts.reserve(rows, fits=lambda *_: True) == ids
        yield found


@contextmanager
def waiting(server: Cluster, call: Callable[[], object]) -> Iterator[None]:
    """A call that another transaction keeps waiting while the block lasts, and that goes through afterwards."""
    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: int(server.sql(WAITING)) == 1, seconds=SECONDS)
    yield
    assert int(server.sql(WAITING)) == 1, "it still waits"


def test_who_writes_for_a_run_waits_for_no_other_run(store: Store, server: Cluster) -> None:
    one, other = (run.run_id for run in store.runs.list())
    fenced = {run_id: store.fenced(run_id, incarnation="here") for run_id in (one, other)}
    with fenced[one].connections.begin(of_run=True) as connection:
        fenced[other].runs.begin_phase(other, "Building")
        with waiting(server, lambda: store.fenced(one, incarnation="here").runs.begin_phase(one, "Building")):
            assert connection.execute(sa.text("SELECT 1")).scalar() == 1, "two that write for one run do wait"
    wait_for(lambda: bool(store.runs.phases_of(one)), seconds=SECONDS)
    assert [phase.name for phase in store.runs.phases_of(other)] == ["Building"]


def test_who_writes_what_it_likes_waits_for_who_writes_for_a_run(store: Store, server: Cluster) -> None:
    run = store.runs.list()[0]
    fenced = store.fenced(run.run_id, incarnation="here")
    # what became of the run is decided by what stands there, which nobody changes meanwhile
    with (
        fenced.connections.begin(of_run=True),
        waiting(server, lambda: store.hosts.withdraw(run.run_id, incarnation="here", most_attempts=10)),
    ):
        pass
    wait_for(lambda: len(store.hosts.reservations()) == 1, seconds=SECONDS)
    with pytest.raises(RunTakenOver):
        fenced.runs.begin_phase(run.run_id, "Building")


def test_who_lost_its_run_while_it_waited_writes_nothing(store: Store, server: Cluster) -> None:
    run = store.runs.list()[0]
    fenced, met = store.fenced(run.run_id, incarnation="here"), list[BaseException]()

    def late() -> None:
        try:
            fenced.runs.begin_phase(run.run_id, "Building")
        except RunTakenOver as error:
            met.append(error)

    with store.connections.begin() as connection, waiting(server, late):
        connection.execute(sa.text("DELETE FROM vmkiln_reservation WHERE run_id = :run"), {"run": run.run_id})
    wait_for(lambda: len(met) == 1, seconds=SECONDS)
    assert not store.runs.phases_of(run.run_id)


@pytest.mark.parametrize("of_run", [True, False])
def test_a_database_that_only_lets_read_is_away_for_who_writes(store: Store, server: Cluster, of_run: bool) -> None:
    """As a standby is, to which a name may lead for a while: what is to be written waits, and the run goes on."""
    fenced = store.fenced(store.runs.list()[0].run_id, incarnation="here")
    server.sql(f'ALTER DATABASE "{store.connections.writing.url.database}" SET default_transaction_read_only = on')
    server.control("-m", "fast", "restart")
    with pytest.raises(DatabaseAway, match="read-only"), fenced.connections.begin(of_run=of_run):
        pass


def test_a_restarted_database_costs_no_call_though_none_was_asked_for_life(store: Store, server: Cluster) -> None:
    run = store.runs.list()[0]
    fenced = store.fenced(run.run_id, incarnation="here")
    asked: list[str] = []
    fenced.runs.begin_phase(run.run_id, "Building")
    engines = list(store.connections.engines)
    for engine in engines:
        sa.event.listen(engine, "checkout", lambda *_: asked.append("a connection that is kept"))
    server.control("-m", "fast", "restart")
    assert store.runs.find(run.run_id).sub_state == "Building"
    fenced.runs.begin_phase(run.run_id, "Customizing")
    store.hosts.drain("here", is_draining=True)
    assert [phase.name for phase in store.runs.phases_of(run.run_id)] == ["Building", "Customizing"]
    assert asked, "there were such connections"
