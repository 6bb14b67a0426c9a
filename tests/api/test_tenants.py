"""Two tenants: whatever route and whatever id, the one learns nothing of the other's, not even that it is there.

A stranger has another subscription; a neighbour has another resource group of the same one.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from in_process import (
    GROUP,
    IMAGE,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    TestAccess,
    a_template,
    add_group,
    ended_run,
    provisioned,
    wait_for,
)
from service_fixtures import fill_pool, living_service

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Body, Route
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.azure_names import LOG_FILES
from vmkiln.images import vhd_image
from vmkiln.run import cleaning_up
from vmkiln.run.guest.screen import name_of
from vmkiln.store.rows import ResourceRow

QUERIES = {
    "Runs_SearchLog": "?text=word",
    "ActivityLogs_List": "?$filter=eventTimestamp%20ge%202020-01-01",
    "TenantActivityLogs_List": "?$filter=eventTimestamp%20ge%202020-01-01",
    "ImageDifference_Get": f"?from={IMAGE}",
    "ImageVersionDifference_Get": f"?from={IMAGE}",
}
IN_SUBSCRIPTION = [route for route in ALL_ROUTES if "{subscriptionId}" in route.path]
OF_A_GROUP = [
    route for route in IN_SUBSCRIPTION if {"{resourceGroupName}", "{operationId}"} & set(route.path.split("/"))
]
ROLE, ASSIGNMENT, ON_RESOURCE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
ELSEWHERE = "3" + SUBSCRIPTION[1:]
GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/golden"
NETWORK = "providers/Microsoft.Network"
FEATURES = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Features"
SCRIPT = "Microsoft.Resources/deploymentScripts"
ROLES = {
    "owner": [("Owner", f"/subscriptions/{SUBSCRIPTION}")],
    "reader": [("Reader", f"/subscriptions/{SUBSCRIPTION}")],
    "stranger": [("Owner", f"/subscriptions/{OTHER_SUBSCRIPTION}")],
    "neighbour": [("Owner", GROUP.replace("rg1", "rg2"))],
}
NOT_MADE = {"privateEndpoints", "privateLinkServices", "loadBalancers"}  # by no build without a user's network
SAME_FOR_ALL = {"Providers_List", "Providers_Get", "Providers_Register", "Providers_Unregister"}  # what can be done


@dataclass(frozen=True)
class Filled:
    """A subscription with something behind every route, and the names of it all."""

    service: InProcess
    names: Mapping[str, str]

    def values(self, route: Route) -> dict[str, str]:
        """What stands for each placeholder of a route, so that the path names what is there."""
        given = dict(self.names)
        for word in [word for word in given if "/" in word]:  # `disks/name`: on such paths
            if f"/{word.split('/')[0]}/" in f"{route.path}/" or word.split("/")[0] in route.operation:
                given[word.split("/")[1]] = given[word]
        return {part[1:-1]: given[part[1:-1]] for part in route.path.split("/") if part.startswith("{")}


def fill(service: InProcess) -> Filled:
    """Put one of everything, run a template to its end, and gather the names."""
    for subscription, name in ((SUBSCRIPTION, "rg1"), (SUBSCRIPTION, "rg2"), (OTHER_SUBSCRIPTION, "rg1")):
        add_group(service, subscription=subscription, name=name)
    here = {"location": "westus2"}
    identifier = {"publisher": "p", "offer": "o", "sku": "s"}
    definition = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V1", "identifier": identifier}
    ends = {"sourceAddressPrefix": "*", "sourcePortRange": "*", "destinationAddressPrefix": "*"}
    rule = {"direction": "Inbound", "access": "Allow", "protocol": "Tcp", "priority": 100, **ends}
    rule["destinationPortRange"] = "22"
    subnet = {"name": "build", "properties": {"addressPrefix": "10.0.1.0/24"}}
    network = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
    authorization = "providers/Microsoft.Authorization"
    role = f"{GROUP}/{authorization}/roleDefinitions/{ROLE}"
    assigned = {"properties": {"roleDefinitionId": role, "principalId": "somebody"}}
    statuses: list[str] = []
    deployment = {"properties": {"mode": "Incremental", "template": {"resources": []}}}
    for path, body in (
        (f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder", here),
        (
            f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder/federatedIdentityCredentials/github",
            {"properties": {"issuer": "https://token.example.org", "subject": "s", "audiences": ["a"]}},
        ),
        (GALLERY, here),
        (f"{GALLERY}/images/debian", {**here, "properties": definition}),
        (f"{GROUP}/{NETWORK}/virtualNetworks/own-network", {**here, "properties": network}),
        (f"{GROUP}/{NETWORK}/networkSecurityGroups/rules", here),
        (f"{GROUP}/{NETWORK}/networkSecurityGroups/rules/securityRules/ssh", {"properties": rule}),
        (role, {"properties": {"roleName": "own", "assignableScopes": [f"/subscriptions/{SUBSCRIPTION}"]}}),
        (f"{GROUP}/{authorization}/roleAssignments/{ASSIGNMENT}", assigned),
        (f"{GALLERY}/{authorization}/roleAssignments/{ON_RESOURCE}", assigned),
        (f"{GALLERY}/images/debian/{authorization}/roleAssignments/{uuid.UUID(int=5)}", assigned),
        (f"{GALLERY}/images/debian/versions/1.0.0/{authorization}/roleAssignments/{uuid.UUID(int=6)}", assigned),
        (f"/subscriptions/{SUBSCRIPTION}/{authorization}/roleAssignments/{uuid.UUID(int=4)}", assigned),
        (f"{FEATURES}/featureProviders/Microsoft.Compute/subscriptionFeatureRegistrations/SomePreview", {}),
        (f"{GROUP}/providers/Microsoft.Resources/deployments/d1", deployment),
        (f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/d1", {**here, **deployment}),
    ):
        response = service.put(path, body)
        assert response.status_code in {200, 201}, response.text
        statuses.append(response.headers.get("Azure-AsyncOperation", "").partition("?")[0].rpartition("/")[2])
    state = {"kind": "AzureCLI", "runs": {}, "log": [], "waits": False, "outputs": {}}
    script = {"type": SCRIPT, "name": "build", "subscription_id": SUBSCRIPTION, "resource_group": "rg1", "state": state}
    service.service.store.resources.put(ResourceRow(id=f"{GROUP}/providers/{SCRIPT}/build", **script))
    targets = [
        {"type": "ManagedImage", "runOutputName": "out", "imageId": IMAGE, "location": "westus2"},
        {"type": "SharedImage", "runOutputName": "shared", "galleryImageId": f"{GALLERY}/images/debian"},
    ]
    template = provisioned(service, TEMPLATE, a_template("publish", distribute=targets))
    service.put(f"{TEMPLATE}/triggers/own-trigger", {"properties": {"kind": "SourceImage"}})
    run = service.request("POST", f"{TEMPLATE}/run")
    assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
    run_id = service.service.store.runs.of_template(TEMPLATE)[0].run_id
    for image in service.service.store.images.of_run(run_id):
        service.service.store.images.replace(image, documents={"provenance": "{}", "contents": "{}"})
    staging = template["properties"]["exactStagingResourceGroup"]
    wait_for(lambda: service.get(f"{staging}/resources").json()["value"])
    account = service.get(f"{staging}/providers/Microsoft.Storage/storageAccounts").json()["value"][0]["name"]
    containers = service.get(f"{staging}/providers/Microsoft.ContainerInstance/containerGroups").json()["value"]
    blobs = service.service.settings.staging / staging.rpartition("/")[2] / account
    picture = name_of("build-vm", 1)
    for file in (f"packerlogs/{run_id}/{picture}", f"packerlogs/{run_id}/{LOG_FILES['flows']}", "vhds/disk.vhd"):
        (blobs / file).parent.mkdir(parents=True, exist_ok=True)
        (blobs / file).write_bytes(b"")
    disk = blobs / "vhds/disk.vhd"  # on record, for who cleans up deletes the VHDs of the dead a minute later
    of_disk = f"/staging/{staging.rpartition('/')[2]}/vhds/disk.vhd"
    [image, *_] = service.service.store.images.of_run(run_id)
    service.service.store.images.add(replace(image, artifact_id=of_disk, kind=vhd_image.KIND, path=disk, format="vhd"))
    definition_id = f"{GALLERY}/images/debian"
    scopes = (f"/subscriptions/{SUBSCRIPTION}", GROUP, GALLERY, definition_id, f"{definition_id}/versions/1.0.0")
    for scope in scopes:  # the last of all, for nothing there can be deleted then
        lock = service.put(f"{scope}/{authorization}/locks/own-lock", {"properties": {"level": "CanNotDelete"}})
        assert lock.status_code in {200, 201}, lock.text
    names = {
        "lockName": "own-lock", "picture": picture,
        "subscriptionId": SUBSCRIPTION, "resourceGroupName": "rg1", "location": "westus2",
        "resourceProviderNamespace": "Microsoft.Compute",
        "publisherName": "Debian", "offer": "debian-12", "skus": "12", "version": "latest",
        "imageTemplateName": "web", "runOutputName": "out", "triggerName": "own-trigger", "runId": run_id,
        "operationId": run.headers["Azure-AsyncOperation"].partition("?")[0].rpartition("/")[2],
        "deploymentName": "d1", "Deployments_GetStatus/operationId": statuses[-2],
        "AtSubscriptionScope/operationId": statuses[-1], "ForSubscription/roleAssignmentName": str(uuid.UUID(int=4)),
        "documentName": "provenance",
        "galleryName": "golden", "imageName": "web", "galleries/imageName": "debian", "versionName": "1.0.0",
        "identityName": "builder", "virtualNetworkName": "own-network", "subnetName": "build",
        "networkSecurityGroupName": "rules", "securityRuleName": "ssh",
        "roleDefinitionId": ROLE, "roleAssignmentName": ASSIGNMENT, "{provider}/roleAssignmentName": ON_RESOURCE,
        "ForChild/roleAssignmentName": str(uuid.UUID(int=5)), "ForGrandchild/roleAssignmentName": str(uuid.UUID(int=6)),
        "type2": "images", "name2": "debian", "type3": "versions", "name3": "1.0.0",
        "provider": "Microsoft.Compute", "type": "galleries", "name": "one", "{provider}/name": "golden",
        "containerGroups/name": containers[0]["name"], "containerGroups/containerName": "packer",
        "virtualMachines/name": "build-vm", "disks/name": "build-vm-os-disk", "networkInterfaces/name": "build-vm-nic",
        "accountName": account, "storageAccounts/containerName": "packerlogs", "folderName": run_id,
        "GetDisk/containerName": "vhds", "blobName": "customization.log", "GetDisk/blobName": "disk.vhd",
        "scriptName": "build", "credentialName": "github",
        "objectId": str(uuid.UUID(int=7)),
        "featureNamespace": "Microsoft.Compute", "featureName": "SomePreview",
    }  # fmt: skip
    for word in ("containerGroups", "virtualMachines", "disks", "networkInterfaces", "storageAccounts"):
        names[f"{word}/resourceGroupName"] = staging.rpartition("/")[2]
    return Filled(service, names)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """One service for all tests: none of them changes anything."""
    home: Path = tmp_path_factory.mktemp("service")
    with living_service(home, TestAccess(dict(ROLES)), home / "vmkiln.sqlite") as service:
        found = fill(service)
        fill_pool(service.service.store)
        yield found


def test_the_janitor_leaves_what_the_routes_lead_to(filled: Filled) -> None:
    """The tests of this file take longer than its minute on a busy machine."""
    service = filled.service.service
    route = next(route for route in IN_SUBSCRIPTION if route.operation == "Blobs_GetDisk")
    cleaning_up.end_leftovers(service.settings, service.store, lambda _text: None)
    assert answer(filled, route, filled.values(route), "owner")[0] == 200


def path_of(route: Route, values: Mapping[str, str]) -> str:
    path = "/".join(values[part[1:-1]] if part.startswith("{") else part for part in route.path.split("/"))
    return path + QUERIES.get(route.operation, "")


def answer(filled: Filled, route: Route, values: Mapping[str, str], token: str | None) -> tuple[int, str]:
    """Status and text, in which the ids of the question are no difference."""
    body = None if route.body is Body.NONE else a_template()
    response = filled.service.request(route.method, path_of(route, values), body, token=token)
    text = response.text
    for value in sorted(values.values(), key=len, reverse=True):
        text = text.replace(value, "*")
    return response.status_code, text


def other_values(values: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The same question with another id at each position, one at a time, of things that are not there."""
    for name in values:
        missing = {"subscriptionId": ELSEWHERE}.get(name, str(uuid.UUID(int=9)) if "Id" in name else "nothing")
        yield {**values, name: missing}


