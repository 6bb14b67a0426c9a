"""How many connections of PostgreSQL a process takes, and what it does when there is none left."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgresql import Cluster, cluster

from vmkiln.errors import DatabaseAway
from vmkiln.store import engine as engine_module
from vmkiln.store.database import opened
from vmkiln.store.engine import MOST_READERS, MOST_WRITERS, make_engine

MOST = MOST_READERS + MOST_WRITERS
THREADS = 3 * MOST


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def test_however_many_threads_ask_a_process_takes_few_connections(server: Cluster, tmp_path: Path) -> None:
    with opened(server.new_database(), home=tmp_path) as store, ThreadPoolExecutor(THREADS) as pool:
        all_ask = threading.Barrier(THREADS)

        def ask(_: int) -> int:
            all_ask.wait()
            for _ in range(20):
                store.runs.list()
                store.confirm_undone()
            return len(store.runs.list())

        assert list(pool.map(ask, range(THREADS))) == [0] * THREADS
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vmkiln'"
        assert 1 < int(server.sql(count)) <= MOST


def take_all(url: str, taken: contextlib.ExitStack) -> None:
    while True:
        taken.enter_context(psycopg.connect(url))


def test_a_server_without_a_free_connection_is_waited_for(server: Cluster) -> None:
    server.sql("ALTER SYSTEM SET max_connections = 20")
    server.control("restart")
    url = server.new_database()
    engine = make_engine(url)
    with contextlib.ExitStack() as taken:
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            take_all(url, taken)
        with ThreadPoolExecutor(1) as pool:

            def ask() -> int:
                with engine.connect() as connection:
                    return int(connection.execute(sa.text("SELECT 1")).scalar_one())

            asking = pool.submit(ask)
            assert not wait([asking], timeout=1).done, "it waits"
            taken.close()
            assert asking.result(30) == 1
    engine.dispose()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "SQLite":
        yield tmp_path / "db"
        return
    with cluster() as found:
        yield found.new_database()


def test_readers_do_not_wait_for_any_number_of_waiting_writers(place: Path | str, tmp_path: Path) -> None:
    with opened(place, home=tmp_path) as store, opened(place, home=tmp_path) as other, contextlib.ExitStack() as stack:
        writers = stack.enter_context(ThreadPoolExecutor(THREADS))
        readers = stack.enter_context(ThreadPoolExecutor(1))
        with other.connections.begin():
            waiting = [writers.submit(store.confirm_undone) for _ in range(THREADS)]
            assert not wait(waiting, timeout=1).done, "they wait for the lock, or for a connection"
            for read in (
                store.runs.list,
                store.hosts.live,
                store.queue.waiting,
                store.operations.open_ones,
                store.sessions.going_on,
                store.principals.list,
                store.resources.subscriptions,
                store.staging.list_groups,
                store.images.list,
                store.ping,
            ):
                assert not wait([readers.submit(read)], timeout=5).not_done, read
        for found in waiting:
            found.result(30)


def test_every_table_says_that_the_database_is_away(place: Path | str, tmp_path: Path) -> None:
    """When all connections stay in use, whichever table is asked."""
    with opened(place, home=tmp_path) as store, contextlib.ExitStack() as taken:
        for engine, count in zip(store.connections.engines, (MOST_WRITERS, MOST_READERS, 1), strict=True):
            for _ in range(count):
                taken.enter_context(engine.connect())
            engine.pool._timeout = 0  # type: ignore[attr-defined]
        for ask in (
            store.runs.list,
            store.hosts.live,
            store.queue.waiting,
            store.operations.open_ones,
            store.sessions.going_on,
            store.principals.list,
            store.resources.subscriptions,
            store.staging.list_groups,
            store.images.list,
            store.ping,
            store.confirm_undone,
            store.sessions.end,
            lambda: store.hosts.leave("any"),
            lambda: store.hosts.renew("any", lease_seconds=60.0),
            lambda: store.operations.end("any"),
            lambda: store.principals.unassign("any"),
            lambda: store.resources.delete("/any"),
            lambda: store.queue.last_starts(limit=1),
        ):
            with pytest.raises(DatabaseAway):
                ask()


def test_a_transaction_that_stood_still_is_told_as_a_database_away(
    server: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "IDLE_SECONDS", 1)
    with opened(server.new_database(), home=tmp_path) as store:

        def stand_still() -> None:
            with store.connections.begin() as connection:
                time.sleep(2)
                connection.exec_driver_sql("SELECT 1")

        with pytest.raises(DatabaseAway, match="idle-in-transaction"):
            stand_still()
        store.confirm_undone()
