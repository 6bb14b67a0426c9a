"""How many connections of PostgreSQL a process takes, and what it does when there is none left."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgresql import Cluster, cluster

from vmkiln.store.database import opened
from vmkiln.store.engine import POOL_SIZE, make_engine

THREADS = 3 * POOL_SIZE


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
            return len(store.runs.list())

        assert list(pool.map(ask, range(THREADS))) == [0] * THREADS
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'vmkiln'"
        assert 1 < int(server.sql(count)) <= POOL_SIZE


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
