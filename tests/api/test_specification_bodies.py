"""Bodies as the published schema has them, of every kind and in every stable api-version: accepted, and whole again.

Source: docs/reference/rest-api.md#api-versions; docs/reference/image-template.md#template. `since` is the api-version
that brought a member.
"""

from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, InstantWork, TestAccess, add_group, code_of, started

from vmkiln.store.database import opened
from vmkiln.store.rows import RunOutputRow
from vmkiln.template.api_version import API_VERSIONS

STABLE = [version for version in API_VERSIONS if not version.endswith("-preview")]
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/golden"
DEFINITION = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/debian"
SUBNETS = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/net/subnets"
URL = "https://example.org/file"
SHA = "ade4c5214c3c675e92c66e2d067a870c5b81b9844b3de3cc72c49ff36425fc93"
LINUX = {
    "type": "PlatformImage",
    "publisher": "Canonical",
    "offer": "UbuntuServer",
    "sku": "18.04-LTS",
    "version": "latest",
}
WINDOWS = {
    "type": "PlatformImage",
    "publisher": "MicrosoftWindowsServer",
    "offer": "WindowsServer",
    "sku": "2019-Datacenter",
    "version": "latest",
}
SHELL = {"type": "Shell", "name": "one", "inline": ["echo hello"]}
MANAGED = {
    "type": "ManagedImage",
    "runOutputName": "managed",
    "imageId": IMAGE,
    "location": "westus2",
    "artifactTags": {"a": "b"},
}
SHARED = {"type": "SharedImage", "runOutputName": "shared", "galleryImageId": DEFINITION}
VHD = {"type": "VHD", "runOutputName": "vhd"}

