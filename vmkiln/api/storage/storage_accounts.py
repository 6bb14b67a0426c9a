"""The storage account of a staging resource group: its blob endpoint and keys, what it holds, and its logs.

The blob server answers Azure's Blob protocol; without one, logs are read here with the caller's own login. A log's
address is the one that a failed run's message names, so `az rest --url` fetches it.
Source: docs/reference/behaviour.md#staging-resource-group, #logs; docs/reference/clients.md#storage-accounts (why
endpoints are path-style).
"""

from typing import Any
from urllib.parse import urlsplit

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, group_of
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.staging.staging_resources import refuse_change, staging_group, staging_groups
from vmkiln.api.storage.byte_range import file_answer
from vmkiln.azure_names import RESOURCE_GROUP, STORAGE_ACCOUNT, ProvisioningState
from vmkiln.blobs.account_keys import NAMES, AccountKeys, Keys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, read_endpoint
from vmkiln.blobs.blob_server import BlobFolder
from vmkiln.errors import ArmError
from vmkiln.staging.staging_resource_group import storage_account_of
from vmkiln.staging.storage_account import LOGS, StorageAccount
from vmkiln.store.rows import ResourceRow, StagingGroupRow

ALL = f"{GROUP_PATH}/{STORAGE_ACCOUNT}"
ONE = f"{ALL}/{{accountName}}"
IN_SUBSCRIPTION = f"/subscriptions/{{subscriptionId}}/providers/{STORAGE_ACCOUNT}"
CONTAINERS = f"{ONE}/blobServices/default/containers"
CONTAINER = f"{CONTAINERS}/{{containerName}}"
BLOB = f"{CONTAINER}/{{folderName}}/{{blobName}}"
NO_STORE = {"Cache-Control": "no-store"}


def _id(group: ResourceRow, name: str) -> str:
    return f"{group.id}/providers/{STORAGE_ACCOUNT}/{name}"


def blob_endpoint(call: Call) -> BlobEndpoint | None:
    """Where the caller finds blobs; none when nobody serves them, or only to this machine and the caller is elsewhere.

    Who asks for this service under a name of this machine's own is taken to be on it.
    """
    endpoint = read_endpoint(call.service.settings.blob_endpoint)
    if endpoint is None or endpoint.service is BlobService.EXTERNAL:
        return endpoint
    host = urlsplit(call.base_url).hostname or ""
    return endpoint if host in {"localhost", "::1"} or host.startswith("127.") else None


def account_body(
    call: Call, group: ResourceRow, staging: StagingGroupRow, endpoint: BlobEndpoint | None
) -> dict[str, Any]:
    """A storage account as clients see it; `endpoint` is where they find its blobs."""
    account_id = _id(group, staging.storage_account)
    blobs = {} if endpoint is None else {"primaryEndpoints": {"blob": endpoint.of_account(staging.storage_account)}}
    return {
        "id": account_id,
        "name": staging.storage_account,
        "type": STORAGE_ACCOUNT,
        "location": group.location,
        "tags": dict(group.tags),
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "properties": {
            "provisioningState": ProvisioningState.SUCCEEDED,
            "creationTime": time_text(staging.created),
            "primaryLocation": group.location,
            "statusOfPrimary": "available",
            "allowBlobPublicAccess": False,
            "allowSharedKeyAccess": endpoint is not None and endpoint.service is BlobService.AZURITE,
            "supportsHttpsTrafficOnly": endpoint is None or endpoint.url.startswith("https:"),
            **blobs,
            "logs": f"{call.base_url}{account_id}/blobServices/default/containers/{LOGS}",
        },
    }


def _found(call: Call) -> tuple[ResourceRow, StagingGroupRow]:
    group = group_of(call)
    staging = staging_group(call, group)
    if staging is None or staging.storage_account != call.names["accountName"].lower():
        message = f"The Resource '{STORAGE_ACCOUNT}/{call.names['accountName']}' was not found."
        raise ArmError(404, "ResourceNotFound", message)
    return group, staging


def get(call: Call) -> Answer:
    """GET one."""
    group, staging = _found(call)
    return Answer(200, account_body(call, group, staging, blob_endpoint(call)))


def _bodies(call: Call, groups: list[ResourceRow]) -> Answer:
    endpoint = blob_endpoint(call)
    found = staging_groups(call, groups)
    return Answer(200, {"value": [account_body(call, group, staging, endpoint) for group, staging in found]})


def list_in_group(call: Call) -> Answer:
    """GET the accounts of a group: one, when it is a staging resource group."""
    return _bodies(call, [group_of(call)])


def list_in_subscription(call: Call) -> Answer:
    """GET the accounts of a subscription, as far as the caller may read them."""
    groups = call.service.store.resources.list(type=RESOURCE_GROUP, subscription_id=call.names["subscriptionId"])
    return _bodies(call, [group for group in groups if call.may(Permission.READ, group.id)])


