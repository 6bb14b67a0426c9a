"""A real build of the service is cancelled. `test_clients_build.py` has those that come to their end."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from in_process import (
    GROUP,
    TEMPLATE,
    InProcess,
    TestAccess,
    a_template,
    add_group,
    provisioned,
    started,
    wait_for,
)
from loop_thread import in_a_thread

from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.preparation import opened_store
from vmkiln.service import real_build
from vmkiln.settings import Settings

pytestmark = pytest.mark.vm
BUILD_SECONDS = 600


@pytest.fixture
def service(prepared: Settings, world: None) -> Iterator[InProcess]:
    """A service over the state of the tests, with real builds."""
    with opened_store(prepared, lambda _text: None) as store:
        builder = ImageBuilder(prepared, store, real_build(prepared, store))
        access = TestAccess({"owner": [("Owner", GROUP.rpartition("/resourceGroups")[0])]})

        async def serve(is_ready: Callable[[], None]) -> None:
            asyncio.get_running_loop().call_soon(is_ready)
            await builder.serve()

        with in_a_thread(serve, seconds=120):
            service = started(store, prepared.home, access, builder)
            add_group(service)
            yield service


def _status(service: InProcess) -> dict[str, Any]:
    return dict(service.get(TEMPLATE).json()["properties"].get("lastRunStatus", {}))


def _ended(service: InProcess) -> dict[str, Any] | None:
    status = _status(service)
    return None if not status or status["endTime"].startswith("0001") else status


def _delete(service: InProcess) -> None:
    assert service.request("DELETE", TEMPLATE).status_code == 202
    wait_for(lambda: service.get(TEMPLATE).status_code == 404)


def test_a_cancelled_build_leaves_nothing(service: InProcess) -> None:
    provisioned(service, TEMPLATE, a_template("sleep 600"))
    assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
    wait_for(lambda: _status(service).get("runSubState") == "Customizing", seconds=BUILD_SECONDS)
    assert service.request("POST", f"{TEMPLATE}/cancel").status_code == 204
    status = wait_for(lambda: _ended(service), seconds=60)
    assert status["runState"] == "Canceled"
    _delete(service)
