"""Storage accounts: those of staging resource groups, and those that users make; their endpoints and keys.

The blob server answers Azure's Blob protocol; without one, logs are read here with the caller's own login. A log's
address is the one that a failed run's message names, so `az rest --url` fetches it.
Source: docs/reference/behaviour.md#staging-resource-group, #logs; docs/reference/clients.md#storage-accounts (why
endpoints are path-style).
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, group_of
from vmkiln.api.protocol.revision import check_etag, time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.staging.staging_resources import refuse_change, staging_group, staging_groups
from vmkiln.api.storage import users_accounts
from vmkiln.api.storage.users_accounts import check_name
from vmkiln.azure_names import RESOURCE_GROUP, STORAGE_ACCOUNT, ProvisioningState
from vmkiln.blobs.account_keys import NAMES, AccountKeys, Keys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, read_endpoint
from vmkiln.blobs.blob_server import BlobFolder
from vmkiln.errors import ArmError
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.rows import ResourceRow, StagingGroupRow

ALL = f"{GROUP_PATH}/{STORAGE_ACCOUNT}"
ONE = f"{ALL}/{{accountName}}"
IN_SUBSCRIPTION = f"/subscriptions/{{subscriptionId}}/providers/{STORAGE_ACCOUNT}"
CHECK_NAME = "/subscriptions/{subscriptionId}/providers/Microsoft.Storage/checkNameAvailability"
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


def has_keys(call: Call, endpoint: BlobEndpoint | None) -> bool:
    """Whether anybody is given keys: with our own blob server, and not of an account of a command's group."""
    return endpoint is not None and endpoint.service is BlobService.AZURITE and "subscriptionId" in call.names


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
            "allowSharedKeyAccess": has_keys(call, endpoint),
            "supportsHttpsTrafficOnly": endpoint is None or endpoint.url.startswith("https:"),
            **blobs,
            "logs": f"{call.base_url}{account_id}/blobServices/default/containers/{LOGS}",
        },
    }


def of_build(call: Call) -> tuple[ResourceRow, StagingGroupRow] | None:
    """The staging resource group whose account is meant; none for any other name."""
    group = group_of(call)
    staging = staging_group(call, group)
    if staging is None or staging.storage_account != call.names["accountName"].lower():
        return None
    return group, staging


def _not_found(call: Call) -> ArmError:
    message = f"The Resource '{STORAGE_ACCOUNT}/{call.names['accountName']}' was not found."
    return ArmError(404, "ResourceNotFound", message)


def of_user(call: Call) -> ResourceRow:
    """The user's account of a call's path. Raises: `ArmError` 404."""
    is_possible = "subscriptionId" in call.names  # a group that a command made holds its own account alone
    if not is_possible or (found := users_accounts.found(call)) is None:
        raise _not_found(call)
    return found


def _users_body(call: Call, row: ResourceRow) -> dict[str, Any]:
    endpoint = blob_endpoint(call)
    return users_accounts.body_of(row, endpoint if users_accounts.has_blobs(call, endpoint) else None)


def get(call: Call) -> Answer:
    """GET one."""
    if (found := of_build(call)) is not None:
        return Answer(200, account_body(call, *found, blob_endpoint(call)))
    return Answer(200, _users_body(call, of_user(call)))


def put(call: Call) -> Answer:
    """PUT one of a user's; what belongs to a build is refused."""
    if staging_group(call, group_of(call)) is not None:
        return refuse_change(call)
    return Answer(200, _users_body(call, users_accounts.put(call)))


def patch(call: Call) -> Answer:
    """PATCH one of a user's; what belongs to a build is refused."""
    if of_build(call) is not None:
        return refuse_change(call)
    return Answer(200, _users_body(call, users_accounts.patch(call, of_user(call))))


def delete(call: Call) -> Answer:
    """DELETE one of a user's, with what it holds, which goes within half a minute; 204 when there is none."""
    if of_build(call) is not None:
        return refuse_change(call)
    if (row := users_accounts.found(call)) is None:
        return Answer(204)
    check_etag(call, row)
    AccountKeys(BlobFolder(call.service.settings.blobs).keys).mark_deleted(row.name)  # while its name is nobody else's
    call.service.store.resources.delete(row.id)
    return Answer(200)


