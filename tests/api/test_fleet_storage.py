"""A service and another host of its fleet: two state directories, one database, one shared directory."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from in_process import (
    IMAGE,
    TEMPLATE,
    InProcess,
    TestAccess,
    a_template,
    add_group,
    ended_run,
    provisioned,
    started,
    wait_for,
)
from service_fixtures import working
from stub_build import stub_build

from vmkiln.blobs.blob_storage import account_of
from vmkiln.fleet.image_builder import ImageBuilder, queued_run
from vmkiln.images.image_store import sha256_of
from vmkiln.settings import Settings
from vmkiln.sharing import shared_storage
from vmkiln.sharing.object_store import open_object_store
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.store.database import opened

RUNS = f"{TEMPLATE}/providers/Vmkiln.Builds/runs"


@dataclass
class Fleet:
    """The service, whose runs go on elsewhere; `shared` is what the other host shares with it."""

    service: InProcess
    shared: SharedStorage


@pytest.fixture
def fleet(tmp_path: Path, access: TestAccess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setattr(shared_storage, "LOGS_SECONDS", 0.05)
    (tmp_path / "shared").mkdir()
    objects = open_object_store((tmp_path / "shared").as_uri(), {})
    here, there = Settings(tmp_path / "service"), Settings(tmp_path / "host")
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(opened(tmp_path / "db", home=here.home))
        theirs = stack.enter_context(opened(tmp_path / "db", home=there.home))
        shared = SharedStorage(there, theirs, objects)
        build = stub_build(there, theirs, shared=shared)
        builder = ImageBuilder(there, theirs, build, watch_seconds=0.1, shared=shared)
        stack.enter_context(working(builder))
        service = started(mine, here.home, access, builder, shared=SharedStorage(here, mine, objects))
        add_group(service)
        yield Fleet(service, shared)
        service.settled()


def log_of(service: InProcess) -> dict[str, object]:
    """The newest run's log as far as it is."""
    runs = service.get(RUNS).json()["value"]
    return dict(service.get(f"{RUNS}/{runs[0]['name']}/log").json())


def test_the_log_of_a_run_on_another_host_is_followed_live_and_to_its_end(fleet: Fleet) -> None:
    service = fleet.service
    provisioned(service, TEMPLATE, a_template("said early", "wait"))
    assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
    wait_for(lambda: service.get(RUNS).json()["value"][0]["properties"]["runSubState"] == "Customizing")
    early = wait_for(lambda: (found := log_of(service))["lines"] and found)
    assert "said early" in early["lines"][0]
    assert early["isComplete"] is False
    assert service.request("POST", f"{TEMPLATE}/cancel").status_code in {202, 204}
    ended_run(service, TEMPLATE)
    whole = log_of(service)
    assert whole["isComplete"] is True
    assert "Done exporting" in whole["lines"][-1]
    message = service.get(TEMPLATE).json()["properties"]["lastRunStatus"]["message"]
    assert "canceled" in message.lower() or "cancelled" in message.lower()


def test_a_log_is_not_said_to_be_complete_while_the_store_is_away(fleet: Fleet, tmp_path: Path) -> None:
    service = fleet.service
    provisioned(service, TEMPLATE, a_template("text"))
    service.request("POST", f"{TEMPLATE}/run")
    ended_run(service, TEMPLATE)
    (tmp_path / "shared").rename(tmp_path / "away")
    (tmp_path / "shared").write_bytes(b"no directory")
    assert log_of(service)["isComplete"] is False
    (tmp_path / "shared").unlink()
    (tmp_path / "away").rename(tmp_path / "shared")
    assert log_of(service)["isComplete"] is True


def test_an_image_of_another_host_is_had_here_and_deleted_everywhere(fleet: Fleet, tmp_path: Path) -> None:
    service = fleet.service
    provisioned(service, TEMPLATE, a_template("publish"))
    service.request("POST", f"{TEMPLATE}/run")
    assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
    image = service.service.store.images.find(IMAGE)
    assert image is not None
    assert service.service.shared is not None
    service.service.shared.images.fetch(image)
    assert image.path.is_relative_to(service.service.settings.home)
    assert sha256_of(image.path) == image.digest
    assert len(list((tmp_path / "shared").rglob("*.qcow2"))) == 1
    assert service.request("DELETE", IMAGE, api_version="2024-07-01").status_code in {200, 202}
    wait_for(lambda: list((tmp_path / "shared").rglob("*.qcow2")) == [])


def test_deleting_a_template_deletes_its_shared_files(fleet: Fleet, tmp_path: Path) -> None:
    service = fleet.service
    provisioned(service, TEMPLATE, a_template("text"))
    service.request("POST", f"{TEMPLATE}/run")
    ended_run(service, TEMPLATE)
    assert list((tmp_path / "shared/staging").rglob("*/customization.log/0001/000000"))
    service.request("DELETE", TEMPLATE)
    wait_for(lambda: service.get(TEMPLATE).status_code == 404)
    assert list((tmp_path / "shared/staging").rglob("*/customization.log")) == []


def test_a_second_attempt_publishes_as_the_second(fleet: Fleet) -> None:
    service, store = fleet.service, fleet.service.service.store
    provisioned(service, TEMPLATE, a_template("publish"))
    row = store.resources.get(TEMPLATE)
    assert row is not None
    run = queued_run(row, run_id=str(uuid.uuid4()), reason="request")
    assert store.runs.queue(replace(run, facts={**run.facts, "attempt": 2}))
    service.builder.queued(run.run_id)
    assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
    image = store.images.find(IMAGE)
    assert image is not None
    assert image.detail["object"] == f"images/{run.run_id}/0002/{image.digest}.qcow2"
    assert image.path.parent.name.endswith(f"-{run.run_id[:8]}-2")


def test_scripts_of_the_service_are_on_the_host_before_its_run_starts(fleet: Fleet) -> None:
    service, shared = fleet.service, fleet.service.service.shared
    provisioned(service, TEMPLATE, a_template("text"))
    blob = {"copies": {"properties.customize[0].scriptUri": "scripts/0000-a.sh"}}
    row = service.service.store.resources.change(TEMPLATE, lambda old: replace(old, state={**old.state, **blob}))
    assert row is not None
    assert shared is not None
    account = account_of(service.service.settings, row.state["staging_group"])
    account.blob("scripts/0000-a.sh").write_bytes(b"echo a")
    shared.push_submission(row.state["staging_group"])
    service.request("POST", f"{TEMPLATE}/run")
    assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
