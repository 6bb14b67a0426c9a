"""What the Bicep compiler writes round a module is deployed by the service as by Azure."""

from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, InProcess, add_group, wait_for

DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/d1"
AT_SUBSCRIPTION = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/d1"
DEPLOYMENTS, GROUPS = "Microsoft.Resources/deployments", "Microsoft.Resources/resourceGroups"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
IDENTITY = {"type": IDENTITIES, "apiVersion": "2023-01-31", "location": "[resourceGroup().location]"}


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def document(resources: Any, **members: Any) -> dict[str, Any]:
    return {"$schema": "x", "contentVersion": "1.0.0.0", "resources": resources, **members}


def module(name: str, template: dict[str, Any], **members: Any) -> dict[str, Any]:
    parameters = {key: {"value": value} for key, value in members.pop("parameters", {}).items()}
    properties = {
        "mode": "Incremental",
        "template": template,
        "parameters": parameters,
        "expressionEvaluationOptions": {"scope": "inner"},
    }
    return {"type": DEPLOYMENTS, "apiVersion": "2022-09-01", "name": name, "properties": properties, **members}


def deployed(service: InProcess, template: dict[str, Any], path: str = DEPLOYMENT, **members: Any) -> dict[str, Any]:
    content = {"properties": {"mode": "Incremental", "template": template}, **members}
    checked = service.request("POST", f"{path}/validate", body=content)
    assert checked.status_code == 200, checked.text
    response = service.put(path, content)
    assert response.status_code in {200, 201}, response.text
    url = response.headers["Azure-AsyncOperation"]
    wait_for(lambda: service.get(url, api_version=None).json()["status"] not in {"Running", "Accepted"})
    found = dict(service.get(path).json()["properties"])
    assert found["provisioningState"] == "Succeeded", str(found["error"]["details"])
    return found


def identity(service: InProcess, name: str, group: str = GROUP) -> dict[str, Any]:
    return dict(service.get(f"{group}/providers/{IDENTITIES}/{name}", api_version="2023-01-31").json())