@pytest.mark.parametrize("route", [route for route in IN_SUBSCRIPTION if route.method in {"GET", "HEAD"}],
                         ids=lambda route: route.operation)  # fmt: skip
def test_the_owner_finds_something_behind_every_route(filled: Filled, route: Route) -> None:
    values = filled.values(route)
    status, text = answer(filled, route, values, "owner")
    if NOT_MADE & set(route.path.split("/")) and "name" in values:
        assert status == 404
        return
    assert status in {200, 204}, text


def check_refused_alike(filled: Filled, route: Route, token: str) -> None:
    values = filled.values(route)
    first = answer(filled, route, values, token)
    assert first[0] in {403, 404}, first
    for others in other_values(values):
        assert answer(filled, route, others, token) == first, others


@pytest.mark.parametrize("route", IN_SUBSCRIPTION, ids=lambda route: route.operation)
def test_a_stranger_gets_the_same_refusal_for_what_is_there_and_what_is_not(filled: Filled, route: Route) -> None:
    if route.operation not in SAME_FOR_ALL:
        check_refused_alike(filled, route, "stranger")


@pytest.mark.parametrize("route", OF_A_GROUP, ids=lambda route: route.operation)
def test_a_neighbour_in_the_same_subscription_is_refused_alike_too(filled: Filled, route: Route) -> None:
    check_refused_alike(filled, route, "neighbour")


