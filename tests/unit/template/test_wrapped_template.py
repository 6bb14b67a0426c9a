"""A template is found inside what people have in files: requests, answers, Terraform, what az shows."""

import json
from typing import Any

import pytest

from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
PROPERTIES: dict[str, Any] = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
    "customize": [{"type": "Shell", "inline": ["true"]}],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
}
BODY: dict[str, Any] = {"location": "westus2", "identity": {"type": "None"}, "properties": PROPERTIES}
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
AZAPI = {"type": f"{TYPE}@2024-02-01", "name": "web", "parent_id": "/subscriptions/s/resourceGroups/g"}


def read(document: Any, *parameters: str) -> ResolvedTemplate:
    return read_image_template(json.dumps(document), file_name="x.json", parameters=parameters)


def deployment(**members: Any) -> dict[str, Any]:
    resource = {"type": TYPE, "apiVersion": "2024-02-01", "name": "web", **BODY, "location": "[parameters('where')]"}
    return {"$schema": "s", "parameters": {"where": {"type": "string", "defaultValue": "x"}}, "resources": [resource]}


@pytest.mark.parametrize("as_text", [False, True])
def test_the_body_of_an_azapi_resource_is_read(as_text: bool) -> None:
    inside = {"identity": {"type": "None"}, "properties": PROPERTIES}
    document = {**AZAPI, "location": "westus2", "body": json.dumps(inside) if as_text else inside}
    found = read({**document, "schema_validation_enabled": False})
    assert (found.name, found.api_version, found.image_template.location) == ("web", "2024-02-01", "westus2")


def test_an_azapi_resource_of_a_tf_json_file_is_read_with_its_identity() -> None:
    resource = {
        **AZAPI,
        "location": "${location}",
        "identity": [{"type": "UserAssigned", "identity_ids": [IDENTITY]}],
        "body": {"properties": PROPERTIES},
    }
    other = {"type": "Microsoft.Compute/galleries@2023-07-03", "name": "g", "body": {"properties": {}}}
    found = read({"resource": {"azapi_resource": {"web": resource, "g": other}}}, "location=westus2")
    assert found.image_template.location == "westus2"
    assert found.image_template.identity is not None
    assert list(found.image_template.identity.user_assigned_identities) == [IDENTITY]


def test_a_request_to_deploy_is_read_with_its_parameters() -> None:
    request = {"properties": {"mode": "Incremental", "template": deployment(), "parameters": {"where": {"value": "a"}}}}
    assert read(request).image_template.location == "a"
    assert read(request, "where=b").image_template.location == "b"


def test_the_answer_to_an_export_is_read() -> None:
    assert read({"template": deployment()}).image_template.location == "x"


def test_what_az_shows_of_an_image_template_is_read() -> None:
    shown = {
        **{name: value for name, value in BODY.items() if name != "properties"},
        **PROPERTIES,
        "id": "/x",
        "name": "web",
        "type": TYPE,
        "resourceGroup": "rg",
        "provisioningState": "Succeeded",
        "lastRunStatus": None,
        "vmProfile": {"osDiskSizeGb": 40},
        "validation": {"inVmValidations": []},
    }
    found = read(shown)
    assert found.name == "web"
    assert found.image_template.properties.vm_profile.os_disk_size_gb == 40
    assert not found.warnings


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"$schema": "https://x/deploymentParameters.json#", "parameters": {}}, "this is a parameter file"),
        ({"builders": [], "provisioners": []}, "this is a template of Packer"),
        ({"on": "push", "jobs": {"build": {}}}, "this is a workflow of GitHub"),
        ({"steps": [{"task": "AzureImageBuilderTask@1"}]}, "this is a pipeline of Azure DevOps"),
        ({"resource": {"azapi_resource": {}}}, "a body has `location`"),
    ],
)
def test_what_is_no_template_is_told_with_what_to_do(document: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        read(document)
    assert words in str(caught.value)
