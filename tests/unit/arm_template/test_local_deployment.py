"""What the Bicep compiler writes round a module is read on the command line, as far as the file tells it."""

import json
from typing import Any

import pytest

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
CONTEXT = DeploymentContext(subscription_id=SUBSCRIPTION, resource_group="rg", location="westus2")
RG = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
DEPLOYMENTS, IDENTITIES = "Microsoft.Resources/deployments", "Microsoft.ManagedIdentity/userAssignedIdentities"
ID = f"{RG}/providers/{IDENTITIES}"
GROUPS = "Microsoft.Resources/resourceGroups"
SUBSCRIPTION_SCHEMA = "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#"


def image(**changes: Any) -> dict[str, Any]:
    properties = {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "customize": [{"type": "Shell", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "out"}],
    }
    body = {"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "name": "it"}
    identity = {"type": "UserAssigned", "userAssignedIdentities": {f"{ID}/given": {}}}
    return {**body, "location": "[resourceGroup().location]", "identity": identity, "properties": properties, **changes}


def document(resources: Any, **members: Any) -> dict[str, Any]:
    return {"$schema": "s", "contentVersion": "1.0.0.0", "resources": resources, **members}


def nested(name: str, template: dict[str, Any], *, scope: str = "inner", **members: Any) -> dict[str, Any]:
    parameters = {key: {"value": value} for key, value in members.pop("parameters", {}).items()}
    properties = {
        "mode": "Incremental",
        "template": template,
        "parameters": members.pop("raw_parameters", {}) | parameters,
        "expressionEvaluationOptions": {"scope": scope},
    }
    return {"type": DEPLOYMENTS, "apiVersion": "2022-09-01", "name": name, "properties": properties, **members}


def identity_module(**outputs: Any) -> dict[str, Any]:
    made = {"type": IDENTITIES, "apiVersion": "2023-01-31", "name": "id1", "location": "[resourceGroup().location]"}
    told = {"idOfIt": {"type": "string", "value": f"[resourceId('{IDENTITIES}', 'id1')]"}}
    return document([made], outputs=told | outputs)


def read(
    template: dict[str, Any], *parameters: str, name: str = "", references: tuple[str, ...] = ()
) -> ResolvedTemplate:
    return read_image_template(
        json.dumps(template),
        file_name="t.json",
        parameters=parameters,
        context=CONTEXT,
        template_name=name,
        references=references,
    )


def mistakes(template: dict[str, Any], *parameters: str, **options: Any) -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        read(template, *parameters, **options)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}


def tag_of(expression: str, *others: dict[str, Any], references: tuple[str, ...] = (), **members: Any) -> str:
    """What an expression is in the properties of an image template beside these resources."""
    template = document([*others, image(tags={"x": expression})], **members)
    return str(read(template, references=references).resolved["tags"]["x"])


WHO = "reference(resourceId('Microsoft.Resources/deployments','who'),'2022-09-01')"


def with_identity(wanted: str) -> dict[str, Any]:
    assigned = {"type": "UserAssigned", "userAssignedIdentities": {"[parameters('identity')]": {}}}
    inner = document([image(identity=assigned)], parameters={"identity": {"type": "string"}})
    return nested("inner", inner, parameters={"identity": wanted})


def identities(found: ResolvedTemplate) -> list[str]:
    return list(found.resolved["identity"]["userAssignedIdentities"])


def test_an_output_of_a_nested_deployment_reaches_the_image_template() -> None:
    found = read(document([nested("who", identity_module()), with_identity(f"[{WHO}.outputs.idOfIt.value]")]))
    assert identities(found) == [f"{ID}/id1"]


def test_outputs_are_worked_out_one_by_one() -> None:
    principal = {"type": "string", "value": f"[reference(resourceId('{IDENTITIES}', 'id1'), '2023-01-31').principalId]"}
    who = nested("who", identity_module(principal=principal))
    assert identities(read(document([who, with_identity(f"[{WHO}.outputs.idOfIt.value]")]))) == [f"{ID}/id1"]
    found = mistakes(document([who, image(tags={"x": f"[{WHO}.outputs.principal.value]"})]))
    [text] = found.values()
    assert f"the state of `{ID}/id1` of its member `principalId`" in text
    assert f"--reference '{ID}/id1={{...}}'" in text


def test_what_is_not_known_can_be_given() -> None:
    asks = f"[reference(resourceId('{IDENTITIES}', 'id1'), '2023-01-31').principalId]"
    made = {"type": IDENTITIES, "apiVersion": "2023-01-31", "name": "id1"}
    for key in (f"{ID}/id1", "id1", f"{ID.upper()}/ID1"):
        assert tag_of(asks, made, references=(f'{key}={{"principalId": "p"}}',)) == "p"
    outside = "[reference('/subscriptions/s/resourceGroups/g/providers/A.B/c/d', '2020-01-01').some.member]"
    given = '/subscriptions/s/resourceGroups/g/providers/A.B/c/d={"some": {"member": "m"}}'
    assert tag_of(outside, references=(given,)) == "m"
    keys = "[listKeys(resourceId('Microsoft.Storage/storageAccounts', 's'), '2023-01-01').keys[0].value]"
    account = f"{RG}/providers/Microsoft.Storage/storageAccounts/s"
    assert tag_of(keys, references=(f'listKeys({account})={{"keys": [{{"value": "k"}}]}}',)) == "k"
    [text] = mistakes(document([image(tags={"x": keys})])).values()
    assert f"--reference 'listKeys({account})={{...}}'".lower() in text.lower()


