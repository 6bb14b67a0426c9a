"""Deployments: what az sends, what is made in which order, what is refused before anything is made."""

import json
import uuid
from typing import Any

import pytest
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    code_of,
    wait_for,
)

DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/d1"
IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
ASKS = "[reference('x').clientId]"
MACHINES = "Microsoft.Compute/virtualMachines"
IDENTITY = {"type": IDENTITIES, "apiVersion": "2023-01-31", "location": "[resourceGroup().location]"}


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def body(*resources: dict[str, Any], **template: Any) -> dict[str, Any]:
    parameters = template.pop("given", {})
    mode = template.pop("mode", "Incremental")
    whole = {"$schema": "x", "contentVersion": "1.0.0.0", "resources": list(resources), **template}
    return {"properties": {"mode": mode, "parameters": parameters, "template": whole}}


def nested(properties: dict[str, Any]) -> dict[str, Any]:
    kind = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "inner"}
    return {**kind, "properties": {"mode": "Incremental", **properties}}


def deployed(service: InProcess, content: dict[str, Any], path: str = DEPLOYMENT, **options: Any) -> dict[str, Any]:
    response = service.put(path, content, **options)
    assert response.status_code in {200, 201}, response.text
    url = response.headers["Azure-AsyncOperation"]
    wait_for(lambda: service.get(url, api_version=None).json()["status"] not in {"Running", "Accepted"})
    return dict(service.get(path).json()["properties"])


def the_image_template(name: str = "web", **changes: Any) -> dict[str, Any]:
    kind = {"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "name": name}
    return {**kind, **a_template(), **changes}


def test_a_template_with_its_identity_is_deployed_in_order(live: InProcess) -> None:
    content = body(
        the_image_template(
            name="[parameters('name')]",
            dependsOn=["[resourceId('Microsoft.ManagedIdentity/userAssignedIdentities', variables('identity'))]"],
            identity={
                "type": "UserAssigned",
                "userAssignedIdentities": {f"[resourceId('{IDENTITIES}', variables('identity'))]": {}},
            },
            tags={"principal": f"[reference(resourceId('{IDENTITIES}', variables('identity'))).principalId]"},
        ),
        {**IDENTITY, "name": "[variables('identity')]"},
        parameters={"name": {"type": "string"}, "secret": {"type": "securestring", "defaultValue": "hunter22"}},
        variables={"identity": "[concat(parameters('name'), '-identity')]"},
        outputs={
            "id": {"type": "string", "value": "[resourceId('Microsoft.VirtualMachineImages/imageTemplates', 'web')]"},
            "state": {"type": "string", "value": "[reference('web').provisioningState]"},
            "hidden": {"type": "securestring", "value": "[parameters('secret')]"},
        },
        given={"name": {"value": "web"}},
    )
    found = deployed(live, content)
    assert found["provisioningState"] == "Succeeded", found
    assert found["outputs"]["id"] == {"type": "String", "value": TEMPLATE}
    assert found["outputs"]["state"]["value"] == "Succeeded"
    assert [item["id"].rsplit("/", 1)[-1] for item in found["outputResources"]] == ["web-identity", "web"]
    kept = live.get(TEMPLATE).json()
    identity = live.get(f"{GROUP}/providers/{IDENTITIES}/web-identity").json()
    assert kept["tags"]["principal"] == identity["properties"]["principalId"]
    assert "hunter22" not in json.dumps(live.get(DEPLOYMENT).json())
    for path in (DEPLOYMENT, f"{GROUP}/deployments/d1"):
        listed = live.get(f"{path}/operations").json()["value"]
        assert {item["properties"]["provisioningState"] for item in listed} == {"Succeeded"}
    again = deployed(live, content)
    assert again["provisioningState"] == "Succeeded"


def test_azs_own_spelling_of_a_request_is_read(live: InProcess) -> None:
    text = """{"properties": {"parameters": {"name": {"value": "one"}}, "mode": "Incremental", template:{
      // a comment
      "$schema": "x", /* another */
      "parameters": {"name": {"type": "string"}},
      "resources": [{"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31",
        "name": "[parameters('name')]", "location": "westus2", "tags": {"text": "two
lines"},}],
    }}}"""
    response = live.request("POST", f"{DEPLOYMENT}/validate", content=text.encode())
    assert response.status_code == 200, response.text
    assert response.json()["properties"]["validatedResources"] == [{"id": f"{GROUP}/providers/{IDENTITIES}/one"}]
    assert live.request("PUT", DEPLOYMENT, content=text.encode()).status_code == 201


def test_symbolic_names_loops_conditions_and_nested_deployments(live: InProcess) -> None:
    nested = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "inner",
        "properties": {
            "mode": "Incremental",
            "expressionEvaluationOptions": {"scope": "inner"},
            "parameters": {"name": {"value": "[format('{0}-nested', parameters('prefix'))]"}},
            "template": {
                "parameters": {"name": {"type": "string"}},
                "resources": [{**IDENTITY, "name": "[parameters('name')]"}],
                "outputs": {"name": {"type": "string", "value": "[parameters('name')]"}},
            },
        },
        "dependsOn": ["many"],
    }
    content = body(
        languageVersion="2.0",
        parameters={"prefix": {"type": "string", "defaultValue": "loop"}},
        resources={
            "many": {
                **IDENTITY,
                "copy": {"name": "many", "count": 3},
                "name": "[format('{0}-{1}', parameters('prefix'), copyIndex())]",
            },
            "left": {**IDENTITY, "condition": False, "name": "left-out"},
            "inner": nested,
            "last": {**IDENTITY, "name": "the-last", "tags": {"from": "[reference('inner').outputs.name.value]"}},
        },
        outputs={
            "names": {
                "type": "array",
                "copy": {"count": 3, "input": "[format('{0}-{1}', parameters('prefix'), copyIndex())]"},
            },
            "nested": {"type": "string", "value": "[reference('inner').outputs.name.value]"},
        },
    )
    found = deployed(live, content)
    assert found["provisioningState"] == "Succeeded", found
    assert found["outputs"]["names"]["value"] == ["loop-0", "loop-1", "loop-2"]
    assert found["outputs"]["nested"]["value"] == "loop-nested"
    names = [item["name"] for item in live.get(f"{GROUP}/providers/{IDENTITIES}").json()["value"]]
    assert sorted(names) == ["loop-0", "loop-1", "loop-2", "loop-nested", "the-last"]
    assert live.get(f"{GROUP}/providers/{IDENTITIES}/the-last").json()["tags"] == {"from": "loop-nested"}