def of_groups(call: Call, groups: list[ResourceRow], users: Sequence[ResourceRow] = ()) -> Answer:
    """The accounts of builds in these groups, and those of users."""
    endpoint = blob_endpoint(call)
    found = staging_groups(call, groups)
    bodies = [account_body(call, group, staging, endpoint) for group, staging in found]
    return Answer(200, {"value": bodies + [_users_body(call, row) for row in users]})


def list_in_group(call: Call) -> Answer:
    """GET the accounts of a group: the build's, when it is a staging resource group, or the users'."""
    group = group_of(call)
    resources, subscription = call.service.store.resources, call.names["subscriptionId"]
    users = resources.list(type=STORAGE_ACCOUNT, subscription_id=subscription, resource_group=group.name)
    return of_groups(call, [group], users)


def list_in_subscription(call: Call) -> Answer:
    """GET the accounts of a subscription, as far as the caller may read them."""
    resources, subscription = call.service.store.resources, call.names["subscriptionId"]
    groups = resources.list(type=RESOURCE_GROUP, subscription_id=subscription)
    users = resources.list(type=STORAGE_ACCOUNT, subscription_id=subscription)
    readable = [group for group in groups if call.may(Permission.READ, group.id)]
    return of_groups(call, readable, [row for row in users if call.may(Permission.READ, row.id)])


def keys(call: Call) -> AccountKeys:
    """The keys, when there is somebody to show them to. Raises: `ArmError` 409."""
    endpoint = blob_endpoint(call)
    if endpoint is None or endpoint.service is not BlobService.AZURITE:
        message = "the account has no keys: its logs are read with your own login"
        hint = "GET its blobServices/default/containers; `vmkiln storage install` adds a blob server"
        raise ArmError(409, "KeyBasedAuthenticationNotPermitted", message, hint=hint)
    return AccountKeys(BlobFolder(call.service.settings.blobs).keys)


def _keys_body(pair: Keys) -> dict[str, Any]:
    return {
        "keys": [
            {"keyName": name, "value": value, "permissions": "FULL"} for name, value in zip(NAMES, pair, strict=True)
        ]
    }


def name_with_keys(call: Call) -> str:
    """The name of an account that is there and can have keys. Raises: `ArmError` 404, 409."""
    if (found := of_build(call)) is not None:
        return found[1].storage_account
    row = of_user(call)
    if call.service.shared is not None:
        message = "the account is a name only: what it held would be on one host of the fleet"
        hint = "keep scripts in a storage account on Azure, or on a server of the setting private_servers"
        raise ArmError(409, "KeyBasedAuthenticationNotPermitted", message, hint=hint)
    return row.name


def list_keys(call: Call) -> Answer:
    """POST listKeys: both keys, for whoever may act on the account; never for its readers."""
    return Answer(200, _keys_body(keys(call).of(name_with_keys(call))), NO_STORE)


def regenerate_key(call: Call) -> Answer:
    """POST regenerateKey: a new `key1` or `key2`."""
    account, name = name_with_keys(call), call.body.get("keyName")
    if name not in NAMES:
        raise ArmError(400, "InvalidValuesForRequestParameters", "`keyName` must be key1 or key2", target="keyName")
    pair = keys(call).renew(account, name)
    return Answer(200, _keys_body(pair), NO_STORE, {"keyName": name})


ROUTES = (
    Route("GET", ALL, "StorageAccounts_ListByResourceGroup", Permission.READ, list_in_group),
    Route("GET", IN_SUBSCRIPTION, "StorageAccounts_List", Permission.READ, list_in_subscription),
    Route("GET", ONE, "StorageAccounts_GetProperties", Permission.READ, get),
    Route("PUT", ONE, "StorageAccounts_Create", Permission.WRITE, put, Body.JSON),
    Route("PATCH", ONE, "StorageAccounts_Update", Permission.WRITE, patch, Body.JSON),
    Route("DELETE", ONE, "StorageAccounts_Delete", Permission.DELETE, delete),
    Route("POST", CHECK_NAME, "StorageAccounts_CheckNameAvailability", Permission.READ, check_name, Body.JSON),
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
)