@pytest.mark.parametrize("given", ["no equals", "=1", "x={", "x=[1"])
def test_a_reference_that_cannot_be_read_is_named(given: str) -> None:
    assert mistakes(document([image()]), references=(given,))


def test_chains_of_modules_are_followed() -> None:
    middle = document(
        [], parameters={"a": {"type": "string"}}, outputs={"b": {"type": "string", "value": "[parameters('a')]"}}
    )
    second = nested("second", middle, parameters={"a": f"[{WHO}.outputs.idOfIt.value]"})
    last = with_identity("[reference('second').outputs.b.value]")
    assert identities(read(document([last, second, nested("who", identity_module())]))) == [f"{ID}/id1"]


def test_a_circle_of_modules_is_named() -> None:
    one = document(
        [], parameters={"a": {"type": "string"}}, outputs={"b": {"type": "string", "value": "[parameters('a')]"}}
    )
    first = nested("first", one, parameters={"a": "[reference('second').outputs.b.value]"})
    second = nested("second", one, parameters={"a": "[reference('first').outputs.b.value]"})
    found = mistakes(document([first, second, image(tags={"x": "[reference('first').outputs.b.value]"})]))
    assert any("needed to work out itself" in text for text in found.values())


def test_parameters_may_be_conditional_and_computed() -> None:
    inner = document(
        [image(tags={"a": "[coalesce(parameters('maybe'), 'none')]", "b": "[string(parameters('many'))]"})],
        parameters={"maybe": {"type": "string", "nullable": True}, "many": {"type": "array", "defaultValue": []}},
        languageVersion="2.0",
    )
    choice = (
        "[if(empty(parameters('given')), createObject('value', null()), createObject('value', parameters('given')))]"
    )
    raw = {"maybe": choice, "many": {"value": "[map(range(0, 2), lambda('i', format('n{0}', lambdaVariables('i'))))]"}}
    template = document(
        [nested("inner", inner, raw_parameters=raw)], parameters={"given": {"type": "string", "defaultValue": ""}}
    )
    assert read(template).resolved["tags"] == {"a": "none", "b": '["n0","n1"]'}
    assert read(template, "given=x").resolved["tags"]["a"] == "x"


def test_symbolic_names_existing_resources_and_loops_are_understood() -> None:
    account = "Microsoft.Storage/storageAccounts"
    resources = {
        "old": {"existing": True, "type": IDENTITIES, "apiVersion": "2023-01-31", "name": "old"},
        "each": {
            "copy": {"name": "each", "count": 2},
            "type": DEPLOYMENTS,
            "apiVersion": "2022-09-01",
            "name": "[format('m{0}', copyIndex())]",
            "properties": {
                "mode": "Incremental",
                "expressionEvaluationOptions": {"scope": "inner"},
                "parameters": {"n": {"value": "[copyIndex()]"}},
                "template": document(
                    [],
                    parameters={"n": {"type": "int"}},
                    outputs={"twice": {"type": "int", "value": "[mul(parameters('n'), 2)]"}},
                ),
            },
        },
        "store": {"type": account, "apiVersion": "2023-01-01", "name": "acc", "properties": {"tier": "[toUpper('x')]"}},
        "image": image(
            tags={
                "id": "[resourceInfo('old').id]",
                "one": "[string(reference(format('each[{0}]', 1)).outputs.twice.value)]",
                "all": "[string(map(references('each'), lambda('m', lambdaVariables('m').outputs.twice.value)))]",
                "blob": "[reference('store').primaryEndpoints.blob]",
                "tier": "[reference('store', '2023-01-01', 'Full').properties.tier]",
                "type": "[reference('store', 'full').type]",
            }
        ),
    }
    found = read(document(resources, languageVersion="2.0")).resolved["tags"]
    assert found == {
        "id": f"{ID}/old",
        "one": "2",
        "all": "[0,2]",
        "blob": "https://acc.blob.core.windows.net/",
        "tier": "X",
        "type": account,
    }
    resources["image"] = image(tags={"x": "[reference('old').clientId]"})
    [text] = mistakes(document(resources, languageVersion="2.0")).values()
    assert "its state is only in Azure" in text


