"""An image template is found inside what other tools write, and of several the one that was asked for."""

import json
from typing import Any

import pytest
from test_wrapped_template import AZAPI, BODY, IDENTITY, PROPERTIES, TYPE, deployment

from vmkiln.arm_template.yaml_text import json_of_yaml
from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

RESOURCE = {**BODY, "type": TYPE, "name": "web", "id": f"/x/providers/{TYPE}/web"}
SHOWN = {**{name: value for name, value in RESOURCE.items() if name != "properties"}, **PROPERTIES}
BLOCK = {"type": "UserAssigned", "identity_ids": [IDENTITY]}
AZAPI_VALUES = {**AZAPI, "location": "westus2", "identity": [BLOCK], "body": {"properties": PROPERTIES}, "tags": None}
PULUMI = {
    "type": "azure-native:virtualmachineimages/v20240201:VirtualMachineImageTemplate",
    "properties": {
        "imageTemplateName": "web",
        "resourceGroupName": "rg",
        "location": "westus2",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
        **PROPERTIES,
    },
}
RESOURCE_TASK = {
    "provider": "virtualmachineimages",
    "resource_type": "imagetemplates",
    "resource_name": "web",
    "api_version": "2024-02-01",
    "body": BODY,
}
URL_TASK = {"url": f"/subscriptions/s/resourceGroups/g/providers/{TYPE}/web", "api_version": "2024-02-01", "body": BODY}
WHERE = {"where": {"value": "westus2"}}


def read(document: Any, *parameters: str, name: str = "") -> ResolvedTemplate:
    return read_image_template(json.dumps(document), file_name="x.json", parameters=parameters, template_name=name)


@pytest.mark.parametrize(
    "document",
    [
        [RESOURCE],
        [SHOWN],
        {"value": [RESOURCE]},
        {"resource": [{"azapi_resource": [{"web": [AZAPI_VALUES]}]}]},
        {"resource": {"azapi_resource": {"web": {**AZAPI_VALUES, "identity": BLOCK}}}},
        {"version": 4, "resources": [{"type": "azapi_resource", "instances": [{"attributes": AZAPI_VALUES}]}]},
        {"planned_values": {"root_module": {"resources": [{"type": "azapi_resource", "values": AZAPI_VALUES}]}}},
        {"name": "p", "runtime": "yaml", "resources": {"web": PULUMI}},
        [{"hosts": "localhost", "tasks": [{"azure.azcollection.azure_rm_resource": RESOURCE_TASK}]}],
        [{"hosts": "localhost", "tasks": [{"block": [{"azure_rm_resource": URL_TASK}]}]}],
        [{"tasks": [{"azure_rm_deployment": {"template": deployment(), "parameters": WHERE}}]}],
        {
            "resource": {
                "azurerm_resource_group_template_deployment": {
                    "d": {"template_content": json.dumps(deployment()), "parameters_content": json.dumps(WHERE)}
                }
            }
        },
    ],
    ids=[
        *("list", "az-list", "rest-list", "tf-json-lists", "tf-json-object", "tf-state", "tf-plan", "pulumi"),
        *("ansible-resource", "ansible-url", "ansible-deployment", "azurerm-deployment"),
    ],
)
def test_the_template_in_a_file_of_another_tool_is_read(document: Any) -> None:
    found = read(document)
    assert (found.name, found.image_template.location) == ("web", "westus2")
    assert found.image_template.properties.customize[0].type == "Shell"


@pytest.mark.parametrize(
    "document", [{"resource": {"azapi_resource": {"a": AZAPI_VALUES}}}, {"resources": {"a": PULUMI}}]
)
def test_its_identities_are_those_of_the_api(document: Any) -> None:
    found = read(document)
    assert found.api_version == "2024-02-01"
    assert found.image_template.identity is not None
    assert list(found.image_template.identity.user_assigned_identities) == [IDENTITY]


def test_of_several_the_one_of_that_name_is_read() -> None:
    several = [RESOURCE, {**RESOURCE, "name": "db", "location": "eastus"}]
    assert read(several, name="DB").image_template.location == "eastus"
    for name in ("", "other"):
        with pytest.raises(TemplateInvalid, match="holds 2 image templates") as caught:
            read(several, name=name)
        assert "--template-name: `web`, `db`" in str(caught.value)


def test_what_terraform_would_evaluate_is_not_guessed() -> None:
    with pytest.raises(TemplateInvalid, match="is an expression of Terraform") as caught:
        read({"resource": {"azapi_resource": {"a": {**AZAPI_VALUES, "body": "${jsonencode(local.body)}"}}}})
    assert "terraform show -json" in str(caught.value)


def test_a_value_that_only_the_file_round_a_template_asks_for_is_no_mistake() -> None:
    values = {**AZAPI_VALUES, "parent_id": "${azurerm_resource_group.rg.id}", "location": "${var.location}"}
    given = ("azurerm_resource_group.rg.id=/x", "var.location=westus2")
    assert read({"resource": {"azapi_resource": {"a": values}}}, *given).image_template.location == "westus2"


@pytest.mark.parametrize("document", [[], [1, 2], {"resources": [{"type": "azapi_resource"}]}, [{"type": TYPE}], "x"])
def test_a_file_without_a_template_is_refused(document: Any) -> None:
    with pytest.raises(TemplateInvalid):
        read(document)


def test_of_several_yaml_documents_the_one_with_a_template_is_read() -> None:
    text = f"---\n---\nnote: other\n---\n{json.dumps(RESOURCE)}\n"
    assert read(json.loads(json_of_yaml(text, "x.yaml"))).name == "web"
    assert json.loads(json_of_yaml("---\n---\na: b\n", "x.yaml")) == {"a": "b"}
