"""The service builds for real: an image template over the API, to a managed image that is there."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    GROUP,
    IMAGE,
    TEMPLATE,
    Service,
    TestAccess,
    a_template,
    add_group,
    provisioned,
    started,
    wait_for,
)
from loop_thread import in_a_thread

from vmkiln.run.image_builder import ImageBuilder
from vmkiln.service import opened_store
from vmkiln.serving import real_build
from vmkiln.settings import Settings

pytestmark = pytest.mark.vm
BUILD_SECONDS = 600


@pytest.fixture
def service(prepared: Settings, world: None) -> Iterator[Service]:
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


def _status(service: Service) -> dict[str, Any]:
    return dict(service.get(TEMPLATE).json()["properties"].get("lastRunStatus", {}))


def _ended(service: Service) -> dict[str, Any] | None:
    status = _status(service)
    return None if not status or status["endTime"].startswith("0001") else status


def _delete(service: Service) -> None:
    assert service.request("DELETE", TEMPLATE).status_code == 202
    wait_for(lambda: service.get(TEMPLATE).status_code == 404)


def test_an_image_is_built_twice_from_one_template_and_all_goes_with_it(service: Service) -> None:
    provisioned(service, TEMPLATE, a_template("echo built >/tmp/x", "echo in the log"))
    for _ in range(2):
        assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
        status = wait_for(lambda: _ended(service), seconds=BUILD_SECONDS)
        assert (status["runState"], status["message"]) == ("Succeeded", "")
    outputs = service.get(f"{TEMPLATE}/runOutputs").json()["value"]
    assert outputs[0]["properties"]["artifactId"] == IMAGE
    store = service.parts.store
    image = store.image(IMAGE)
    assert image is not None
    assert Path(image.path).is_file()
    runs = store.runs_of_template(TEMPLATE)
    assert len({run.staging_group for run in runs}) == 1
    group = next(row for row in store.list_staging_groups() if row.name == runs[0].staging_group)
    logs = service.parts.settings.staging / group.name / group.storage_account / "packerlogs"
    for run in runs:
        assert "in the log" in (logs / run.run_id / "customization.log").read_text(errors="replace")
    _delete(service)
    assert not (service.parts.settings.staging / group.name).exists()


def test_a_cancelled_build_leaves_nothing(service: Service) -> None:
    provisioned(service, TEMPLATE, a_template("sleep 600"))
    assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
    wait_for(lambda: _status(service).get("runSubState") == "Customizing", seconds=BUILD_SECONDS)
    assert service.request("POST", f"{TEMPLATE}/cancel").status_code == 204
    status = wait_for(lambda: _ended(service), seconds=60)
    assert status["runState"] == "Canceled"
    _delete(service)
