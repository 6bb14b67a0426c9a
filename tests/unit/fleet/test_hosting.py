"""A host's own life, and how it looks after the runs that are its own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from waiting_runs import add_waiting_runs

from vmkiln.errors import DatabaseAway
from vmkiln.fleet import run_queue
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.attempts import runs_here
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.run.room import NOTHING
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import PlacedRun, ReservationRow, RunRow

LEASE_SECONDS = 0.4


async def build(*_: object) -> None:
    raise AssertionError


@contextlib.asynccontextmanager
async def at_work(hosting: Hosting) -> AsyncIterator[None]:
    """Let it do its work while the block lasts."""
    serving = asyncio.create_task(hosting.serve())
    try:
        await hosting.is_at_work.wait()
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()


async def test_a_host_that_leaves_does_not_take_its_lease_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "db") as store:
        lost: list[str] = []
        leave = store.hosts.leave

        def slowly(incarnation: str) -> None:
            leave(incarnation)
            time.sleep(3 * LEASE_SECONDS)  # it would be renewed meanwhile

        monkeypatch.setattr(store.hosts, "leave", slowly)
        identity = HostIdentity("here", lease_seconds=LEASE_SECONDS)
        async with at_work(Hosting(Settings(tmp_path), store, HostDuties(build, on_lost=lost.append), identity)):
            pass
        assert lost == []
        assert [host.is_dead for host in store.hosts.all()] == [True]


def hosting_of(store: Store, home: Path) -> Hosting:
    return Hosting(Settings(home), store, HostDuties(build), HostIdentity("here"))


def row(run_id: str, state: str = "Queued") -> RunRow:
    return RunRow(run_id, "web", "rg", {}, state, "", "", "", "", {}, utc_now(), None, "/subscriptions/s/t")


async def test_a_run_that_cannot_be_begun_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each look goes on behind it, and it is told with its traceback, and counted, by itself."""
    begun: set[str] = set()

    class Engine:
        async def begin(self, run_id: str, _attempt: int) -> None:
            if run_id == "a":
                raise KeyError("its record is broken")
            begun.add(run_id)

    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        placed = [PlacedRun(run_id, 1, "here", RunState.QUEUED, "/t") for run_id in "abc"]
        monkeypatch.setattr(hosting._runs, "_placed", lambda: placed)

        async def durable() -> Engine:
            return Engine()

        monkeypatch.setattr(hosting._runs, "durable", durable)
        await hosting._round()
        assert begun == {"b", "c"}
        assert hosting._rounds.failures() == {"run of this host": 1}
        [record] = [record for record in caplog.records if "run of this host a 1 failed" in record.message]
        assert record.exc_info


async def test_a_run_of_a_dead_host_that_cannot_be_fenced_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withdrawn: list[str] = []

    class Engine:
        async def fence(self, run_id: str, _attempt: int) -> None:
            if run_id == "a":
                raise KeyError("its record is broken")

    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        orphans = [PlacedRun(run_id, 1, "dead", RunState.RUNNING, "/t") for run_id in "abc"]
        monkeypatch.setattr(store.hosts, "orphans", lambda: orphans)
        monkeypatch.setattr(hosting._runs, "withdraw", lambda run: withdrawn.append(run.run_id))

        async def durable() -> Engine:
            return Engine()

        monkeypatch.setattr(hosting._runs, "durable", durable)
        await hosting._succeed()
        assert withdrawn == ["b", "c"]
        assert hosting._rounds.failures() == {"run of a dead host": 1}


async def test_runs_that_do_not_give_their_room_back_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runs_here, "SETTLE_SECONDS", 0.05)
    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._runs._begun.open.add(("a-run", 2))
        await hosting._runs.settled()
    assert "a-run" in caplog.text


async def test_the_room_of_an_ended_run_that_nobody_settles_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of the engine: it would be kept until the next start else."""

    class Engine:
        async def begin(self, run_id: str, attempt: int) -> None:
            await hosting._runs._attempt(run_id, attempt)  # and that is all it does

    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._register()
        [run_id] = add_waiting_runs(
            store, range(1), subscriptions=["s"], properties={}, resource_group="rg", staging_group="IT_x"
        )
        room = ReservationRow(run_id, 1, hosting._incarnation, 2, 1024, 100, 0.0)
        assert store.hosts.reserve([room], fits=lambda *_: True) == [run_id]

        async def durable() -> Engine:
            return Engine()

        monkeypatch.setattr(hosting._runs, "durable", durable)
        for _ in range(3):
            await hosting._runs.look()
        assert store.runs.find(run_id).state == RunState.FAILED
        assert len(store.hosts.reservations()) == 1, "to give it back is the engine's for a while"
        monkeypatch.setattr(runs_here, "UNSETTLED_SECONDS", -1.0)
        await hosting._runs.look()
        assert store.hosts.reservations() == []
        assert not hosting._runs._begun.open


def test_a_run_whose_need_cannot_be_found_out_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a template that nobody foresaw")

    with opened(tmp_path / "db") as store:
        template: Any = object()
        monkeypatch.setattr(run_queue, "_host_need", broken)
        assert run_queue.need_of_queued(Settings(tmp_path), store, row("a"), template).room == NOTHING

        def away(*_: object) -> None:
            raise DatabaseAway("away")

        monkeypatch.setattr(run_queue, "_host_need", away)
        with pytest.raises(DatabaseAway):
            run_queue.need_of_queued(Settings(tmp_path), store, row("a"), template)