def test_a_nested_deployment_sees_its_parents_parameters_by_default(live: InProcess) -> None:
    nested = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "outer",
        "properties": {
            "mode": "Incremental",
            "template": {"resources": [{**IDENTITY, "name": "[parameters('name')]"}]},
        },
    }
    parameters = {"name": {"type": "string", "defaultValue": "from-parent"}}
    assert deployed(live, body(nested, parameters=parameters))["provisioningState"] == "Succeeded"
    assert live.get(f"{GROUP}/providers/{IDENTITIES}/from-parent").status_code == 200


def test_child_resources_wait_for_their_parent(live: InProcess) -> None:
    gallery = {
        "type": "Microsoft.Compute/galleries",
        "apiVersion": "2023-07-03",
        "name": "golden",
        "location": "westus2",
        "resources": [
            {
                "type": "images",
                "apiVersion": "2023-07-03",
                "name": "debian",
                "location": "westus2",
                "properties": {
                    "osType": "Linux",
                    "osState": "Generalized",
                    "identifier": {"publisher": "p", "offer": "o", "sku": "s"},
                },
            }
        ],
    }
    assert deployed(live, body(gallery))["provisioningState"] == "Succeeded"
    path = f"{GROUP}/providers/Microsoft.Compute/galleries/golden/images/debian"
    assert live.get(path).json()["properties"]["osType"] == "Linux"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (body({**IDENTITY, "name": "[parameters('none')]"}), "none"),
        (body({**IDENTITY, "name": "x", "dependsOn": ["nowhere"]}), "nowhere"),
        (body({"type": "Microsoft.Nothing/things", "apiVersion": "2020-01-01", "name": "x"}), "Microsoft.Nothing"),
        (body({**IDENTITY, "name": "x"}, parameters={"needed": {"type": "int"}}), "needed"),
        (body(the_image_template(properties={"source": {"type": "Nonsense"}})), "Nonsense"),
        (body({**IDENTITY, "name": "x"}, outputs={"o": {"type": "string", "value": "[nope()]"}}), "outputs.o"),
        (
            body(nested({"template": {"resources": [], "outputs": {"o": {"type": "int", "value": "[add(1)]"}}}})),
            "resources[0].properties.template.outputs.o",
        ),
        (body({**IDENTITY, "name": "x"}, outputs={"o": {"type": "string", "value": {"a": 1}}}), "must be a string"),
        (
            body({**IDENTITY, "name": "x"}, outputs={"o": {"type": "string", "value": "[reference('y').a]"}}),
            "outputs.o: the resource `y` is not defined in the template",
        ),
        (
            body({**IDENTITY, "name": "x", "condition": False}, {**IDENTITY, "name": "y", "tags": {"a": ASKS}}),
            "resources[1].tags.a: `x` is left out, because of its condition",
        ),
        (
            body({**IDENTITY, "name": "x"}, {**IDENTITY, "name": "y", "tags": {"a": ASKS, "b": "[nope()]"}}),
            "resources[1].tags.b",
        ),
        (
            body({**IDENTITY, "name": "x"}, the_image_template(tags={"a": ASKS, "b": "[nope()]"})),
            "resources[1].tags.b",
        ),
        (
            body(
                {**IDENTITY, "name": "x"},
                nested(
                    {
                        "expressionEvaluationOptions": {"scope": "inner"},
                        "parameters": {"p": {"value": ASKS}},
                        "template": {
                            "parameters": {"p": {"type": "string"}},
                            "resources": [
                                {**IDENTITY, "name": "y", "tags": {"a": "[parameters('p')]", "b": "[nope()]"}}
                            ],
                            "outputs": {"o": {"type": "int", "value": "[add(1)]"}},
                        },
                    }
                ),
            ),
            "resources[1].properties.template.resources[0].tags.b",
        ),
        (body({**IDENTITY, "name": "x"}, {**IDENTITY, "name": "X"}), "also made"),
        ({"properties": {"mode": "Incremental", "templateLink": {"uri": "https://example.org"}}}, "are not fetched"),
        (body(nested({"templateLink": {"uri": "https://example.org"}})), "a linked deployment is not fetched"),
        (
            body(nested({"template": {"resources": [{**IDENTITY, "name": "x", "dependsOn": ["nowhere"]}]}})),
            "resources[0].properties.template.resources[0].dependsOn",
        ),
        (body({"type": MACHINES, "apiVersion": "2024-07-01", "name": "x"}), "vmkiln image boot"),
        ({"properties": {"mode": "Sideways", "template": {"resources": []}}}, "mode"),
        ({}, "properties"),
    ],
)
def test_mistakes_are_found_before_anything_is_made(service: InProcess, content: dict[str, Any], word: str) -> None:
    add_group(service)
    refused = service.request("POST", f"{DEPLOYMENT}/validate", content)
    assert refused.status_code == 400, refused.text
    assert word in refused.json()["error"]["message"]
    if refused.json()["error"]["code"] != "InvalidTemplate":
        for method, path in (("PUT", DEPLOYMENT), ("POST", f"{DEPLOYMENT}/whatIf")):
            assert service.request(method, path, content).json() == refused.json()
    else:  # the result of the deployment, for az ends in a traceback where its request is refused
        told = service.request("POST", f"{DEPLOYMENT}/whatIf", content).json()
        assert told == {"status": "Failed", **refused.json()}
        found = deployed(service, content)
        assert (found["provisioningState"], found["error"]) == ("Failed", refused.json()["error"])
    assert service.get(f"{GROUP}/resources").json()["value"] == []