@pytest.mark.parametrize(
    "spelling",
    [
        "[subscriptionResourceId('Microsoft.Resources/resourceGroups', 'rg-new')]",
        "[resourceId('Microsoft.Resources/resourceGroups', 'rg-new')]",
        "[resourceId('Microsoft.Resources/resourceGroups/', 'rg-new')]",
        "[concat(subscription().id, '/resourceGroups/rg-new')]",
        "[concat('Microsoft.Resources/resourceGroups/', 'rg-new')]",
        "rg-new",
    ],
)
def test_a_group_of_the_template_is_depended_on_by_every_spelling(live: InProcess, spelling: str) -> None:
    group = {"type": GROUPS, "apiVersion": "2022-09-01", "name": "rg-new", "location": "eastus"}
    inner = module("in", document([{**IDENTITY, "name": "who"}]), resourceGroup="rg-new", dependsOn=[spelling])
    deployed(live, document([inner, group]), AT_SUBSCRIPTION, location="westus2")
    made = identity(live, "who", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-new")
    assert made["location"] == "eastus", "the location is the group's, not the deployment's"


@pytest.mark.parametrize(
    "spelling",
    [
        "[resourceId('Microsoft.Resources/deployments', 'first')]",
        "[resourceId('rg-other', 'Microsoft.Resources/deployments', 'first')]",
        "[extensionResourceId(format('/subscriptions/{0}/resourceGroups/{1}', subscription().subscriptionId, "
        "'rg-other'), 'Microsoft.Resources/deployments', 'first')]",
        "Microsoft.Resources/deployments/first",
    ],
)
def test_a_module_in_another_group_is_found_by_every_spelling(live: InProcess, spelling: str) -> None:
    add_group(live, name="rg-other", location="eastus")
    told = {"where": {"type": "string", "value": "[resourceGroup().location]"}}
    first = module("first", document([{**IDENTITY, "name": "who"}], outputs=told), resourceGroup="rg-other")
    asked = spelling.strip("[]") if spelling.startswith("[") else "'first'"
    tags = {"where": f"[reference({asked}, '2022-09-01').outputs.where.value]"}
    deployed(live, document([{**IDENTITY, "name": "second", "tags": tags, "dependsOn": [spelling]}, first]))
    assert identity(live, "second")["tags"] == {"where": "eastus"}


def test_the_cloud_may_stand_in_names_and_conditions(live: InProcess) -> None:
    variables = {"cloud": "[environment().name]"}
    one = {
        **IDENTITY,
        "name": "[variables('cloud')]",
        "condition": "[equals(environment().name, 'AzureCloud')]",
        "tags": {"suffix": "[environment().suffixes.storage]", "cloud": "[variables('cloud')]"},
    }
    deployed(live, document([one], variables=variables))
    assert identity(live, "AzureCloud")["tags"] == {"suffix": "core.windows.net", "cloud": "AzureCloud"}


def test_secure_outputs_conditional_parameters_and_resource_info_are_told(live: InProcess) -> None:
    key = "listOutputsWithSecureValues('first', '2025-04-01').key"
    child = document(
        [],
        parameters={"maybe": {"type": "string", "nullable": True}},
        outputs={
            "key": {"type": "securestring", "value": "s3cret"},
            "maybe": {"type": "string", "nullable": True, "value": "[coalesce(parameters('maybe'), 'none')]"},
        },
        languageVersion="2.0",
    )
    first = module("first", child)
    first["properties"]["parameters"] = {
        "maybe": "[if(empty(''), createObject('value', null()), createObject('value', 'x'))]"
    }
    resources = {
        "first": first,
        "second": {
            **IDENTITY,
            "name": "second",
            "tags": {
                "key": f"[{key}]",
                "is_known": f"[if(equals({key}, 's3cret'), 'yes', 'no')]",
                "maybe": "[reference('first').outputs.maybe.value]",
                "id": "[resourceInfo('first').name]",
            },
            "dependsOn": ["first"],
        },
    }
    deployed(live, document(resources, languageVersion="2.0"))
    # what is secret is known to the deployment, and told to nobody
    assert identity(live, "second")["tags"] == {"key": "***", "is_known": "yes", "maybe": "none", "id": "first"}
    shown = live.get(DEPLOYMENT).text
    assert "s3cret" not in shown


def test_a_user_type_is_held_against_the_value_given(live: InProcess) -> None:
    template = document(
        [],
        languageVersion="2.0",
        definitions={"size": {"type": "object", "properties": {"gb": {"type": "int", "maxValue": 4}}}},
        parameters={"size": {"$ref": "#/definitions/size"}},
    )
    content = {
        "properties": {"mode": "Incremental", "template": template, "parameters": {"size": {"value": {"gb": 5}}}}
    }
    refused = live.request("POST", f"{DEPLOYMENT}/validate", body=content)
    assert refused.status_code == 400
    assert "parameters.size.gb: `5` is more than 4" in refused.text


def test_a_made_resource_tells_its_place_and_its_public_addresses(live: InProcess) -> None:
    account = {
        "type": "Microsoft.Storage/storageAccounts",
        "apiVersion": "2023-01-01",
        "name": "scripts1",
        "location": "[resourceGroup().location]",
        "sku": {"name": "Standard_LRS"},
        "kind": "StorageV2",
    }
    loop = {**module("[format('m{0}', copyIndex())]", document([])), "copy": {"name": "many", "count": 2}}
    tags = {
        "blob": "[reference('account').primaryEndpoints.blob]",
        "group": "[reference('account', '2023-01-01', 'full').resourceGroupName]",
        "id": "[reference('account', '2023-01-01', 'full').resourceId]",
        "module": "[references('many', 'full')[1].name]",
    }
    resources = {"account": account, "many": loop, "who": {**IDENTITY, "name": "who", "tags": tags}}
    deployed(live, document(resources, languageVersion="2.0"))
    assert identity(live, "who")["tags"] == {
        "blob": "https://scripts1.blob.core.windows.net/",
        "group": "rg1",
        "id": f"{GROUP}/providers/Microsoft.Storage/storageAccounts/scripts1",
        "module": "m1",
    }


def test_a_module_whose_parameters_are_one_expression_is_deployed(live: InProcess) -> None:
    asked = {"name": {"type": "string"}, "tags": {"type": "object"}}
    inner = module(
        "in", document([{**IDENTITY, "name": "[parameters('name')]", "tags": "[parameters('tags')]"}], parameters=asked)
    )
    first = module("first", document([], outputs={"tags": {"type": "object", "value": {"a": "b"}}}))
    given = "createObject('name', createObject('value', 'who')"
    inner["properties"]["parameters"] = (
        f"[{given}, 'tags', createObject('value', reference('first').outputs.tags.value))]"
    )
    deployed(live, document([inner, first]))
    assert identity(live, "who")["tags"] == {"a": "b"}
