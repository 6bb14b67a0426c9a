"""What a run would refuse is refused when it is asked for, and what can never be published when it is put."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    GROUP,
    IMAGE,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    code_of,
    ended_run,
    provisioned,
    wait_for,
)
from publishing import a_flat_disk, a_gallery_target

from vmkiln.images import gallery
from vmkiln.images.image_store import remove

DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/d"


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def publish(live: InProcess, tmp_path: Path, version: str) -> None:
    store = live.service.store
    gallery.publish(
        tmp_path / "images", store, a_flat_disk(tmp_path), a_gallery_target(f"{DEFINITION}/versions/{version}")
    )


def shared(version: str, **more: Any) -> dict[str, Any]:
    return {"type": "SharedImage", "runOutputName": "out", "galleryImageId": f"{DEFINITION}{version}", **more}


def test_a_version_that_was_taken_since_is_refused_at_the_run(live: InProcess, tmp_path: Path) -> None:
    publish(live, tmp_path, "1.0.0")
    provisioned(live, TEMPLATE, a_template(distribute=[shared("/versions/1.0.1")]))
    assert live.request("POST", f"{TEMPLATE}/run").status_code == 202
    taken = TEMPLATE.replace("/web", "/taken")
    provisioned(live, taken, a_template(distribute=[shared("/versions/1.0.0")]))
    refused = live.request("POST", f"{taken}/run")
    assert (refused.status_code, code_of(refused)) == (409, "Conflict")
    assert "properties.distribute[0].galleryImageId: the image version" in refused.text
    assert "lastRunStatus" not in live.get(taken).json()["properties"], "no run was made"


def test_a_source_that_is_gone_is_refused_at_the_run(live: InProcess, tmp_path: Path) -> None:
    publish(live, tmp_path, "1.0.0")
    source = {"type": "SharedImageVersion", "imageVersionId": f"{DEFINITION}/versions/latest"}
    found = provisioned(live, TEMPLATE, a_template(source=source))
    assert found["properties"]["source"]["exactVersion"].endswith("/versions/1.0.0")
    remove(live.service.store.images.list()[0], live.service.store)
    refused = live.request("POST", f"{TEMPLATE}/run")
    assert (refused.status_code, code_of(refused)) == (400, "BadSharedImageVersionSource")


def test_a_source_that_is_not_there_fails_the_provisioning(live: InProcess) -> None:
    image, version = f"{GROUP}/providers/Microsoft.Compute/images/none", f"{DEFINITION}/versions/1.0.0"
    for source, code in (
        ({"type": "ManagedImage", "imageId": image}, "BadManagedImageSource"),
        (
            {"type": "SharedImageVersion", "imageVersionId": version},
            "BadSharedImageVersionSource",
        ),
    ):
        path = TEMPLATE.replace("/web", f"/{source['type']}")
        found = provisioned(live, path, a_template(source=source))
        assert found["properties"]["provisioningState"] == "Failed"
        assert found["properties"]["provisioningError"]["provisioningErrorCode"] == code
        assert code_of(live.request("POST", f"{path}/run")) == "OperationNotAllowed"


@pytest.mark.parametrize("version", ["v1.0.0", "1.0", "01.2.3", "latest", "2147483648.0.0"])
def test_a_version_that_can_never_be_published_is_refused_at_the_put(live: InProcess, version: str) -> None:
    response = live.put(TEMPLATE, a_template(distribute=[shared(f"/versions/{version}")]))
    assert (response.status_code, code_of(response)) == (400, "BadSharedImageDistribute")
    assert f"`{version}` is not a version that can be published" in response.text


def test_what_is_kept_and_refused_by_now_is_a_conflict_with_another(live: InProcess) -> None:
    """The mistakes of what is kept were told as those of what was sent."""
    provisioned(live, TEMPLATE, a_template())
    too_large = {"vmProfile": {"osDiskSizeGB": 5000}}
    live.service.store.resources.change(TEMPLATE, lambda row: replace(row, properties={**row.properties, **too_large}))
    assert live.get(TEMPLATE).json()["properties"]["vmProfile"]["osDiskSizeGB"] == 5000
    again = live.put(TEMPLATE, a_template(vmProfile={"osDiskSizeGB": 4000}))
    assert (again.status_code, code_of(again)) == (409, "Conflict")
    assert "osDiskSizeGB" in live.request("POST", f"{TEMPLATE}/run").text
    smaller = {"properties": {"vmProfile": {"osDiskSizeGB": 4000}}}
    assert live.request("PATCH", TEMPLATE, smaller).status_code == 202
    assert live.request("POST", f"{TEMPLATE}/run").status_code == 202


def test_an_installation_disc_is_refused(live: InProcess) -> None:
    iso = {"type": "ISO", "sourceURI": "https://example.com/x.iso", "sha256Checksum": "a" * 64}
    response = live.put(TEMPLATE, a_template(source=iso))
    assert (response.status_code, code_of(response)) == (400, "ValidationFailed")
    found = provisioned(live, TEMPLATE, a_template(source=iso), api_version="2019-05-01-preview")["properties"]
    assert found["provisioningError"]["provisioningErrorCode"] == "BadSourceType"


def test_a_target_whose_group_is_deleted_meanwhile_fails(live: InProcess, tmp_path: Path) -> None:
    add_group(live, name="gone1")
    hold = tmp_path / "hold"
    hold.touch()
    gone = f"{GROUP.replace('rg1', 'gone1')}/providers/Microsoft.Compute/images/web"
    targets = [
        {"type": "ManagedImage", "runOutputName": "kept", "imageId": IMAGE, "location": "westus2"},
        {"type": "ManagedImage", "runOutputName": "lost", "imageId": gone, "location": "westus2"},
    ]
    provisioned(live, TEMPLATE, a_template(f"hold while {hold}", "publish", distribute=targets))
    assert live.request("POST", f"{TEMPLATE}/run").status_code == 202
    wait_for(lambda: live.get(TEMPLATE).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    assert live.request("DELETE", GROUP.replace("rg1", "gone1"), api_version="2024-03-01").status_code == 202
    wait_for(lambda: live.get(GROUP.replace("rg1", "gone1"), api_version="2024-03-01").status_code == 404)
    hold.unlink()
    status = ended_run(live, TEMPLATE)
    assert status["runState"] == "PartiallySucceeded"
    assert "lost: ResourceGroupNotFound: Resource group 'gone1' could not be found" in status["message"]
    outputs = live.get(f"{TEMPLATE}/runOutputs").json()["value"]
    states = {item["name"]: item["properties"]["provisioningState"] for item in outputs}
    assert states == {"kept": "Succeeded", "lost": "Failed"}
    assert live.service.store.images.find(IMAGE) is not None
    assert live.service.store.images.find(gone) is None
