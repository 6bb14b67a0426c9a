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

MOST_STATEMENTS = 111  # the beginnings and commits of transactions among them; it was 222
MOST_TRANSACTIONS = 20  # it was 41
ROUNDS = ("Thread-", "dbos-background", "queue-worker")  # threads of the durable engine that look for work
EXECUTOR = "dbos-executor"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
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

    heard = {"before_cursor_execute": executed, "commit": committed, "rollback": over}
    for name, listener in heard.items():
        sa.event.listen(sa.engine.Engine, name, listener)
    try:
        yield counts
    finally:
        for name, listener in heard.items():
            sa.event.remove(sa.engine.Engine, name, listener)


async def one_run(settings: Settings, store: Store) -> Counts:
    """Give a waiting run its host and let it go through; what that took of the database."""
    shared = shared_storage(settings, store)
    assert shared is not None
    await asyncio.to_thread(shared.try_out)  # as every host does when it begins
    duties = HostDuties(stub_build.stub_build(settings, store, shared=shared), shared=shared, is_tried_first=False)
    hosting = Hosting(settings, store, duties, HostIdentity(name="here"))
    await asyncio.to_thread(hosting._register)
    attempts = await hosting._durable()
    with counted() as counts:
        [row] = await asyncio.to_thread(place, settings, store, hosting.capacity_now())
        await attempts.begin(row.run_id, row.attempt)
        async with asyncio.timeout(60):
            while not counts.is_over:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await hosting._engine.aclose()
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
            add_waiting_runs(
                store,
                range(1),
                subscriptions=[SUBSCRIPTION],
                properties=PROPERTIES,
                resource_group="rg",
                staging_group=group.name,
            )
            counts = asyncio.run(one_run(settings, store))
    told = f"{counts.whole} statements, {counts.transactions} transactions:\n" + "\n".join(counts.statements)
    assert counts.whole <= MOST_STATEMENTS, told
    assert counts.transactions <= MOST_TRANSACTIONS, told
