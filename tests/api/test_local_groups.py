"""The staging resource groups of `vmkiln build` in the API: read by who reads the whole service, changed by nobody."""

import shutil
import uuid

import pytest
from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, provisioned
from local_build import LocalBuild, local_build

from vmkiln.api.builds.local_groups import ROUTES
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Route
from vmkiln.azure_names import CONTAINER_GROUP, NETWORK_INTERFACE, SECURITY_GROUP, STORAGE_ACCOUNT, VIRTUAL_MACHINE
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import StorageAccount

RUN_ID = str(uuid.UUID(int=31))
EVERY = "/providers/Vmkiln.Builds/resourceGroups"
NOT_MADE = {"privateEndpoints", "privateLinkServices", "loadBalancers"}  # by no build without a user's network


@pytest.fixture
def built(living: InProcess) -> LocalBuild:
    """A build of a command that goes on; `root` reads the whole service, `watcher` does nothing else."""
    living.access.roles |= {"root": [("Owner", "/")], "watcher": [("Reader", "/")]}
    return local_build(living.service.settings.staging, living.service.store, RUN_ID)


def path_of(route: Route, built: LocalBuild, *, group: str = "") -> str:
    kind = route.path.partition("/providers/Microsoft.")[2].split("/")
    names = {"resourceGroupName": group or built.group, "containerName": "packer", "accountName": built.account.name}
    names |= {"folderName": RUN_ID, "blobName": "disk.vhd" if "GetDisk" in route.operation else "customization.log"}
    if len(kind) > 1 and f"Microsoft.{kind[0]}/{kind[1]}" in built.names:
        names["name"] = built.names[f"Microsoft.{kind[0]}/{kind[1]}"]
    if "Blob" in route.operation:
        names["containerName"] = "vhds" if "GetDisk" in route.operation else "packerlogs"
    return "/".join(names.get(part[1:-1], "none") if part.startswith("{") else part for part in route.path.split("/"))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_a_local_group_is_read_with_a_role_in_the_whole_service(
    living: InProcess, built: LocalBuild, route: Route
) -> None:
    assert route.method == "GET", "nothing of a command's is changed"
    path = path_of(route, built)
    status = 404 if NOT_MADE & set(route.path.split("/")) and path.endswith("/none") else 200
    assert living.get(path, token="root").status_code == status, path
    is_read = route.permission is Permission.READ
    assert living.get(path, token="watcher").status_code == (status if is_read else 403)
    refusals = [
        living.get(one, token="owner").json()["error"]["code"]
        for one in (path, path_of(route, built, group="IT_nothing"))
    ]
    assert refusals == ["AuthorizationFailed"] * 2, "of a subscription's owner, whether it is there or not"
    assert living.get(path, token="nobody").status_code == 401
    lower = path.replace(built.group, built.group.lower())
    assert living.get(lower, token="root").status_code == status, "names are in any case"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_nothing_of_a_local_group_is_changed_or_given_keys(living: InProcess, built: LocalBuild, method: str) -> None:
    account = f"{built.group_id}/providers/Microsoft.Storage/storageAccounts/{built.account.name}"
    for path in (built.group_id, account, f"{account}/listKeys", f"{built.id_of(CONTAINER_GROUP)}/stop"):
        assert living.request(method, path, {}, token="root").status_code in {404, 405}, path


def test_what_lies_in_a_local_group_has_whole_ids(living: InProcess, built: LocalBuild) -> None:
    found = living.get(built.id_of(VIRTUAL_MACHINE), token="root").json()
    assert found["id"] == built.id_of(VIRTUAL_MACHINE)
    interfaces = found["properties"]["networkProfile"]["networkInterfaces"]
    assert interfaces == [{"id": built.id_of(NETWORK_INTERFACE)}]
    rules = living.get(built.id_of(SECURITY_GROUP), token="root").json()["properties"]["securityRules"]
    assert [(rule["properties"]["access"], rule["properties"]["packetCount"]) for rule in rules] == [("Allow", 12)]
    log = living.get(f"{built.id_of(CONTAINER_GROUP)}/containers/packer/logs", token="root").json()["content"]
    assert "hello from the command" in log
    usage = living.get(f"{built.id_of(CONTAINER_GROUP)}/providers/Vmkiln.Builds/usage", token="root").json()
    assert (len(usage["value"]), usage["memoryMiB"]) == (3, 384)


def test_a_local_group_ends_with_its_build_and_goes_with_its_deletion(living: InProcess, built: LocalBuild) -> None:
    def types() -> list[str]:
        found = living.get(f"{built.group_id}/resources", token="root").json()["value"]
        return [str(one["type"]).rpartition("/")[2] for one in found]

    run = f"/providers/Vmkiln.Builds/runs/{RUN_ID}"
    assert living.get(built.group_id, token="root").json()["managedBy"] == run
    assert len(types()) == 7
    built.end()
    assert types() == ["storageAccounts"]
    assert living.get(run, token="root").json()["properties"]["stagingResourceGroup"] == built.group_id
    store, staging = living.service.store, living.service.settings.staging
    row = store.staging.group(built.group)
    assert row is not None
    staging_resource_group.delete(staging, store, row)
    assert living.get(built.group_id, token="root").status_code == 404
    assert living.get(run, token="root").json()["properties"]["stagingResourceGroup"] is None
    assert living.get(EVERY, token="root").json()["value"] == []


def test_a_templates_group_is_no_local_one(living: InProcess, built: LocalBuild) -> None:
    add_group(living)
    staging = provisioned(living, TEMPLATE, a_template())["properties"]["exactStagingResourceGroup"]
    assert living.get(staging).status_code == 200
    name = staging.rpartition("/")[2]
    assert living.get(f"{EVERY}/{name}", token="root").status_code == 404
    assert [one["name"] for one in living.get(EVERY, token="root").json()["value"]] == [built.group]
    other = f"{EVERY}/{built.group}/providers/Microsoft.Storage/storageAccounts/other"
    assert living.get(other, token="root").status_code == 404
    assert living.get(f"{GROUP.rpartition('/')[0]}/{built.group}", token="root").status_code == 404


def test_what_is_deleted_while_it_is_looked_for_is_not_there(
    living: InProcess, built: LocalBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = built.account.blobs()
    monkeypatch.setattr(StorageAccount, "blobs", lambda _: seen)
    shutil.rmtree(built.account.directory)
    containers = f"{built.group_id}/providers/{STORAGE_ACCOUNT}/{built.account.name}/blobServices/default/containers"
    assert living.get(f"{containers}/vhds", token="root").json() == {"value": []}
    for blob in (f"packerlogs/{RUN_ID}/customization.log", "vhds/disk.vhd"):
        assert living.get(f"{containers}/{blob}", token="root").status_code == 404, blob


def test_local_groups_are_listed_a_hundred_a_page(living: InProcess, built: LocalBuild) -> None:
    for number in range(100):
        made = uuid.UUID(int=1000 + number)
        living.service.store.staging.add_group(f"IT_a_b_{made}", run_id=str(made), storage_account="x", tags={})
    first = living.get(EVERY, token="root").json()
    assert len(first["value"]) == 100
    second = living.get(first["nextLink"], token="root").json()
    assert [one["name"] for one in second["value"]] == [built.group]
    assert "nextLink" not in second
