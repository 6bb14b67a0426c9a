"""Fixtures of a service in this process, for the tests of the API and of the portal."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import blocking_calls
import pytest
from in_process import OTHER_SUBSCRIPTION, SUBSCRIPTION, InProcess, RecordedWork, TestAccess, started
from loop_thread import in_a_thread
from stub_build import stub_build

from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.sealing.key_ring import keys_beside
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.engine import MOST_READERS, MOST_WRITERS


@pytest.fixture(autouse=True)
def no_loop_waits() -> Iterator[None]:
    """No event loop waits for anything in any of these tests, or in the service that they ask."""
    with blocking_calls.no_loop_waits():
        yield


@pytest.fixture
def access() -> TestAccess:
    """Roles that a test may change."""
    return some_access()


def some_access() -> TestAccess:
    """`owner`, `contributor` and `reader` of SUBSCRIPTION, `stranger` owns the other one, `root` owns all."""
    here, there = f"/subscriptions/{SUBSCRIPTION}", f"/subscriptions/{OTHER_SUBSCRIPTION}"
    return TestAccess(
        {
            "owner": [("Owner", here)],
            "contributor": [("Contributor", here)],
            "reader": [("Reader", here)],
            "stranger": [("Owner", there)],
            "root": [("Owner", "/")],
        }
    )


@pytest.fixture
def service(tmp_path: Path, access: TestAccess) -> Iterator[InProcess]:
    """A service whose own work is only recorded."""
    with opened(tmp_path / "vmkiln.sqlite") as store:
        found = started(store, tmp_path, access, RecordedWork())
        yield found
        found.settled()


@pytest.fixture
def living(tmp_path: Path, access: TestAccess) -> Iterator[InProcess]:
    """A service that does its own work, with builds that need no virtual machines."""
    with living_service(tmp_path, access, tmp_path / "vmkiln.sqlite") as found:
        yield found


@contextlib.contextmanager
def living_service(
    home: Path, access: TestAccess, place: Path | str, *, private_servers: str = ""
) -> Iterator[InProcess]:
    """Such a service, with its database in a place."""
    with opened(place, keys=keys_beside(home)) as store:
        url = place if isinstance(place, str) else ""
        settings = Settings(home, database_url=url, private_servers=private_servers)
        builder = ImageBuilder(settings, store, stub_build(settings, store), watch_seconds=0.1)
        with working(builder):
            found = started(store, home, access, builder)
            yield found
            found.settled()


def fill_pool(store: Store) -> None:
    """Open every connection that the store keeps, for a service that outlives a test: none is opened later."""
    with contextlib.ExitStack() as connections:
        for engine, count in zip(store.connections.engines, (MOST_WRITERS, MOST_READERS, 1), strict=True):
            for _ in range(count):
                connections.enter_context(engine.connect())


@contextlib.contextmanager
def working(builder: ImageBuilder) -> Iterator[None]:
    """Let it do its work in a thread while the block lasts."""

    async def serve(is_ready: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(is_ready)
        await builder.serve()

    with in_a_thread(serve):
        yield