def _keys(call: Call) -> AccountKeys:
    """The keys, when there is somebody to show them to. Raises: `ArmError` 409."""
    endpoint = blob_endpoint(call)
    if endpoint is None or endpoint.service is not BlobService.AZURITE:
        message = "the account has no keys: its logs are read with your own login"
        hint = "GET its blobServices/default/containers; `vmkiln storage install` adds a blob server"
        raise ArmError(409, "KeyBasedAuthenticationNotPermitted", message, hint=hint)
    return AccountKeys(BlobFolder(call.service.settings.blobs).keys)


def _keys_body(keys: Keys) -> dict[str, Any]:
    return {
        "keys": [
            {"keyName": name, "value": value, "permissions": "FULL"} for name, value in zip(NAMES, keys, strict=True)
        ]
    }


def list_keys(call: Call) -> Answer:
    """POST listKeys: both keys, for whoever may act on the account; never for its readers."""
    _, staging = _found(call)
    return Answer(200, _keys_body(_keys(call).of(staging.storage_account)), NO_STORE)


def regenerate_key(call: Call) -> Answer:
    """POST regenerateKey: a new `key1` or `key2`."""
    _, staging = _found(call)
    name = call.body.get("keyName")
    if name not in NAMES:
        raise ArmError(400, "InvalidValuesForRequestParameters", "`keyName` must be key1 or key2", target="keyName")
    keys = _keys(call).renew(staging.storage_account, name)
    return Answer(200, _keys_body(keys), NO_STORE, {"keyName": name})


def _account(call: Call) -> StorageAccount:
    _, staging = _found(call)
    return storage_account_of(call.service.settings.staging, staging)


def list_containers(call: Call) -> Answer:
    """GET the containers: packerlogs, scripts, vhds, as far as there is something in them."""
    account = _account(call)
    names = sorted({blob.partition("/")[0] for blob in account.blobs()})
    return Answer(200, {"value": [{"id": f"{call.resource_id}/{name}", "name": name} for name in names]})


def list_blobs(call: Call) -> Answer:
    """GET the blobs of a container: name and size in bytes."""
    account, container = _account(call), call.names["containerName"]
    value = [
        {
            "id": f"{call.resource_id}/{name.partition('/')[2]}",
            "name": name.partition("/")[2],
            "size": _size(account, name),
        }
        for name in account.blobs()
        if name.partition("/")[0].lower() == container.lower()
    ]
    return Answer(200, {"value": value})


def _size(account: StorageAccount, name: str) -> int:
    return (account.directory / name).stat().st_size


def get_log(call: Call) -> Answer:
    """GET a log as text, whole or a part of it (`Range`); one that is being written, as far as it is."""
    (_, staging), names = _found(call), call.names
    account = storage_account_of(call.service.settings.staging, staging)
    if call.service.shared is not None:
        call.service.shared.pull_log(staging.name, names["folderName"].lower())
    wanted = f"{names['containerName']}/{names['folderName']}/{names['blobName']}"
    if names["containerName"].lower() != LOGS or wanted not in account.blobs():
        raise ArmError(404, "BlobNotFound", f"The log '{wanted}' was not found.")
    return file_answer(account.directory / wanted, call.headers, "text/plain; charset=utf-8")


ROUTES = (
    Route("GET", ALL, "StorageAccounts_ListByResourceGroup", Permission.READ, list_in_group),
    Route("GET", IN_SUBSCRIPTION, "StorageAccounts_List", Permission.READ, list_in_subscription),
    Route("GET", ONE, "StorageAccounts_GetProperties", Permission.READ, get),
    Route("PUT", ONE, "StorageAccounts_Create", Permission.WRITE, refuse_change, Body.OPTIONAL_JSON),
    Route("DELETE", ONE, "StorageAccounts_Delete", Permission.DELETE, refuse_change),
    Route(
        "POST",
        f"{ONE}/listKeys",
        "StorageAccounts_ListKeys",
        Permission.ACTION,
        list_keys,
        Body.OPTIONAL_JSON,
        is_recorded_first=True,
    ),
    Route(
        "POST",
        f"{ONE}/regenerateKey",
        "StorageAccounts_RegenerateKey",
        Permission.ACTION,
        regenerate_key,
        Body.JSON,
        is_recorded_first=True,
    ),
    Route("GET", CONTAINERS, "BlobContainers_List", Permission.READ, list_containers),
    Route("GET", CONTAINER, "BlobContainers_ListBlobs", Permission.READ, list_blobs),
    Route("GET", BLOB, "Blobs_GetLog", Permission.READ, get_log, needs_api_version=False, is_text=True),
)
