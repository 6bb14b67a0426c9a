"""Attempts of runs as durable workflows, on the real engine."""

import asyncio
import contextlib
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from vmkiln.fleet import durable_attempts
from vmkiln.fleet.durable_attempts import Attempts

AttemptStep = Callable[[str, int], Awaitable[None]]


async def nothing(_run_id: str, _attempt: int) -> None:
    """No work."""


@contextlib.asynccontextmanager
async def an_engine(
    tmp_path: Path, *, incarnation: str = "incarnation", build: AttemptStep = nothing, settle: AttemptStep = nothing
) -> AsyncIterator[Attempts]:
    async with durable_attempts.opened(
        tmp_path / "engine.sqlite", incarnation=incarnation, build=build, settle=settle
    ) as found:
        yield found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_its_file_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with an_engine(tmp_path):
            assert stat.S_IMODE((tmp_path / "engine.sqlite").stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_an_attempt_is_begun_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    built: list[tuple[str, int]] = []
    settled: list[tuple[str, int]] = []

    async def build(run_id: str, attempt: int) -> None:
        assert threading.current_thread() is threading.main_thread(), "the work is done on our own loop"
        built.append((run_id, attempt))

    async def settle(run_id: str, attempt: int) -> None:
        settled.append((run_id, attempt))

    async with an_engine(tmp_path, build=build, settle=settle) as attempts:
        await asyncio.gather(*(attempts.begin("run", 1) for _ in range(5)))
        await attempts.begin("run", 2)
        await until(lambda: len(settled) == 2)
        assert sorted(built) == sorted(settled) == [("run", 1), ("run", 2)]
    async with an_engine(tmp_path, incarnation="next", build=build, settle=settle) as attempts:
        await attempts.begin("run", 1)
        assert await attempts.steps("run", 1) == ["build", "settle"]
    assert len(built) == 2, "nor by the next start"


@pytest.mark.parametrize("is_tamed", [True, False])
async def test_the_engine_does_not_look_each_second_for_what_nobody_asks_of_it(
    is_tamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = {"queue": 0, "late": 0, "queues": 0, "schedules": 0, "rounds": 0}

    def none(**_asked: object) -> list[object]:
        looks["rounds"] += 1
        return []

    monkeypatch.setattr(durable_attempts, "_none", none)  # it is asked each second, and asks nobody

    def asked(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if threading.current_thread().name.startswith("queue-worker"):
            looks["queue"] += 1
        elif threading.current_thread().name == "dbos-background-jobs":
            looks["late"] += 1
        elif "queues.queue_id" in statement:
            looks["queues"] += 1
        elif "workflow_schedules" in statement and statement.startswith("SELECT"):
            looks["schedules"] += 1

    if not is_tamed:
        monkeypatch.setattr(durable_attempts, "QUEUE_SECONDS", 0.5)
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", asked)
    try:
        async with an_engine(tmp_path) as attempts:
            await attempts.begin("run", 1)
            await until(lambda: looks["rounds"] >= 8)
            assert looks["queues"] <= 2, "when it starts"
            assert looks["schedules"] <= 1, "when it starts, and not each second of its first minute"
            assert (looks["queue"] == 0) == is_tamed
            assert (looks["late"] <= 2) == is_tamed, "two statements, once"
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", asked)


async def test_settling_is_repeated_until_it_works(tmp_path: Path) -> None:
    tries: list[int] = []

    async def settle(_run_id: str, _attempt: int) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("the database is away")

    async with an_engine(tmp_path, settle=settle) as attempts:
        await attempts.begin("run", 1)
        await until(lambda: len(tries) == 3)


async def test_an_attempt_whose_process_died_is_not_resumed(tmp_path: Path) -> None:
    """Its disks are gone with it: the run gets a new attempt, and the old one is fenced."""
    built: list[str] = []
    is_over = asyncio.Event()

    async def hangs(run_id: str, _attempt: int) -> None:
        built.append(run_id)
        await is_over.wait()

    async with an_engine(tmp_path, incarnation="dies", build=hangs) as attempts:
        await attempts.begin("run", 1)
        await until(lambda: built == ["run"])
        attempts.dbos.destroy(destroy_registry=True)  # as if it had been killed: nothing is recorded any more
        is_over.set()
    async with an_engine(tmp_path, incarnation="next", build=hangs) as attempts:
        await asyncio.sleep(0.5)
        await attempts.fence("run", 1)
        await attempts.begin("run", 1)
        await attempts.begin("other", 1)
        await until(lambda: "other" in built)
    assert built == ["run", "other"]


async def test_old_attempts_are_forgotten_and_new_ones_kept(tmp_path: Path) -> None:
    settled: list[str] = []

    async def settle(run_id: str, _attempt: int) -> None:
        settled.append(run_id)

    async with an_engine(tmp_path, settle=settle) as attempts:
        await attempts.begin("run", 1)
        await until(lambda: settled == ["run"])
    async with an_engine(tmp_path) as attempts:
        assert await attempts.forget() == 0
        assert await attempts.forget(now=time.time() + durable_attempts.KEPT_SECONDS + 60) == 1
        assert await attempts.steps("run", 1) == []


async def test_a_start_that_is_cancelled_leaves_no_engine_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    for pause in (0.0, 0.01, 0.05):
        task = asyncio.create_task(_opened_for_ever(tmp_path))
        await asyncio.sleep(pause)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with an_engine(tmp_path):
        pass
    await until(lambda: threading.active_count() <= before + 2)  # asyncio's own threads stay


async def _opened_for_ever(tmp_path: Path) -> None:
    async with an_engine(tmp_path):
        await asyncio.Event().wait()