def test_a_resource_is_asked_by_its_type_and_name_as_the_oldest_templates_do(live: InProcess) -> None:
    asked = f"[reference(concat('{IDENTITIES}/', 'made')).clientId]"
    found = deployed(live, body({**IDENTITY, "name": "made"}, outputs={"o": {"type": "string", "value": asked}}))
    assert found["provisioningState"] == "Succeeded", found["error"]
    assert uuid.UUID(found["outputs"]["o"]["value"])


def test_an_outer_template_asks_for_resources_around_it_by_name(live: InProcess) -> None:
    """Its expressions are those of the deployment around it, which waits for what they ask for, as in Azure."""
    first, asks = {**IDENTITY, "name": "first"}, "[reference('made').clientId]"
    second = {**IDENTITY, "name": "second", "tags": {"a": asks}}
    own = "[reference('first').clientId]"
    outputs = {"o": {"type": "string", "value": asks}, "p": {"type": "string", "value": own}}
    deep = {**nested({"template": {"resources": [first, second], "outputs": outputs}}), "name": "deep"}
    told = "[concat(reference('inner').outputs.o.value, ' ', reference('made').clientId)]"
    whole = nested({"template": {"resources": [deep], "outputs": {"o": {"type": "string", "value": asks}}}})
    content = body(whole, {**IDENTITY, "name": "made"}, outputs={"o": {"type": "string", "value": told}})
    found = deployed(live, content)
    assert found["provisioningState"] == "Succeeded", found["error"]
    made = live.get(f"{GROUP}/providers/{IDENTITIES}/made").json()["properties"]["clientId"]
    assert found["outputs"]["o"]["value"] == f"{made} {made}"
    assert live.get(f"{GROUP}/providers/{IDENTITIES}/second").json()["tags"] == {"a": made}
    operations = live.get(f"{DEPLOYMENT}/operations").json()["value"]
    targets = [one["properties"].get("targetResource", {}).get("resourceName", "") for one in operations]
    assert targets.count("first") == 1, "what was made before it waited is not made again"
    circle = {"o": {"type": "object", "value": "[reference('inner')]"}}
    itself = nested({"template": {"resources": [], "outputs": circle}})
    assert "wait for one another" in deployed(live, body(itself), path=f"{DEPLOYMENT}-b")["error"]["message"]
    inner = {"expressionEvaluationOptions": {"scope": "inner"}}
    alone = nested({**inner, "template": {"resources": [], "outputs": {"o": {"type": "string", "value": asks}}}})
    refused = live.put(f"{DEPLOYMENT}-c", body({**IDENTITY, "name": "made"}, alone))
    assert "the resource `made` is not defined in the template" in refused.text


