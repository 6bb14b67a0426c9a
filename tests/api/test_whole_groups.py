"""A resource group as a whole: exported as a template that makes the same again, and not moved."""

from typing import Any

import pytest
from in_process import (
    GALLERY,
    GROUP,
    IDENTITIES,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_some_resources,
    code_of,
    wait_for,
)

from vmkiln.api.whole_groups import group_export
from vmkiln.store.database import utc_now
from vmkiln.store.rows import ImageRow

HERE = f"/subscriptions/{SUBSCRIPTION}"
OTHER = f"{HERE}/resourceGroups/other"
NETWORK = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net"
CREATED = {"location": "westus2", "tags": {"note": "[not an expression]"}}
PLACE = {
    "addressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
    "subnets": [{"name": "build", "properties": {"addressPrefix": "10.9.1.0/24"}}],
}


@pytest.fixture
def filled(service: InProcess) -> InProcess:
    add_some_resources(service, CREATED)
    assert service.put(NETWORK, {"location": "westus2", "properties": PLACE}).status_code in {200, 201}
    assert service.put(TEMPLATE, a_template()).status_code == 201
    assert service.put(OTHER, {"location": "westus2"}).status_code == 201
    return service


def exported(service: InProcess, *resources: str, group: str = GROUP) -> dict[str, Any]:
    """What az asks for."""
    body = {"resources": list(resources) or ["*"], "options": "SkipAllParameterization"}
    answer = service.request("POST", f"{group}/exportTemplate?api-version=2024-11-01", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def without_group(service: InProcess, group: str) -> str:
    """A resource group as a template, with every mention of it taken out."""
    return str(exported(service, group=group)["template"]["resources"]).replace(GROUP, "").replace(OTHER, "")


def test_a_group_is_exported_as_a_template_that_makes_it_again(filled: InProcess) -> None:
    found = exported(filled)
    assert "error" not in found
    template = found["template"]
    names = [(item["type"], item["name"]) for item in template["resources"]]
    assert ("Microsoft.Compute/galleries/images", "g/d") in names
    assert len(names) == 5
    definition = next(item for item in template["resources"] if item["name"] == "g/d")
    assert definition["dependsOn"] == ["[resourceId('Microsoft.Compute/galleries', 'g')]"]
    assert "principalId" not in str(template)
    assert "provisioningState" not in str(template)
    deployment = f"{OTHER}/providers/Microsoft.Resources/deployments/again"
    builds = template["resources"].pop([name for _type, name in names].index(TEMPLATE.rpartition("/")[2]))
    made = filled.put(deployment, {"properties": {"mode": "Incremental", "template": template}})
    assert made.status_code == 201, made.text
    wait_for(lambda: filled.get(deployment).json()["properties"]["provisioningState"] == "Succeeded")
    again = filled.get(f"{OTHER}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one").json()
    assert again["tags"] == CREATED["tags"], "a text in brackets is no expression"
    body = {name: value for name, value in builds.items() if name not in {"type", "apiVersion", "name"}}
    put = filled.put(TEMPLATE.replace(GROUP, OTHER), body, api_version=builds["apiVersion"])
    assert put.status_code == 201, put.text
    assert without_group(filled, OTHER) == without_group(filled, GROUP)


def test_a_tag_is_exported_whatever_it_is_called(filled: InProcess) -> None:
    tags = {"etag": "a", "tenantId": "[b]", "principalId": "c"}
    assert filled.put(f"{IDENTITIES}/two", {"location": "westus2", "tags": tags}).status_code == 201
    target = {"type": "VHD", "runOutputName": "out", "artifactTags": tags}
    assert filled.put(f"{TEMPLATE}-tagged", a_template(distribute=[target])).status_code == 201
    kept = {**tags, "tenantId": "[[b]"}
    (identity,) = exported(filled, f"{IDENTITIES}/two")["template"]["resources"]
    assert identity["tags"] == kept
    (template,) = exported(filled, f"{TEMPLATE}-tagged")["template"]["resources"]
    assert template["properties"]["distribute"][0]["artifactTags"] == kept


def test_some_are_exported_with_what_is_below_them(filled: InProcess) -> None:
    found = exported(filled, GALLERY.upper())
    assert [item["name"] for item in found["template"]["resources"]] == ["g", "g/d"]
    missing = filled.request("POST", f"{GROUP}/exportTemplate", {"resources": [f"{GALLERY}x"]})
    assert (missing.status_code, code_of(missing)) == (404, "ResourceNotFound")
    for wrong in ({}, {"resources": []}, {"resources": "x"}, {"resources": [1]}):
        assert filled.request("POST", f"{GROUP}/exportTemplate", wrong).status_code == 400
    assert filled.request("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]}, token="reader").status_code == 403


def test_an_image_that_a_run_made_is_left_out_and_named(filled: InProcess) -> None:
    golden = f"{GROUP}/providers/Microsoft.Compute/images/golden"
    file, run = filled.service.settings.home / "x", "a-run"
    image = ImageRow(golden, "ManagedImage", file, "qcow2", "0" * 64, 1, 1, 1, "Linux", "", run, {}, {}, utc_now())
    filled.service.store.images.add(image)
    found = exported(filled)
    assert found["error"]["code"] == "ExportTemplateCompletedWithErrors"
    assert [item["target"].rpartition("/")[2] for item in found["error"]["details"]] == ["golden"]
    assert "golden" not in str(found["template"])


def test_a_large_group_is_exported_in_parts(filled: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_export, "MOST_RESOURCES", 3)
    refused = filled.request("POST", f"{GROUP}/exportTemplate", {"resources": ["*"]})
    assert (refused.status_code, code_of(refused)) == (400, "ExportTemplateTooManyResources")
    assert len(exported(filled, GALLERY)["template"]["resources"]) == 2


@pytest.mark.parametrize("action", ["moveResources", "validateMoveResources"])
def test_nothing_moves_and_azures_words_say_so(filled: InProcess, action: str) -> None:
    body = {"resources": [f"{IDENTITIES}/one", TEMPLATE], "targetResourceGroup": OTHER}
    refused = filled.request("POST", f"{GROUP}/{action}", body)
    assert (refused.status_code, code_of(refused)) == (409, "ResourceMoveValidationFailed")
    assert refused.json()["error"]["message"].startswith(
        "Resource move is not supported for resource types 'Microsoft.ManagedIdentity/userAssignedIdentities,"
        "Microsoft.VirtualMachineImages/imageTemplates'."
    )
    assert filled.get(f"{IDENTITIES}/one").status_code == 200
    wrong: tuple[tuple[int, dict[str, Any]], ...] = (
        (404, {"targetResourceGroup": f"{OTHER}x"}),
        (400, {"targetResourceGroup": GROUP}),
        (400, {"targetResourceGroup": "other"}),
        (404, {"resources": [f"{IDENTITIES}/none"]}),
        (404, {"resources": [OTHER]}),
        (400, {"resources": []}),
    )
    for status, change in wrong:
        assert filled.request("POST", f"{GROUP}/{action}", {**body, **change}).status_code == status, change
    assert filled.request("POST", f"{GROUP}/{action}", body, token="reader").status_code == 403
