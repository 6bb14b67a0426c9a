"""While the database's write lock is held elsewhere, and however many requests wait for it, what reads is answered."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from in_process import BASE, GROUP, SUBSCRIPTION, InProcess, TestAccess
from postgresql import cluster
from service_fixtures import living_service

from vmkiln.store.database import opened

WRITERS = 60  # more than there are threads, and connections
READS = (f"/subscriptions/{SUBSCRIPTION}/resourceGroups", f"/subscriptions/{SUBSCRIPTION}", "/readyz")


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "SQLite":
        yield tmp_path / "vmkiln.sqlite"
        return
    with cluster() as found:
        yield found.new_database()


async def asked(service: InProcess, reads_seconds: float, release: contextlib.ExitStack) -> list[httpx.Response]:
    headers = {"Authorization": "Bearer owner"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url=BASE) as client:

        async def put(number: int) -> httpx.Response:
            path = f"{GROUP}{number}?api-version=2024-11-01"
            return await client.put(path, json={"location": "westus2"}, headers=headers, timeout=60)

        writers = [asyncio.create_task(put(number)) for number in range(WRITERS)]
        await asyncio.sleep(1)
        assert not any(task.done() for task in writers)
        for path in READS:
            async with asyncio.timeout(reads_seconds):
                answer = await client.get(f"{path}?api-version=2024-11-01", headers=headers)
            assert answer.status_code in {200, 503}, path  # 503: its rounds do not get the lock either
        await asyncio.to_thread(release.close)
        return await asyncio.gather(*writers)


def test_reading_requests_do_not_wait_for_sixty_that_write(
    place: Path | str, tmp_path: Path, access: TestAccess
) -> None:
    with living_service(tmp_path, access, place) as service, opened(place, home=tmp_path) as other:
        with contextlib.ExitStack() as held:
            held.enter_context(other.connections.begin())
            answers = asyncio.run(asked(service, 5.0, held))
        assert {answer.status_code for answer in answers} == {201}
