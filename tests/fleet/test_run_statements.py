"""What a run costs its database, from its place in the queue to its last record: counted, for time tells little."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stub_build
from postgresql import cluster
from waiting_runs import add_waiting_runs

from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.fleet.run_queue import place
from vmkiln.run.timeline import recording
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import shared_storage
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened
from vmkiln.store.driver import write_lock
from vmkiln.store.engine import database_url
from vmkiln.store.rows import HostRow

MOST_STATEMENTS = 111  # the beginnings and commits of transactions among them; it was 222
MOST_TRANSACTIONS = 20  # it was 41
ROUNDS = ("Thread-", "dbos-background", "queue-worker")  # threads of the durable engine that look for work
EXECUTOR = "dbos-executor"
WAITING = 10_000
MOST_ROWS_READ = 2_500  # 50 of each subscription, found among those of the others
SUBSCRIPTIONS = [f"00000000-0000-0000-0000-{number:012}" for number in range(5)]
PROPERTIES = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"},
    "customize": [{"type": "Shell", "name": "say", "inline": ["echo hello"]}],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "provisioningState": "Succeeded",
}


@dataclass
class Counts:
    """What was sent to the database. `is_over` once the durable engine has recorded the end of an attempt."""

    statements: list[str]
    transactions: int = 0
    is_over: bool = False

    @property
    def whole(self) -> int:
        return len(self.statements) + 2 * self.transactions


@contextmanager
def counted() -> Iterator[Counts]:
    """Count while the block lasts, but for the rounds of the durable engine, which it makes without runs too."""
    counts, ends = Counts([]), threading.Event()

    def thread() -> str:
        return threading.current_thread().name

    def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not thread().startswith(ROUNDS) and not statement.startswith("BEGIN"):
            counts.statements.append(" ".join(statement.split()))
            if thread().startswith(EXECUTOR) and "workflow_status SET status=" in statement:
                ends.set()

    def over(_connection: Any) -> None:
        counts.is_over |= ends.is_set() and thread().startswith(EXECUTOR)

    def committed(connection: Any) -> None:
        counts.transactions += not thread().startswith(ROUNDS)
        over(connection)

    begin = write_lock.begin

    def locked(*arguments: Any, **options: Any) -> None:  # in one message with the beginning, past SQLAlchemy
        counts.statements.append("the lock")
        begin(*arguments, **options)

    heard = {"before_cursor_execute": executed, "commit": committed, "rollback": over}
    for name, listener in heard.items():
        sa.event.listen(sa.engine.Engine, name, listener)
    write_lock.begin = locked
    try:
        yield counts
    finally:
        write_lock.begin = begin
        for name, listener in heard.items():
            sa.event.remove(sa.engine.Engine, name, listener)


def waiting_runs(store: Store, number: int, *, group: str) -> None:
    add_waiting_runs(
        store,
        range(number),
        subscriptions=SUBSCRIPTIONS,
        properties=PROPERTIES,
        resource_group="rg",
        staging_group=group,
    )


async def one_run(settings: Settings, store: Store) -> Counts:
    """Give a waiting run its host and let it go through; what that took of the database."""
    shared = shared_storage(settings, store)
    assert shared is not None
    await asyncio.to_thread(shared.try_out)  # as every host does when it begins
    duties = HostDuties(stub_build.stub_build(settings, store, shared=shared), shared=shared, is_tried_first=False)
    hosting = Hosting(settings, store, duties, HostIdentity(name="here"))
    await asyncio.to_thread(hosting._register)
    attempts = await hosting._runs.durable()
    with counted() as counts:
        [row] = (await asyncio.to_thread(place, settings, store, hosting.capacity_now())).taken
        await attempts.begin(row.run_id, row.attempt)
        async with asyncio.timeout(60):
            while not counts.is_over:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await hosting._runs.closed()
    [run] = store.runs.list(states=["Succeeded"])
    assert store.hosts.reservations() == []
    assert store.timelines.of_runs([run.run_id])[run.run_id][0].kind == "queue", "all of it is on record"
    return counts


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_a_run_costs_half_the_statements_and_transactions(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub_build, "PHASE_SECONDS", 0.0)
    monkeypatch.setattr(recording, "WRITE_SECONDS", 600.0)
    (tmp_path / "shared").mkdir()
    with cluster() as server:
        url = server.new_database() if kind == "PostgreSQL" else ""
        settings = Settings(tmp_path / "home", database_url=url, object_store=(tmp_path / "shared").as_uri())
        with opened(url or settings.database, home=settings.home) as store:
            group = staging_resource_group.create(settings.staging, store, name="IT_x", run_id="", tags={})
            waiting_runs(store, 1, group=group.name)
            counts = asyncio.run(one_run(settings, store))
    told = f"{counts.whole} statements, {counts.transactions} transactions:\n" + "\n".join(counts.statements)
    assert counts.whole <= MOST_STATEMENTS, told
    assert counts.transactions <= MOST_TRANSACTIONS, told


def rows_read(plan: dict[str, Any]) -> int:
    """How many rows of tables a plan of PostgreSQL read, those among them that it threw away."""
    own = 0
    if "Relation Name" in plan:
        read = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        own = int((read + plan.get("Rows Removed by Index Recheck", 0)) * plan["Actual Loops"])
    return own + sum(rows_read(part) for part in plan.get("Plans", ()))


def test_to_give_runs_their_hosts_reads_few_rows_when_thousands_wait(tmp_path: Path) -> None:
    """Counted by the server's own plans: of every statement of a look that lets runs in."""
    said: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.startswith(("SELECT vmkiln", "SELECT anon")):
            said.append((statement, values))

    with cluster() as server:
        url = server.new_database()
        settings = Settings(tmp_path / "home", database_url=url)
        with opened(url, home=settings.home) as store:
            waiting_runs(store, WAITING, group="IT_x")
            store.hosts.register(
                HostRow("here", "id", "here", "x64", "emulated", "", 8, 65_536, 100_000), lease_seconds=60
            )
            engine = sa.create_engine(database_url(url), isolation_level="AUTOCOMMIT")
            with engine.connect() as looking:
                looking.exec_driver_sql("ANALYZE")
                sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
                try:
                    assert len(place(settings, store, {}).taken) == 4, "there is room for four"
                finally:
                    sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
                read = 0
                for statement, values in said:
                    explained = looking.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values).scalar()
                    read += rows_read(explained[0]["Plan"])
            engine.dispose()
    assert len(said) >= 8, "all of them were heard"
    assert read <= MOST_ROWS_READ, (read, said)