def test_what_is_left_out_and_there_all_the_same_is_read(live: InProcess) -> None:
    """A template that takes a new resource or one that exists asks for it in either case, as Azure's examples do."""
    made = {**IDENTITY, "name": "made"}
    by_id = f"[reference(resourceId('{IDENTITIES}', 'made'), '2023-01-31').clientId]"
    outputs = {
        "o": {"type": "string", "value": "[reference('made').clientId]"},
        "p": {"type": "string", "value": by_id},
    }
    content = body({**made, "condition": False}, outputs=outputs)
    assert "`made` is left out, because of its condition" in live.put(DEPLOYMENT, content).text
    assert deployed(live, body(made), path=f"{DEPLOYMENT}-a")["provisioningState"] == "Succeeded"
    found = deployed(live, content)
    assert found["provisioningState"] == "Succeeded", found["error"]
    assert found["outputs"]["o"] == found["outputs"]["p"]
    keys = {"o": {"type": "object", "value": "[listKeys('made', '2023-01-31')]"}}
    refused = deployed(live, body({**made, "condition": False}, outputs=keys), path=f"{DEPLOYMENT}-b")
    assert "is not there, or not allowed" in refused["error"]["message"]


def test_a_child_is_named_by_what_its_id_ends_with(live: InProcess) -> None:
    """`Microsoft.Compute/galleries/GALLERY/images/NAME`, as Azure's pages on image versions have it in `dependsOn`."""
    gallery = {"type": "Microsoft.Compute/galleries", "apiVersion": "2022-03-03", "name": "gal", "location": "westus2"}
    told = "[concat('Microsoft.Compute/galleries/', 'gal', '/images/', 'img')]"
    image = {
        **gallery,
        "type": "Microsoft.Compute/galleries/images",
        "name": "gal/img",
        "dependsOn": ["Microsoft.Compute/galleries/gal"],
        "properties": {
            "osType": "Linux",
            "osState": "Generalized",
            "identifier": {"publisher": "p", "offer": "o", "sku": "s"},
        },
    }
    outputs = {"o": {"type": "string", "value": f"[reference({told[1:-1]}).osType]"}}
    content = body(gallery, image, {**IDENTITY, "name": "made", "dependsOn": [told]}, outputs=outputs)
    found = deployed(live, content)
    assert found["provisioningState"] == "Succeeded", found["error"]
    assert found["outputs"]["o"]["value"] == "Linux"
    assert found["dependencies"][-1]["dependsOn"][0]["resourceName"] == "gal/img"


def test_resources_that_wait_for_one_another_are_told(live: InProcess) -> None:
    one = {**IDENTITY, "name": "one", "tags": {"a": "[reference('two').clientId]"}}
    two = {**IDENTITY, "name": "two", "tags": {"a": "[reference('one').clientId]"}}
    found = deployed(live, body(one, two))
    assert found["provisioningState"] == "Failed"
    assert "Circular dependency" in found["error"]["message"]


