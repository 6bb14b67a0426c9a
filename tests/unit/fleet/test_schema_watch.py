"""A host of an older release takes nothing new once a newer one brought the database further, until it is upgraded."""

import pytest
import sqlalchemy as sa
from two_databases import server, store

from vmkiln.fleet.run_queue import fits
from vmkiln.fleet.schema_watch import SchemaWatch
from vmkiln.store.database import Store, utc_now
from vmkiln.store.hosts import origin_table
from vmkiln.store.rows import HostRow, ReservationRow, RunRow
from vmkiln.store.schema import HEAD, REVISIONS

__all__ = ["server", "store"]  # the fixtures

NEWER = "9999"
TEMPLATE = "/subscriptions/s/resourcegroups/rg/providers/microsoft.virtualmachineimages/imagetemplates/web"


def start(store: Store, incarnation: str) -> None:
    row = HostRow(incarnation, "a-id", "a", "x64", "emulated", "", 4, 8192, 10_000)
    store.hosts.register(row, lease_seconds=60)
    store.origins.record(incarnation, host_id="a-id", mark="m")


def stamp(store: Store, revision: str) -> None:
    with store.connections.begin() as connection:
        connection.execute(sa.text("UPDATE vmkiln_revision SET version_num = :now"), {"now": revision})


def reserve(store: Store, run_id: str, incarnation: str) -> list[str]:
    if run_id not in store.runs.by_id([run_id]):
        store.runs.add(RunRow(run_id, "web", "rg", {}, "Queued", "", "", "", "", {}, utc_now(), None, TEMPLATE))
    return store.hosts.reserve([ReservationRow(run_id, 1, incarnation, 1, 1024, 1024, 0.0)], fits=fits)


async def test_a_host_of_an_older_release_drains_itself_until_it_is_upgraded(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(store, "older")
    watch = SchemaWatch(store, "older")
    await watch.look()
    assert reserve(store, "r1", "older") == ["r1"]
    stamp(store, NEWER)
    for _ in range(3):
        await watch.look()
    assert reserve(store, "r2", "older") == []
    assert [placed.run_id for placed in store.hosts.placed(incarnation="older")] == ["r1"], "what it has goes on"
    assert len([record for record in caplog.records if NEWER in record.message]) == 1

    start(store, "older again")
    assert reserve(store, "r2", "older again") == [], "it was only restarted"
    monkeypatch.setattr(origin_table, "REVISIONS", (*REVISIONS, NEWER))
    start(store, "upgraded")
    await SchemaWatch(store, "upgraded").look()
    assert reserve(store, "r2", "upgraded") == ["r2"]


async def test_what_the_operator_drained_stays_so_over_an_upgrade(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(store, "older")
    store.hosts.drain("a", is_draining=True)
    stamp(store, NEWER)
    await SchemaWatch(store, "older").look()
    monkeypatch.setattr(origin_table, "REVISIONS", (*REVISIONS, NEWER))
    start(store, "upgraded")
    assert reserve(store, "r1", "upgraded") == []


def test_a_commit_that_is_confirmed_to_be_undone_leaves_a_newer_schema(store: Store) -> None:
    stamp(store, NEWER)
    store.confirm_undone()
    with store.connections.reading() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM vmkiln_revision")).scalar() == NEWER != HEAD