def test_secure_outputs_and_null_safe_access_are_followed() -> None:
    module = document([], outputs={"key": {"type": "securestring", "value": "s3cret"}, "no": {
        "condition": False, "type": "string", "value": "[reference('x').y]"}})  # fmt: skip
    keys = nested("mod", module)
    secret = "[listOutputsWithSecureValues(resourceId('Microsoft.Resources/deployments', 'mod'), '2025-04-01').key]"
    assert tag_of(secret, keys) == "s3cret"
    assert tag_of("[coalesce(tryGet(tryGet(reference('mod').outputs, 'no'), 'value'), 'none')]", keys) == "none"
    assert tag_of("[string(contains(reference('mod').outputs, 'key'))]", keys) == "True"


def test_a_resource_group_of_the_file_lends_its_location() -> None:
    group = {
        "type": "Microsoft.Resources/resourceGroups",
        "apiVersion": "2022-09-01",
        "name": "new",
        "location": "eastus",
    }
    inner = document([image(tags={"g": "[resourceGroup().id]", "s": "[subscription().subscriptionId]"})])
    members = {
        "resourceGroup": "new",
        "dependsOn": ["[subscriptionResourceId('Microsoft.Resources/resourceGroups','new')]"],
    }
    template = document([group, nested("inner", inner, **members)]) | {"$schema": SUBSCRIPTION_SCHEMA}
    found = read(template)
    assert found.image_template.location == "eastus"
    assert found.resolved["tags"] == {
        "g": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/new",
        "s": SUBSCRIPTION,
    }


def test_nested_deployments_go_to_other_groups_and_to_the_subscription() -> None:
    inner = document([image(tags={"id": "[resourceId('A.B/c', 'd')]"})])
    elsewhere = nested("inner", inner, subscriptionId="other", resourceGroup="theirs")
    assert read(document([elsewhere])).resolved["tags"]["id"] == (
        "/subscriptions/other/resourceGroups/theirs/providers/A.B/c/d"
    )
    role = {"type": "Microsoft.Authorization/roleDefinitions", "name": "[guid('r')]", "properties": {"roleName": "r"}}
    roles = document([role], outputs={"id": {"type": "string", "value": "[subscriptionResourceId('A.B/c', 'r')]"}})
    above = nested("roles", roles, subscriptionId="[subscription().subscriptionId]", location="eastus")
    for asked in (
        f"subscriptionResourceId('{DEPLOYMENTS}', 'roles')",
        f"extensionResourceId(subscription().id, '{DEPLOYMENTS}', 'roles')",
        f"resourceId('{DEPLOYMENTS}', 'roles')",
    ):
        expression = f"[reference({asked}, '2022-09-01').outputs.id.value]"
        assert tag_of(expression, above) == f"/subscriptions/{SUBSCRIPTION}/providers/A.B/c/r"


def test_one_of_several_image_templates_is_chosen_by_its_name() -> None:
    pair = document([image(name="linux"), image(name="other"), nested("in", document([image(name="deep")]))])
    assert read(pair, name="OTHER").name == "other"
    assert read(pair, name="deep").name == "deep"
    assert "--template-name: `linux`, `other`, `deep`" in mistakes(pair)["resources"]
    assert "there are `linux`, `other`, `deep`" in mistakes(pair, name="no")["resources"]
    loop = image(name="[format('n{0}', copyIndex())]", copy={"name": "l", "count": 3})
    assert read(document([loop]), name="n2").name == "n2"


def test_the_cloud_is_azures_and_its_names_may_stand_anywhere() -> None:
    variables = {"cloud": "[environment().name]", "suffix": "[environment().suffixes.storage]"}
    condition = "[equals(environment().name, 'AzureCloud')]"
    one = image(name="[variables('cloud')]", tags={"s": "[variables('suffix')]"}, condition=condition)
    template = document([one], variables=variables)
    found = read(template)
    assert (found.name, found.resolved["tags"]) == ("AzureCloud", {"s": "core.windows.net"})
    assert tag_of("[environment().authentication.loginEndpoint]") == "https://login.microsoftonline.com/"


def test_a_default_that_cannot_be_worked_out_tells_how_to_give_the_parameter() -> None:
    parameters = {
        "_artifactsLocation": {"type": "string", "defaultValue": "[deployment().properties.templateLink.uri]"}
    }
    template = document([image(tags={"x": "[parameters('_artifactsLocation')]"})], parameters=parameters)
    assert "--parameters _artifactsLocation=VALUE" in mistakes(template)["parameters._artifactsLocation"]
    assert read(template, "_artifactsLocation=https://x.example/").resolved["tags"]["x"] == "https://x.example/"


def test_a_left_out_module_is_named() -> None:
    who = nested("who", identity_module(), condition="[equals(1, 2)]")
    [text] = mistakes(document([who, image(tags={"x": f"[{WHO}.outputs.idOfIt.value]"})])).values()
    assert "left out, because of its condition" in text
    chosen = f"[if(false(), {WHO}.outputs.idOfIt.value, 'none')]"
    assert tag_of(chosen, who) == "none"


def test_a_missing_output_is_named() -> None:
    [text] = mistakes(
        document([nested("who", identity_module()), image(tags={"x": f"[{WHO}.outputs.no.value]"})])
    ).values()
    assert "no member 'no'" in text