def test_a_resource_that_fails_is_named(live: InProcess) -> None:
    gallery = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/none"
    target = {"type": "SharedImage", "runOutputName": "o", "galleryImageId": gallery}
    template = the_image_template(properties={**a_template()["properties"], "distribute": [target]})
    found = deployed(live, body(template))
    assert (found["provisioningState"], found["error"]["code"]) == ("Failed", "DeploymentFailed")
    assert found["error"]["details"][0]["details"][0]["code"] == "BadSharedImageDistribute"


def test_a_deployment_can_do_no_more_than_its_caller(service: InProcess) -> None:
    add_group(service)
    other = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "elsewhere",
        "subscriptionId": OTHER_SUBSCRIPTION,
        "resourceGroup": "theirs",
        "properties": {"mode": "Incremental", "template": {"resources": [{**IDENTITY, "name": "spy"}]}},
    }
    refused = service.request("POST", f"{DEPLOYMENT}/validate", body(other), token="contributor")
    assert refused.status_code == 403
    failed = service.put(DEPLOYMENT, body(other), token="contributor").json()["properties"]
    assert (failed["provisioningState"], failed["error"]) == ("Failed", refused.json()["error"])
    assert service.put(DEPLOYMENT, body({**IDENTITY, "name": "x"}), token="reader").status_code == 403
    group = f"/subscriptions/{OTHER_SUBSCRIPTION}/resourceGroups/g"
    read = body(
        {
            **IDENTITY,
            "name": "mine",
            "tags": {"t": f"[reference('{group}', '2024-11-01', 'Full').location]"},
        }
    )
    add_group(service, subscription=OTHER_SUBSCRIPTION, name="g")
    assert service.put(DEPLOYMENT, read, token="contributor").status_code == 200
    assert service.get(DEPLOYMENT).json()["properties"]["provisioningState"] == "Failed"


def test_what_if_tells_what_would_change(live: InProcess) -> None:
    deployed(live, body({**IDENTITY, "name": "same"}, {**IDENTITY, "name": "other", "tags": {"a": "b"}}))
    content = body(
        {**IDENTITY, "name": "same"}, {**IDENTITY, "name": "other", "tags": {"a": "c"}}, {**IDENTITY, "name": "new"}
    )
    found = live.request("POST", f"{DEPLOYMENT}/whatIf", content).json()
    assert found["status"] == "Succeeded"
    kinds = {item["resourceId"].rsplit("/", 1)[-1]: item["changeType"] for item in found["properties"]["changes"]}
    assert kinds == {"same": "NoChange", "other": "Modify", "new": "Create"}
    assert live.get(f"{GROUP}/providers/{IDENTITIES}/new").status_code == 404


def test_what_if_of_a_nested_deployment_tells_what_it_would_make(live: InProcess) -> None:
    content = body(nested({"template": {"resources": [{**IDENTITY, "name": "inside"}]}}))
    found = live.request("POST", f"{DEPLOYMENT}/whatIf", content).json()["properties"]["changes"]
    assert [(item["resourceId"].rsplit("/", 1)[-1], item["changeType"]) for item in found] == [("inside", "Create")]


@pytest.mark.parametrize("mode", ["Complete", "complete"])
def test_mode_complete_deletes_what_the_template_lacks(live: InProcess, mode: str) -> None:
    deployed(live, body({**IDENTITY, "name": "old"}, {**IDENTITY, "name": "kept"}))
    deployed(live, body({**IDENTITY, "name": "kept"}, mode=mode))
    names = [item["name"] for item in live.get(f"{GROUP}/providers/{IDENTITIES}").json()["value"]]
    assert names == ["kept"]


def test_mode_complete_deletes_versions_and_definitions_before_their_gallery(live: InProcess) -> None:
    galleries = f"{GROUP}/providers/Microsoft.Compute/galleries"
    assert live.put(f"{galleries}/golden", {"location": "westus2"}).status_code == 201
    definition = {"osType": "linux", "osState": "generalized", "hyperVGeneration": "v1", "architecture": "X64"}
    definition["identifier"] = {"publisher": "p", "offer": "o", "sku": "s"}  # type: ignore[assignment]
    made = live.put(f"{galleries}/golden/images/debian", {"location": "westus2", "properties": definition})
    assert made.status_code == 201, made.text
    assert [made.json()["properties"][name] for name in ("osType", "osState", "hyperVGeneration", "architecture")] == [
        "Linux", "Generalized", "V1", "x64",
    ]  # fmt: skip
    what_if = live.request("POST", f"{DEPLOYMENT}/whatIf", body({**IDENTITY, "name": "kept"}, mode="Complete")).json()
    gone = [item["resourceId"] for item in what_if["properties"]["changes"] if item["changeType"] == "Delete"]
    assert gone == [f"{galleries}/golden/images/debian", f"{galleries}/golden"]
    found = deployed(live, body({**IDENTITY, "name": "kept"}, mode="Complete"))
    assert found["provisioningState"] == "Succeeded", found
    assert live.get(f"{galleries}/golden").status_code == 404
    operations = live.get(f"{DEPLOYMENT}/operations").json()["value"]
    done = [(item["properties"]["provisioningOperation"], item["properties"]["targetResource"]["resourceName"])
            for item in operations]  # fmt: skip
    assert done == [("Create", "kept"), ("Delete", "debian"), ("Delete", "golden")]


