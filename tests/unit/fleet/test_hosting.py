"""A host's own life, and how it looks after the runs that are its own."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened

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
