"""A host that holds failed VMs takes what it is asked for, and a visit that fails ends that visit alone."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.errors import InputError
from vmkiln.fleet.visits import asked_shells
from vmkiln.fleet.visits.asked_shells import MOST_AT_ONCE, AskedShells
from vmkiln.host.host_id import host_id
from vmkiln.lifetime.rounds import Rounds
from vmkiln.settings import Settings
from vmkiln.shells import order
from vmkiln.shells.order import Meeting, Order
from vmkiln.store.database import Store, opened


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with opened(settings.database, keys=settings.home / "keys") as found:
        yield found


def ask(store: Store, settings: Settings, name: str) -> None:
    wanted = Order(name, f"run of {name}", Meeting("https://localhost"), "token", "key")
    store.shells.ask(name, host_id(settings), order.sealed(wanted, store.seal), seconds=60)


async def test_only_a_host_that_holds_something_looks(settings: Settings, store: Store) -> None:
    seen: list[str] = []

    async def visit(asked: Order) -> None:
        seen.append(asked.run_id)

    ask(store, settings, "a")
    shells = AskedShells(settings, store, visit, rounds=Rounds())
    async with asyncio.TaskGroup() as visits:
        await shells.look(visits)
    assert seen == []
    (settings.leases / "some run").mkdir(parents=True)
    async with asyncio.TaskGroup() as visits:
        await shells.look(visits)
        await shells.look(visits)
    assert seen == ["run of a"], "and once"


async def test_so_many_are_inside_at_once_and_others_wait(settings: Settings, store: Store) -> None:
    (settings.leases / "some run").mkdir(parents=True)
    leave, inside = asyncio.Event(), 0

    async def visit(_asked: Order) -> None:
        nonlocal inside
        inside += 1
        await leave.wait()

    for number in range(MOST_AT_ONCE + 3):
        ask(store, settings, str(number))
    shells = AskedShells(settings, store, visit, rounds=Rounds())
    async with asyncio.TaskGroup() as visits:
        for _ in range(3):
            await shells.look(visits)
            await asyncio.sleep(0.05)
        while inside < MOST_AT_ONCE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert inside == MOST_AT_ONCE
        leave.set()
    async with asyncio.TaskGroup() as visits:
        await shells.look(visits)
    assert inside == MOST_AT_ONCE + 3


async def test_a_visit_that_fails_is_told_and_the_host_goes_on(
    settings: Settings, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings.leases / "some run").mkdir(parents=True)
    monkeypatch.setattr(asked_shells, "LOOK_SECONDS", 0.01)
    errors = [InputError("somebody is in"), ConnectionRefusedError("no service"), TimeoutError(), ZeroDivisionError()]
    done = asyncio.Event()

    async def visit(_asked: Order) -> None:
        if errors:
            raise errors.pop(0)
        done.set()

    for number in range(len(errors) + 1):
        ask(store, settings, str(number))
    store.shells.ask("damaged", host_id(settings), "v1.x.y", seconds=90)
    serving = asyncio.create_task(AskedShells(settings, store, visit, rounds=Rounds()).serve())
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(60):
            await done.wait()
            while "damaged" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert "somebody is in" in caplog.text
    assert "no service" in caplog.text
    assert caplog.text.count("a visit to a failed VM failed") == 5