def test_mode_complete_fails_when_something_cannot_be_deleted(live: InProcess) -> None:
    network = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net"
    spaces = {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}}
    subnets = {"subnets": [{"name": "build", "properties": {"addressPrefix": "10.1.0.0/24"}}]}
    assert live.put(network, {"location": "westus2", "properties": {**spaces, **subnets}}).status_code == 201
    profile = {"vnetConfig": {"subnetId": f"{network}/subnets/build"}}
    template = the_image_template(properties={**a_template()["properties"], "vmProfile": profile})
    found = deployed(live, body(template, mode="Complete"))
    assert (found["provisioningState"], found["error"]["code"]) == ("Failed", "DeploymentFailed")
    assert found["error"]["details"][0]["code"] == "InUseSubnetCannotBeDeleted"
    assert live.get(network).status_code == 200


def test_a_deployment_is_listed_and_its_record_deleted(live: InProcess) -> None:
    deployed(live, body({**IDENTITY, "name": "one"}))
    listed = live.get(f"{GROUP}/providers/Microsoft.Resources/deployments/").json()["value"]
    assert [item["name"] for item in listed] == ["d1"]
    assert live.request("HEAD", DEPLOYMENT).status_code == 204
    assert live.request("DELETE", DEPLOYMENT).status_code == 204
    assert code_of(live.get(DEPLOYMENT)) == "DeploymentNotFound"
    assert live.get(f"{GROUP}/providers/{IDENTITIES}/one").status_code == 200


def test_a_subscription_deployment_makes_groups(live: InProcess) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/s1"
    group = {
        "type": "Microsoft.Resources/resourceGroups",
        "apiVersion": "2022-09-01",
        "name": "made",
        "location": "westus2",
    }
    found = deployed(live, {"location": "westus2", **body(group)}, path=path)
    assert found["provisioningState"] == "Succeeded", found
    assert live.request("HEAD", f"/subscriptions/{SUBSCRIPTION}/resourcegroups/made").status_code == 204


def test_a_role_is_assigned_in_both_spellings_that_templates_have(live: InProcess) -> None:
    reader = (
        "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'acdd72a7-3385-48ef-bd42-f606fba81ae7')]"
    )
    network = {
        "type": "Microsoft.Network/virtualNetworks",
        "apiVersion": "2023-04-01",
        "name": "net",
        "location": "westus2",
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
            "subnets": [{"name": "build", "properties": {"addressPrefix": "10.1.0.0/24"}}],
        },
    }
    subnet = "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'net', 'build')]"
    names = [str(uuid.UUID(int=number)) for number in (1, 2)]
    nested = {
        "type": "Microsoft.Network/virtualNetworks/subnets/providers/roleAssignments",
        "apiVersion": "2018-09-01-preview",
        "name": f"[concat('net/build/Microsoft.Authorization/', '{names[0]}')]",
        "dependsOn": ["[resourceId('Microsoft.Network/virtualNetworks', 'net')]"],
        "properties": {"roleDefinitionId": reader, "principalId": "one"},
    }
    scoped = {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "name": names[1],
        "scope": "Microsoft.Network/virtualNetworks/net/subnets/build",
        "dependsOn": ["[resourceId('Microsoft.Network/virtualNetworks', 'net')]"],
        "properties": {"roleDefinitionId": reader, "principalId": "two"},
    }
    found = deployed(live, body(network, nested, scoped, outputs={"subnet": {"type": "string", "value": subnet}}))
    assert found["provisioningState"] == "Succeeded", found
    place = f"{found['outputs']['subnet']['value']}/providers/Microsoft.Authorization/roleAssignments"
    kept = live.get(place).json()["value"]
    assert {item["name"] for item in kept if item["properties"]["principalId"] in {"one", "two"}} == set(names)
