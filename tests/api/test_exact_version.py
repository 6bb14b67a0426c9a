"""`exactVersion` of a source: as Azure tells it, before a run, after one, and for versions nobody has."""

from collections.abc import Iterator
from typing import Any

import pytest
from image_server import ImageServer, serving
from in_process import TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned, wait_for

CATALOGUE = """
[[image]]
recipe = "download"
format = "qcow2"
generation_1 = ["Acme:golden:1"]
url = "{address}/release/disk.qcow2"
checksum_url = "SHA256SUMS"
index_url = "../"
build_url = "../release-{{build}}/disk.qcow2"
build_version = "7.{{0}}.{{1}}"
plan = {{ name = "gold", product = "golden", publisher = "acme" }}
"""
SOURCE = {"type": "PlatformImage", "publisher": "Acme", "offer": "golden", "sku": "1"}


@pytest.fixture
def server(living: InProcess) -> Iterator[ImageServer]:
    with serving() as running:
        running.files["/"] = b'<a href="release-20260705.1/">release-20260705.1/</a><a href="release-20260601/">r</a>'
        living.service.settings.catalogue.write_text(CATALOGUE.format(address=running.address))
        add_group(living)
        yield running


def template(**source: Any) -> dict[str, Any]:
    body: dict[str, Any] = a_template("publish")
    body["properties"]["source"] = {**SOURCE, **source}
    return body


def exact(living: InProcess) -> str:
    return str(living.get(TEMPLATE).json()["properties"]["source"].get("exactVersion"))


def test_the_latest_is_told_as_latest_until_a_run_had_it(living: InProcess, server: ImageServer) -> None:
    made = living.put(TEMPLATE, template(version="latest"))
    assert made.json()["properties"]["source"]["exactVersion"] == "latest"
    wait_for(lambda: living.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded")
    assert exact(living) == "latest"
    living.request("POST", f"{TEMPLATE}/run")
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded"
    assert exact(living) == "1.2.3", "the version that the run had"
    again = living.put(TEMPLATE, template(version="latest"))
    assert again.status_code == 200, "what is told is not what was written"


def test_a_version_that_was_written_is_told_as_it_was(living: InProcess, server: ImageServer) -> None:
    provisioned(living, TEMPLATE, template(version="7.20260601.0"))
    assert exact(living) == "7.20260601.0"


def failed(living: InProcess, body: dict[str, Any]) -> dict[str, Any]:
    living.put(TEMPLATE, body)
    found = wait_for(lambda: living.get(TEMPLATE).json()["properties"].get("provisioningError"))
    return dict(found)


def test_a_version_that_the_publisher_lacks_is_not_provisioned(living: InProcess, server: ImageServer) -> None:
    told = failed(living, template(version="7.20260704.0"))
    assert told["provisioningErrorCode"] == "BadPIRSource"
    assert "7.20260705.1, 7.20260601.0" in told["message"]


def test_a_publisher_who_does_not_answer_keeps_nobody_waiting(living: InProcess, server: ImageServer) -> None:
    server.files.clear()
    provisioned(living, TEMPLATE, template(version="7.20260704.0"))


def test_a_template_with_another_purchase_plan_is_not_provisioned(living: InProcess, server: ImageServer) -> None:
    plan = {"planName": "other", "planProduct": "golden", "planPublisher": "acme"}
    told = failed(living, template(version="latest", planInfo=plan))
    assert told["provisioningErrorCode"] == "BadPIRSource"
    assert "planName gold" in told["message"]


def test_the_purchase_plan_of_a_template_is_kept(living: InProcess, server: ImageServer) -> None:
    plan = {"planName": "gold", "planProduct": "golden", "planPublisher": "acme"}
    found = provisioned(living, TEMPLATE, template(version="latest", planInfo=plan))
    assert found["properties"]["source"]["planInfo"] == plan
