"""A host's own life, and how it looks after the runs that are its own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from waiting_runs import add_waiting_runs

from vmkiln.errors import DatabaseAway
from vmkiln.fleet import hosting as hosting_module
from vmkiln.fleet import run_queue
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.attempts import runs_here
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.fleet.placement import known_templates
from vmkiln.fleet.run_queue import Given
from vmkiln.run.room import NOTHING
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import HostRow, PlacedRun, ReservationRow, RunRow

LEASE_SECONDS = 0.4
MOST_LOOK_STATEMENTS = 7
PROPERTIES = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "provisioningState": "Succeeded",
}


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

        def slowly(incarnation: str, *, is_brief: bool) -> None:
            leave(incarnation, is_brief=is_brief)
            time.sleep(3 * LEASE_SECONDS)  # it would be renewed meanwhile

        monkeypatch.setattr(store.hosts, "leave", slowly)
        identity = HostIdentity("here", lease_seconds=LEASE_SECONDS)
        async with at_work(Hosting(Settings(tmp_path), store, HostDuties(build, on_lost=lost.append), identity)):
            pass
        assert lost == []
        assert [host.is_dead for host in store.hosts.all()] == [True]


async def test_a_command_in_whose_process_a_host_was_leaves_none_behind(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        identity = HostIdentity("here", is_embedded=True)
        async with at_work(Hosting(Settings(tmp_path), store, HostDuties(build), identity)):
            assert [host.name for host in store.hosts.live()] == ["here"]
        assert store.hosts.all() == []


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

    def away(*_: object) -> None:
        raise DatabaseAway("away")

    with opened(tmp_path / "db") as store:
        [run_id] = waiting(store, 1)
        front = run_queue._Front(Settings(tmp_path), store, [run_id])
        monkeypatch.setattr(known_templates, "template_of", broken)
        assert front.need(run_id).room == NOTHING
        monkeypatch.setattr(known_templates, "template_of", away)
        with pytest.raises(DatabaseAway):
            front.need(run_id)


def waiting(store: Store, number: int) -> list[str]:
    return add_waiting_runs(
        store,
        range(number),
        subscriptions=["s"],
        properties=PROPERTIES,
        resource_group="rg",
        staging_group="IT_x",
    )


class Looks:
    """What one host asks of the queue: each look for itself alone, or for all; and what it finds."""

    def __init__(self, hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own: list[bool] = []
        self.found: list[Given] = []

        class Engine:
            async def begin(self, run_id: str, attempt: int) -> None:
                pass

        async def durable() -> Engine:
            return Engine()

        def place(*arguments: Any, own: str, **named: Any) -> Given:
            self.own.append(bool(own))
            return self.found.pop(0) if self.found else run_queue.place(*arguments, own=own, **named)

        monkeypatch.setattr(hosting_module, "place", place)
        monkeypatch.setattr(hosting._runs, "durable", durable)


def ended(hosting: Hosting, store: Store, run_id: str, state: RunState = RunState.SUCCEEDED) -> None:
    store.runs.move(run_id, expected=[RunState.QUEUED], state=state)


async def test_when_a_run_has_ended_the_queue_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For this host's room; others look for theirs. It was twice, the second time for nothing."""
    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._register()
        runs = waiting(store, 3)
        looks = Looks(hosting, monkeypatch)
        await hosting._round()
        assert looks.own == [False], "the first is for all"
        for number, run_id in enumerate(runs, start=2):
            assert [row.run_id for row in store.hosts.reservations()] == [run_id]
            assert (run_id, 1) in hosting._runs._begun.asked, "and begun in the same round"
            ended(hosting, store, run_id)
            await hosting._runs._settle(run_id, 1)
            assert hosting._wake.is_set()
            await hosting._round()
            hosting._wake.clear()
            await hosting._round()
            assert looks.own == [False, *[True] * (number - 1)]


async def test_when_a_run_waits_again_the_queue_is_looked_at_for_all_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._register()
        [run_id] = waiting(store, 1)
        looks = Looks(hosting, monkeypatch)
        await hosting._round()
        await hosting._runs._settle(run_id, 1)  # without its end on record
        await hosting._round()
        assert looks.own == [False, False]
        assert store.runs.find(run_id).attempt == 2


async def test_a_host_that_was_too_slow_for_a_run_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._register()
        looks = Looks(hosting, monkeypatch)
        mine, other = (ReservationRow("a", 1, name, 1, 1, 1, 0.0) for name in (hosting._incarnation, "other"))
        looks.found = [Given(lost=[other]), Given(lost=[mine])]
        await hosting._round()
        hosting._has_room()
        assert len(looks.own) == 1, "what another host lost is that one's to look for"
        await hosting._round()
        hosting._wake.clear()
        async with asyncio.timeout(60):
            await hosting._wake.wait()
        await hosting._round()
        assert looks.own == [False, True, True]


async def test_a_look_that_gave_out_all_it_saw_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._register()
        looks = Looks(hosting, monkeypatch)
        row = ReservationRow("a", 1, "other", 1, 1, 1, 0.0)
        looks.found = [Given([row] * run_queue.FRONT), Given([row])]
        for _ in range(3):
            await hosting._round()
        assert looks.own == [False, False]


async def test_runs_that_go_on_are_looked_after_though_the_queue_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        looked: list[str] = []

        def broken(*_: object, **_named: object) -> Given:
            raise KeyError("a queue that nobody foresaw")

        async def look() -> None:
            looked.append("runs")

        monkeypatch.setattr(hosting_module, "place", broken)
        monkeypatch.setattr(hosting._runs, "look", look)
        with pytest.raises(KeyError):
            await hosting._round()
        assert looked == ["runs"]


async def test_a_look_at_a_queue_that_waits_takes_few_statements(tmp_path: Path) -> None:
    """It reads no run that goes on, and no template that it knows."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(" ".join(statement.split()))

    with opened(tmp_path / "db") as store:
        hosting = hosting_of(store, tmp_path)
        hosting._register()
        waiting(store, 20)
        await hosting._round()
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
        try:
            hosting._place("")
        finally:
            sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    selects = [text for text in said if text.startswith(("SELECT vmkiln", "SELECT anon"))]
    assert len(selects) <= MOST_LOOK_STATEMENTS, selects
    assert not [text for text in selects if "vmkiln_resource.properties" in text]


async def test_dead_hosts_are_forgotten_though_no_host_starts(tmp_path: Path) -> None:
    settings = Settings(tmp_path, dead_hosts_kept_seconds=0.0)
    with opened(tmp_path / "db") as store:
        store.hosts.register(HostRow("dead", "other", "kiln", "x64", "", "", 1, 1024, 1024), lease_seconds=0.01)
        store.hosts.leave("dead")
        await asyncio.sleep(0.05)
        await Hosting(settings, store, HostDuties(build), HostIdentity("here"))._clean_up()
        assert store.hosts.all() == []