# name, since, the members that replace those of the plain template
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("plain", "2020-02-14", {}),
    (
        "plan",
        "2020-02-14",
        {"source": {**LINUX, "planInfo": {"planName": "a", "planProduct": "b", "planPublisher": "c"}}},
    ),
    ("managed image source", "2020-02-14", {"source": {"type": "ManagedImage", "imageId": IMAGE}}),
    (
        "image version source",
        "2020-02-14",
        {"source": {"type": "SharedImageVersion", "imageVersionId": f"{DEFINITION}/versions/1.0.0"}},
    ),
    (
        "latest image version source",
        "2022-07-01",
        {"source": {"type": "SharedImageVersion", "imageVersionId": f"{DEFINITION}/versions/latest"}},
    ),
    ("script", "2020-02-14", {"customize": [{"type": "Shell", "scriptUri": URL, "sha256Checksum": SHA}]}),
    (
        "file",
        "2020-02-14",
        {"customize": [{"type": "File", "sourceUri": URL, "destination": "/tmp/x", "sha256Checksum": SHA}]},
    ),
    (
        "windows",
        "2020-02-14",
        {
            "source": WINDOWS,
            "customize": [
                {"type": "PowerShell", "inline": ["dir"], "runElevated": True, "validExitCodes": [0, 1]},
                {"type": "PowerShell", "scriptUri": URL, "sha256Checksum": SHA},
                {
                    "type": "WindowsRestart",
                    "restartCommand": "shutdown /r",
                    "restartCheckCommand": "x",
                    "restartTimeout": "10m",
                },
                {
                    "type": "WindowsUpdate",
                    "searchCriteria": "BrowseOnly=0",
                    "filters": ["$_.BrowseOnly"],
                    "updateLimit": 100,
                },
            ],
        },
    ),
    (
        "run as system",
        "2021-10-01",
        {
            "source": WINDOWS,
            "customize": [{"type": "PowerShell", "inline": ["x"], "runElevated": True, "runAsSystem": True}],
        },
    ),
    (
        "targets",
        "2020-02-14",
        {
            "distribute": [
                MANAGED,
                VHD,
                {
                    **SHARED,
                    "replicationRegions": ["eastus"],
                    "excludeFromLatest": False,
                    "storageAccountType": "Standard_ZRS",
                },
            ]
        },
    ),
    (
        "regions and versions",
        "2022-07-01",
        {
            "distribute": [
                {**VHD, "uri": "https://mystorage.blob.core.windows.net/container/path.vhd"},
                {
                    **SHARED,
                    "versioning": {"scheme": "Latest", "major": 2},
                    "targetRegions": [{"name": "eastus", "replicaCount": 2, "storageAccountType": "Premium_LRS"}],
                },
                {**SHARED, "runOutputName": "second", "versioning": {"scheme": "Source"}},
            ]
        },
    ),
    ("shallow", "2025-10-01", {"distribute": [{**SHARED, "replicationMode": "Shallow"}]}),
    (
        "profile",
        "2020-02-14",
        {"vmProfile": {"vmSize": "Standard_D2s_v3", "osDiskSizeGB": 64, "vnetConfig": {"subnetId": f"{SUBNETS}/a"}}},
    ),
    (
        "proxy and identities",
        "2021-10-01",
        {
            "vmProfile": {
                "userAssignedIdentities": [IDENTITY],
                "vnetConfig": {"subnetId": f"{SUBNETS}/a", "proxyVmSize": "Standard_A1_v2"},
            }
        },
    ),
    (
        "container subnet",
        "2024-02-01",
        {"vmProfile": {"vnetConfig": {"subnetId": f"{SUBNETS}/a", "containerInstanceSubnetId": f"{SUBNETS}/b"}}},
    ),
    (
        "validation",
        "2022-02-14",
        {
            "validate": {
                "continueDistributeOnFailure": True,
                "sourceValidationOnly": False,
                "inVMValidations": [{"type": "Shell", "inline": ["true"]}, {"type": "Shell", "scriptUri": URL}],
            }
        },
    ),
    (
        "file validation",
        "2022-07-01",
        {"validate": {"inVMValidations": [{"type": "File", "sourceUri": URL, "destination": "/tmp/y"}]}},
    ),
    ("staging group", "2022-02-14", {"stagingResourceGroup": GROUP.replace("rg1", "staging")}),
    ("boot", "2022-07-01", {"optimize": {"vmBoot": {"state": "Enabled"}}}),
    ("error handling", "2023-07-01", {"errorHandling": {"onCustomizerError": "abort", "onValidationError": "cleanup"}}),
    ("auto run", "2024-02-01", {"autoRun": {"state": "Enabled"}, "managedResourceTags": {"team": "web"}}),
    ("data disks", "2025-10-01", {"additionalDataDisks": [{"sizeGB": 10}]}),
    (
        "workload",
        "2025-10-01",
        {"optimize": {"workload": {"state": "Enabled", "scriptUri": URL, "sha256Checksum": ""}}},
    ),
]
ALL = [(name, version, members) for name, since, members in CASES for version in STABLE if version >= since]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service whose templates are provisioned at once."""
    home = tmp_path_factory.mktemp("service")
    with opened(home / "vmkiln.sqlite") as store:
        service = started(store, home, TestAccess({"owner": [("Owner", "/")]}), InstantWork(store=store))
        add_group(service)
        made = service.put(IDENTITY, {"location": "westus"})
        assert made.status_code == 201
        store.principals.assign(made.json()["properties"]["principalId"], "Contributor", GROUP)  # its runs have these
        yield service


def check_template(found: dict[str, Any], given: dict[str, Any]) -> None:
    """The documented shape: every member of the resource, and what was given as it was given."""
    assert {"id", "name", "type", "location", "tags", "identity", "properties", "systemData"} <= set(found)
    assert found["type"] == "Microsoft.VirtualMachineImages/imageTemplates"
    assert set(found["systemData"]) >= {"createdBy", "createdByType", "createdAt", "lastModifiedAt"}
    properties = found["properties"]
    assert properties["provisioningState"] in {"Creating", "Succeeded"}
    for name, value in given["properties"].items():
        check_same(value, properties[name], name)
    identity = found["identity"]["userAssignedIdentities"][IDENTITY]
    assert {"principalId", "clientId"} == set(identity)


def check_same(given: Any, found: Any, path: str) -> None:
    """Nothing that was given is lost; more may be told."""
    if isinstance(given, dict):
        for name, value in given.items():
            if value not in ("", None):
                check_same(value, found[name], f"{path}.{name}")
    elif isinstance(given, list):
        assert len(given) == len(found), path
        for index, (one, other) in enumerate(zip(given, found, strict=True)):
            check_same(one, other, f"{path}[{index}]")
    else:
        assert given == found, path


@pytest.mark.parametrize(("name", "version", "members"), ALL, ids=[f"{name}-{version}" for name, version, _ in ALL])
def test_a_body_of_the_schema_is_accepted_and_comes_back_whole(
    kept: InProcess, name: str, version: str, members: dict[str, Any]
) -> None:
    body = {
        "location": "westus",
        "tags": {"imagetemplate_tag1": "IT_T1"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
        "properties": {"source": LINUX, "customize": [SHELL], "distribute": [MANAGED], **members},
    }
    response = kept.put(TEMPLATE, body, api_version=version)
    assert response.status_code == 201, response.text
    check_template(response.json(), body)
    read = kept.get(TEMPLATE, api_version=version)
    assert read.status_code == 200
    check_template(read.json(), body)
    tagged = kept.request("PATCH", TEMPLATE, {"tags": {"new-tag": "new-value"}}, api_version=version)
    assert (tagged.status_code, tagged.content) == (202, b"")
    assert kept.get(TEMPLATE, api_version=version).json()["tags"] == {"new-tag": "new-value"}
    gone = kept.request("DELETE", TEMPLATE, api_version=version)
    assert gone.status_code == 202
    assert "Location" in gone.headers


@pytest.mark.parametrize("version", STABLE)
def test_run_and_cancel_have_the_documented_codes_and_headers(kept: InProcess, version: str) -> None:
    body = {
        "location": "westus",
        "identity": {"type": "None"},
        "properties": {"source": LINUX, "customize": [SHELL], "distribute": [MANAGED]},
    }
    assert kept.put(TEMPLATE, body, api_version=version).status_code == 201
    run = kept.request("POST", f"{TEMPLATE}/run", api_version=version)
    assert (run.status_code, run.content) == (202, b"")
    status = kept.get(run.headers["Azure-AsyncOperation"], api_version=None)
    assert status.status_code == 200
    assert {"id", "name", "status", "startTime"} <= set(status.json())
    found = kept.get(f"{TEMPLATE}/runOutputs", api_version=version)
    assert found.json() == {"value": []}
    again = kept.request("POST", f"{TEMPLATE}/run", api_version=version)
    assert again.status_code == 409
    error = again.json()
    assert (error if version < "2021-10-01" else error["error"])["code"] == "OperationNotAllowed"
    assert kept.request("POST", f"{TEMPLATE}/cancel", api_version=version).status_code == 204
    assert kept.request("DELETE", TEMPLATE, api_version=version).status_code == 202


RESOURCE = {"id", "name", "type", "properties"}


def one_of(kept: InProcess, path: str, version: str, members: set[str]) -> dict[str, Any]:
    """The only item of a list, which has these members and is answered alike by its own address."""
    found = kept.get(path, api_version=version).json()
    assert len(found["value"]) == 1
    item: dict[str, Any] = found["value"][0]
    assert members <= set(item)
    alone = kept.get(item["id"], api_version=version)
    assert (alone.status_code, alone.json()) == (200, item)
    return item


@pytest.mark.parametrize("version", STABLE)
def test_lists_run_outputs_and_updates_have_the_documented_shape(kept: InProcess, version: str) -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    properties = {"source": LINUX, "customize": [SHELL], "distribute": [MANAGED]}
    assert kept.put(TEMPLATE, {"location": "westus", "identity": identity, "properties": properties}).status_code == 201
    for where in (f"/subscriptions/{SUBSCRIPTION}", GROUP):
        one_of(
            kept, f"{where}/providers/Microsoft.VirtualMachineImages/imageTemplates", version, {*RESOURCE, "location"}
        )
    kept.request("POST", f"{TEMPLATE}/run", api_version=version)
    store = kept.service.store
    run_id = store.runs.of_template(TEMPLATE)[0].run_id
    store.images.put_output(RunOutputRow(run_id, "managed", IMAGE, "", "Succeeded", ""))
    output = one_of(kept, f"{TEMPLATE}/runOutputs", version, RESOURCE)
    assert output["type"] == "Microsoft.VirtualMachineImages/imageTemplates/runOutputs"
    assert output["properties"] == {"artifactId": IMAGE, "provisioningState": "Succeeded"}
    assert kept.request("POST", f"{TEMPLATE}/cancel", api_version=version).status_code == 204
    changes: list[tuple[str, dict[str, Any]]] = [
        ("2020-02-14", {"identity": {"type": "None"}}),
        ("2023-07-01", {"properties": {"distribute": [MANAGED, VHD]}}),
        ("2024-02-01", {"properties": {"vmProfile": {"vmSize": "Standard_D2s_v3", "osDiskSizeGB": 127}}}),
    ]
    for since, change in changes:
        response = kept.request("PATCH", TEMPLATE, change, api_version=version)
        assert response.status_code == (202 if version >= since else 400), response.text
        if response.status_code == 202:
            check_same(change, kept.get(TEMPLATE, api_version=version).json(), "")
    assert kept.request("DELETE", TEMPLATE, api_version=version).status_code == 202


@pytest.mark.parametrize("version", [version for version in STABLE if version >= "2022-07-01"])
def test_triggers_have_the_documented_codes_and_shape(kept: InProcess, version: str) -> None:
    source = {**LINUX, "publisher": "Debian", "offer": "debian-12", "sku": "12"}
    properties = {"source": source, "customize": [SHELL], "distribute": [MANAGED]}
    kept.put(TEMPLATE, {"location": "westus", "identity": {"type": "None"}, "properties": properties})
    path = f"{TEMPLATE}/triggers/source"
    made = kept.put(path, {"properties": {"kind": "SourceImage"}}, api_version=version)
    assert made.status_code == 201
    assert "Azure-AsyncOperation" in made.headers
    trigger = one_of(kept, f"{TEMPLATE}/triggers", version, {*RESOURCE, "systemData"})
    assert trigger["type"] == "Microsoft.VirtualMachineImages/imageTemplates/triggers"
    assert trigger["properties"]["kind"] == "SourceImage"
    assert set(trigger["properties"]["status"]) == {"code", "message", "time"}
    gone = kept.request("DELETE", path, api_version=version)
    assert (gone.status_code, "Location" in gone.headers) == (202, True)
    assert kept.request("DELETE", path, api_version=version).status_code == 204
    assert kept.request("DELETE", TEMPLATE, api_version=version).status_code == 202


@pytest.mark.parametrize("version", STABLE)
def test_the_operations_of_the_provider_have_the_documented_shape(kept: InProcess, version: str) -> None:
    found = kept.get("/providers/Microsoft.VirtualMachineImages/operations", api_version=version).json()["value"]
    assert all({"name", "display", "isDataAction"} <= set(item) for item in found)
    assert all({"provider", "resource", "operation", "description"} == set(item["display"]) for item in found)


@pytest.mark.parametrize("version", [version for version in STABLE if version >= "2024-02-01"])
def test_strict_versions_refuse_what_the_schema_does_not_have(kept: InProcess, version: str) -> None:
    body = {
        "location": "westus",
        "apiVersion": version,
        "identity": {"type": "None"},
        "properties": {"Source": LINUX, "source": LINUX, "distribute": [MANAGED]},
    }
    response = kept.put(TEMPLATE, body, api_version=version)
    assert (response.status_code, code_of(response)) == (400, "ValidationFailed")
    for word in ("apiVersion", "Source"):
        assert f'unknown field "{word}"' in response.text.replace('\\"', '"')