@pytest.mark.parametrize("route", IN_SUBSCRIPTION, ids=lambda route: route.operation)
def test_every_route_needs_a_login(filled: Filled, route: Route) -> None:
    assert answer(filled, route, filled.values(route), None)[0] == 401


@pytest.mark.parametrize(
    "route",
    [route for route in IN_SUBSCRIPTION if route.permission not in {Permission.READ, Permission.ANY}],
    ids=lambda route: route.operation,
)
def test_a_reader_changes_nothing(filled: Filled, route: Route) -> None:
    store = filled.service.service.store
    before = [(row.key, row.etag) for row in store.resources.list()]
    assert answer(filled, route, filled.values(route), "reader")[0] == 403
    assert [(row.key, row.etag) for row in store.resources.list()] == before


@pytest.mark.parametrize("token", ["stranger", "neighbour"])
def test_lists_hold_nothing_of_the_other_tenant(filled: Filled, token: str) -> None:
    own = OTHER_SUBSCRIPTION if token == "stranger" else SUBSCRIPTION
    secret = {SUBSCRIPTION} if token == "stranger" else {"/rg1", "IT_rg1"}
    for route in ALL_ROUTES:
        if (
            route.method == "GET"
            and route.permission is not Permission.NONE
            and "{resourceGroupName}" not in route.path
        ):
            values = {**filled.names, "subscriptionId": own}
            response = filled.service.get(path_of(route, values), token=token)
            assert not [word for word in secret if word in response.text], route.operation
