"""A copied state directory is refused by name while its origin is at work, and nowhere else."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql import Cluster, cluster

from vmkiln.errors import InputError
from vmkiln.fleet import cloned_host
from vmkiln.fleet.attempt import HostDuties
from vmkiln.fleet.cloned_host import refuse_clone
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.host import host_id
from vmkiln.service import take_runs
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened

LEASE_SECONDS = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def settings(server: Cluster, tmp_path: Path) -> Settings:
    (tmp_path / "origin").mkdir()
    return Settings(tmp_path / "origin", database_url=server.new_database())


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with opened(settings.database_address, home=settings.home) as found:
        yield found


def duties() -> HostDuties:
    async def build(*_: object) -> None:
        raise AssertionError

    return HostDuties(build)


@contextlib.asynccontextmanager
async def at_work(settings: Settings, store: Store, name: str) -> AsyncIterator[None]:
    identity = HostIdentity(name, lease_seconds=LEASE_SECONDS)
    hosting = Hosting(settings, store, duties(), identity)
    serving = asyncio.create_task(hosting.serve())
    try:
        await hosting.is_at_work.wait()
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving])


def copied(settings: Settings, home: Path) -> Settings:
    shutil.copytree(settings.home, home)
    return Settings(home, database_url=settings.database_url)


async def test_a_copy_is_refused_by_name_and_its_origin_goes_on(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    async with at_work(settings, store, "kiln1"):
        copy = copied(settings, tmp_path / "copy")
        with pytest.raises(InputError, match="the host kiln1 is at work on another machine") as raised:
            await take_runs(copy, store, duties(), HostIdentity("kiln2", lease_seconds=LEASE_SECONDS))
        assert f"delete {copy.home / 'host-id'}" in str(raised.value.hint)
        assert [host.name for host in store.hosts.live()] == ["kiln1"]
        (copy.home / "host-id").unlink()
        async with at_work(copy, store, "kiln2"):
            await refuse_clone(copy, store)
            assert [host.name for host in store.hosts.live()] == ["kiln1", "kiln2"]


async def test_a_machine_that_was_started_anew_waits_for_its_own_lease(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloned_host, "LOOK_SECONDS", 0.02)
    async with at_work(settings, store, "kiln1"):
        pass
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("another boot")
    monkeypatch.setattr(host_id, "BOOT_ID", boot_id)
    await asyncio.wait_for(refuse_clone(settings, store), 60)
    row = store.hosts.all()[0]
    store.hosts.register(replace(row, incarnation="killed", is_dead=False), lease_seconds=0.5)
    store.origins.record("killed", host_id=row.host_id, mark="kiln1 a before f")
    assert store.origins.elsewhere(row.host_id, mark="kiln1 a after f") is not None
    await asyncio.wait_for(refuse_clone(settings, store), 60)
    assert store.hosts.live() == [], "its lease has run out, for nobody renewed it"


async def test_the_same_machine_starts_anew_at_once(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waited(_seconds: float) -> None:
        raise AssertionError

    async with at_work(settings, store, "kiln1"):
        with monkeypatch.context() as patch:
            patch.setattr(cloned_host.asyncio, "sleep", waited)
            await refuse_clone(settings, store)


async def test_a_database_in_the_state_directory_is_copied_with_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    with opened(settings.database) as store:
        async with at_work(settings, store, "here"):
            store.origins.record("x", host_id="y", mark="z")
            await refuse_clone(settings, store)
