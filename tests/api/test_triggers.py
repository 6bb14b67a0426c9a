"""Triggers: a template runs when its source has a new version, and not again and again when that fails."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    GROUP,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    code_of,
    ended_run,
    provisioned,
    wait_for,
)

from vmkiln.api.virtual_machine_images import triggers
from vmkiln.provisioning import watching
from vmkiln.provisioning.watching import is_new
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.rows import AuditRow, ImageRow

TRIGGER = f"{TEMPLATE}/triggers/source"
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/base"
KIND = {"properties": {"kind": "SourceImage"}}


def publish(service: InProcess, version: str) -> None:
    store = service.service.store
    image = ImageRow(
        artifact_id=f"{DEFINITION}/versions/{version}",
        kind="SharedImage",
        path=Path("/nonexistent"),
        format="qcow2",
        digest="0" * 64,
        size_bytes=1,
        virtual_size_bytes=1,
        generation=1,
        os_type="Linux",
        source_version="",
        run_id="",
        tags={},
        detail={},
        created=store.now(),
    )
    store.images.add_version(image, definition_id=DEFINITION)


def template(*commands: str, **properties: Any) -> dict[str, Any]:
    source = {"type": "SharedImageVersion", "imageVersionId": f"{DEFINITION}/versions/latest"}
    return a_template(*commands, source=source, **properties)


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    publish(living, "1.0.0")
    return living


def test_a_new_version_of_the_source_runs_the_template(live: InProcess) -> None:
    provisioned(live, TEMPLATE, template())
    response = live.put(TRIGGER, KIND)
    assert response.status_code == 201
    status = response.json()["properties"]["status"]
    assert (status["code"], status["message"]) == ("Healthy", "Trigger is active.")
    assert "lastRunStatus" not in live.get(TEMPLATE).json()["properties"]
    publish(live, "1.0.1")
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded"
    runs = live.service.store.runs.of_template(TEMPLATE)
    assert [run.facts["reason"] for run in runs] == ["trigger source"]
    (act,) = wait_for(lambda: by_the_service(live))
    assert act.operation == "Microsoft.VirtualMachineImages/imageTemplates/run/action"
    assert dict(act.detail) == {"runId": runs[0].run_id, "reason": "trigger source"}
    assert act.correlation_id == runs[0].facts["correlation_id"]


def test_a_template_that_may_only_be_read_is_run_when_its_lock_has_gone(
    live: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    provisioned(live, TEMPLATE, template())
    assert live.put(TRIGGER, KIND).status_code == 201
    lock = f"{TEMPLATE}/providers/Microsoft.Authorization/locks/keep"
    assert live.put(lock, {"properties": {"level": "ReadOnly"}}).status_code == 201
    status = live.get(TRIGGER).json()["properties"]["status"]
    assert (status["code"], status["message"].endswith(f"locks are in their way: {TEMPLATE}.")) == ("Suspended", True)
    looked: list[list[str]] = []
    look = watching.look_at_sources
    monkeypatch.setattr(watching, "look_at_sources", lambda *given: looked.append(look(*given)) or looked[-1])
    publish(live, "1.0.1")
    before = len(looked)
    wait_for(lambda: len(looked) > before + 1)
    assert not any(looked), "held"
    assert live.request("DELETE", lock).status_code == 200
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded"


def by_the_service(service: InProcess) -> list[AuditRow]:
    """What the audit has of what vmkiln did by itself."""
    now = service.service.now()
    query = AuditQuery(SUBSCRIPTION, now - timedelta(hours=1), now, caller="vmkiln")
    return service.service.store.audit.find(query, limit=10)


def catalogue(version: str) -> str:
    url = f"https://example.org/{version}.qcow2"
    members = {"publisher": "Acme", "offer": "linux", "sku": "1", "recipe": "download", "format": "qcow2", "url": url}
    more = {"release": "1", "checksum_url": "SHA512SUMS", "signature": "none"}
    lines = [f'{name} = "{value}"' for name, value in {**members, **more}.items()]
    return "\n".join(["[[image]]", "generation = 1", *lines, ""])


def test_a_new_platform_image_in_the_catalogue_runs_the_template(live: InProcess) -> None:
    place = live.service.settings.catalogue
    place.write_text(catalogue("1"))
    source = {"type": "PlatformImage", "publisher": "Acme", "offer": "linux", "sku": "1", "version": "latest"}
    provisioned(live, TEMPLATE, a_template(source=source))
    assert live.put(TRIGGER, KIND).status_code == 201
    place.unlink()  # there is no such image for a while, which is no new version
    time.sleep(0.3)
    place.write_text(catalogue("1"))
    time.sleep(0.3)
    assert live.service.store.runs.of_template(TEMPLATE) == []
    place.write_text(catalogue("2"))
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded"
    runs = live.service.store.runs.of_template(TEMPLATE)
    assert [run.facts["reason"] for run in runs] == ["trigger source"]


@pytest.mark.parametrize(
    ("before", "now", "last_built", "is_it"),
    [
        ({"version": "1", "recipe": "a"}, {"version": "1", "recipe": "a"}, "", False),
        ({"version": "1", "recipe": "a"}, {"version": "2", "recipe": "a"}, "", True),
        ({"version": "1", "recipe": "a"}, {"version": "1", "recipe": "b"}, "1", True),
        ({"version": "1", "recipe": "a"}, {"version": "2", "recipe": "a"}, "2", False),
        ({"version": "1", "recipe": "a"}, {"version": "", "recipe": "a"}, "", False),
        ({"version": "", "recipe": "a"}, {"version": "1", "recipe": "a"}, "1", False),
    ],
)
def test_a_version_is_new_when_no_run_had_it(
    before: dict[str, str], now: dict[str, str], last_built: str, is_it: bool
) -> None:
    assert is_new(before, now, last_built=last_built) is is_it


def test_after_several_failures_only_a_run_by_hand_helps(live: InProcess, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    provisioned(live, TEMPLATE, template(f"fail while {broken}"))
    live.put(TRIGGER, KIND)
    for number in range(1, 4):
        publish(live, f"1.0.{number}")
        wait_for(lambda count=number: len(live.service.store.runs.of_template(TEMPLATE)) == count)
        ended_run(live, TEMPLATE)
    status = live.get(TRIGGER).json()["properties"]["status"]
    assert status["code"] == "Suspended"
    publish(live, "1.0.9")
    before = live.service.store.runs.of_template(TEMPLATE)
    later = before[0].started + timedelta(seconds=1)
    wait_for(lambda: live.service.now() > later)
    assert len(live.service.store.runs.of_template(TEMPLATE)) == len(before)
    broken.unlink()
    assert live.request("POST", f"{TEMPLATE}/run").status_code == 202
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded"
    assert live.get(TRIGGER).json()["properties"]["status"]["code"] == "Healthy"
    publish(live, "1.1.0")
    wait_for(lambda: len(live.service.store.runs.of_template(TEMPLATE)) > len(before) + 1)
    assert live.service.store.runs.of_template(TEMPLATE)[0].facts["reason"] == "trigger source"
    ended_run(live, TEMPLATE)


def test_a_trigger_is_read_listed_and_deleted(live: InProcess) -> None:
    provisioned(live, TEMPLATE, template())
    live.put(TRIGGER, KIND)
    assert live.put(TRIGGER, KIND).status_code == 200
    assert [item["name"] for item in live.get(f"{TEMPLATE}/triggers").json()["value"]] == ["source"]
    second = live.put(f"{TEMPLATE}/triggers/second", KIND)
    assert (second.status_code, code_of(second)) == (409, "Conflict")
    deleted = live.request("DELETE", TRIGGER)
    assert deleted.status_code == 202
    assert live.get(deleted.headers["Location"], api_version=None).status_code in {204, 404}
    assert live.get(TRIGGER).status_code == 404
    assert live.request("DELETE", TRIGGER).status_code == 204


def test_a_region_has_so_many_triggers(live: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "MOST_IN_REGION", 1)
    other = f"{TEMPLATE}2"
    for path in (TEMPLATE, other):
        provisioned(live, path, template())
    assert live.put(TRIGGER, KIND).status_code == 201
    full = live.put(f"{other}/triggers/source", KIND)
    assert (full.status_code, code_of(full)) == (409, "QuotaExceeded")
    assert live.request("DELETE", TRIGGER).status_code == 202
    assert live.put(f"{other}/triggers/source", KIND).status_code == 201


@pytest.mark.parametrize(
    ("body", "changes", "word"),
    [
        ({"properties": {}}, {}, "Missing field kind"),
        ({"properties": {"kind": "Other"}}, {}, "Other"),
        ({**KIND, "location": "eastus"}, {}, "westus2"),
        (KIND, {"source": {"type": "SharedImageVersion", "imageVersionId": f"{DEFINITION}/versions/1.0.0"}}, "latest"),
        (
            KIND,
            {"distribute": [{"type": "SharedImage", "runOutputName": "o", "galleryImageId": DEFINITION}]},
            "another image definition",
        ),
    ],
)
def test_what_a_trigger_cannot_watch_is_refused(
    live: InProcess, body: dict[str, Any], changes: dict[str, Any], word: str
) -> None:
    provisioned(live, TEMPLATE, {**template(), "properties": {**template()["properties"], **changes}})
    response = live.put(TRIGGER, body)
    assert (response.status_code, code_of(response)) == (400, "ValidationFailed")
    assert word in response.text


def test_triggers_are_of_no_version_before_they_existed(service: InProcess) -> None:
    response = service.get(TRIGGER, api_version="2021-10-01")
    assert (response.status_code, code_of(response)) == (400, "InvalidApiVersionParameter")


def test_the_provider_lists_its_operations(service: InProcess) -> None:
    found = service.get("/providers/Microsoft.VirtualMachineImages/operations").json()["value"]
    assert "Microsoft.VirtualMachineImages/imageTemplates/run/action" in [item["name"] for item in found]


def test_two_triggers_that_are_put_at_once_are_one(live: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked before either is recorded."""
    provisioned(live, TEMPLATE, template())
    together = threading.Barrier(2, timeout=20)
    seen_now = triggers.seen_now

    def after_both_looked(*arguments: Any) -> Any:
        together.wait()
        return seen_now(*arguments)

    monkeypatch.setattr(triggers, "seen_now", after_both_looked)
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda name: live.put(f"{TEMPLATE}/triggers/{name}", KIND), ["one", "two"]))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    [kept] = live.get(f"{TEMPLATE}/triggers").json()["value"]
    [made] = [answer.json()["name"] for answer in answers if answer.status_code == 201]
    assert kept["name"] == made


def test_a_catalogue_that_cannot_be_read_stops_no_other_trigger(
    live: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    place = live.service.settings.catalogue
    place.write_text(catalogue("1"))
    source = {"type": "PlatformImage", "publisher": "Acme", "offer": "linux", "sku": "1", "version": "latest"}
    other = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/aaa"
    provisioned(live, other, a_template(source=source))
    assert live.put(f"{other}/triggers/source", KIND).status_code == 201
    provisioned(live, TEMPLATE, template())
    assert live.put(TRIGGER, KIND).status_code == 201
    place.write_bytes(b'[[image]]\npublisher = "Caf\xe9"\n')
    wait_for(lambda: f"{place}: line 2 is not UTF-8 text" in caplog.text)
    publish(live, "1.0.1")
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded", "the template after it in the list is looked at"
    place.write_text(catalogue("2"))
    assert ended_run(live, other)["runState"] == "Succeeded", "and when it can be read again, all goes on"
