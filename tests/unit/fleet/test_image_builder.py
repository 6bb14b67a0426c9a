"""What an image builder counts, and what it does with what fails."""

import asyncio
import contextlib
import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from vmkiln.fleet import image_builder
from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.fleet.operation_turns import MOST_AT_ONCE, MOST_OF_A_SUBSCRIPTION
from vmkiln.provisioning import provisioning
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.store.tables import operations, runs


async def build(*_: object) -> None:
    raise AssertionError


def test_a_run_is_counted_once_however_many_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both used to find it uncounted, while the other one still read its phases."""
    with opened(tmp_path / "db") as store:

        async def build(*_: object) -> None:
            raise AssertionError

        builder = ImageBuilder(Settings(tmp_path), store, build)
        now = utc_now()
        store.runs.add(RunRow("r1", "web", "rg", {}, "Succeeded", "", "", "", "", {}, now, utc_now(), ""))
        together = threading.Barrier(2)
        phases_of = store.runs.phases_of

        def slowly(run_id: str) -> object:
            with contextlib.suppress(threading.BrokenBarrierError):  # nobody else came: one after the other
                together.wait(0.5)
            return phases_of(run_id)

        class Asked(dict[str, datetime]):
            """Who finds a run uncounted waits for the other one, to find it so too."""

            def __contains__(self, run_id: object) -> bool:
                is_counted = super().__contains__(run_id)
                with contextlib.suppress(threading.BrokenBarrierError):
                    together.wait(0.5)
                return is_counted

        builder._counted = Asked()
        monkeypatch.setattr(store.runs, "phases_of", slowly)
        threads = [threading.Thread(target=lambda: builder.tally) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert dict(builder.tally.ended) == {("Succeeded", ""): 1}


def test_no_run_is_counted_twice_whatever_the_clock_does(tmp_path: Path) -> None:
    now = [utc_now()]
    with opened(tmp_path / "db", clock=lambda: now[0]) as store:
        builder = ImageBuilder(Settings(tmp_path), store, build)

        def ended(run_id: str, state: str, **facts: Any) -> None:
            store.runs.add(RunRow(run_id, "web", "rg", {}, state, "", "", "", "", facts, now[0], now[0], ""))

        now[0] += timedelta(minutes=1)
        ended("r1", "Succeeded")
        assert builder.tally.ended.total() == 1
        now[0] += timedelta(hours=1)
        assert builder.tally.ended.total() == 1
        now[0] -= timedelta(hours=1)
        assert builder.tally.ended.total() == 1, "the clock went back"
        now[0] += timedelta(hours=2)
        ended("r2", "Succeeded", ended_before=(now[0] - timedelta(hours=1)).isoformat())
        ended("r3", "Failed", ended_before=(now[0] - timedelta(days=1)).isoformat())
        assert dict(builder.tally.ended) == {("Succeeded", ""): 1, ("Failed", ""): 1}, "it went on after it was lost"


def templates_to_provision(store: Store, count: int, *, subscription: str = "s") -> None:
    for number in range(count):
        store.operations.begin(
            "provision", subscription_id=subscription, location="local", resource_id=f"/{subscription}/t{number}"
        )


async def test_however_many_templates_are_put_few_are_provisioned_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait in the database, other subscriptions do not wait for them, and none is lost."""
    now, most = Counter[str](), Counter[str]()
    done: list[str] = []

    async def provision(_settings: object, _store: object, template_id: str, **_: object) -> dict[str, Any]:
        owner = template_id.split("/")[1]
        now[owner] += 1
        most[owner] = max(most[owner], now[owner])
        most["all"] = max(most["all"], now.total())
        await asyncio.sleep(0.005)
        now[owner] -= 1
        done.append(template_id)
        return {}

    monkeypatch.setattr(provisioning, "provision", provision)
    with opened(tmp_path / "db") as store:
        templates_to_provision(store, 60)
        templates_to_provision(store, 2, subscription="late")
        builder = ImageBuilder(Settings(tmp_path), store, build)
        serving = asyncio.create_task(builder.serve())
        async with asyncio.timeout(60):
            while store.operations.open_ones():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        serving.cancel()
        await asyncio.wait([serving])
        assert len(done) == len(set(done)) == 62
        assert most["s"] == MOST_OF_A_SUBSCRIPTION
        assert most["all"] <= MOST_AT_ONCE
        assert max(done.index("/late/t0"), done.index("/late/t1")) < 20


async def test_templates_that_always_fail_keep_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Counter[str]()

    async def provision(_settings: object, _store: object, template_id: str, **_: object) -> dict[str, Any]:
        tried[template_id] += 1
        if int(template_id.rpartition("t")[2]) < 20:
            raise RuntimeError("nobody foresaw this")
        return {}

    monkeypatch.setattr(provisioning, "provision", provision)
    monkeypatch.setattr(image_builder, "LOOK_SECONDS", 0.05)
    with opened(tmp_path / "db") as store:
        templates_to_provision(store, 25)
        builder = ImageBuilder(Settings(tmp_path), store, build)
        serving = asyncio.create_task(builder.serve())
        async with asyncio.timeout(60):
            while len(store.operations.open_ones()) > 20:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        serving.cancel()
        await asyncio.wait([serving])
        assert builder.rounds.failures()["provision"] >= 20
        assert max(tried.values()) <= 2, "what fails is not tried again at once"


async def test_a_service_forgets_old_requests_and_old_runs_by_itself(tmp_path: Path) -> None:
    now = [utc_now() - timedelta(days=1000)]
    with opened(tmp_path / "db", clock=lambda: now[0]) as store:
        where = {"subscription_id": "s", "location": "l", "resource_id": "/s/t"}
        store.operations.begin("update", is_done=True, **where)
        kept = store.operations.begin("delete_group", **where)
        store.runs.add(RunRow("r1", "web", "rg", {}, "Succeeded", "", "", "", "", {}, now[0], now[0], ""))
        now[0] = utc_now()
        serving = asyncio.create_task(ImageBuilder(Settings(tmp_path), store, build).serve())
        async with asyncio.timeout(60):
            while count_of(store) != (1, 0):  # noqa: ASYNC110 (another thread does it)
                await asyncio.sleep(0.05)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        assert store.operations.get(kept.operation_id) is not None


def count_of(store: Store) -> tuple[int, int]:
    with store.connections.reading() as connection:
        found = [connection.execute(sa.select(sa.func.count()).select_from(table)) for table in (operations, runs)]
        return found[0].scalar_one(), found[1].scalar_one()
