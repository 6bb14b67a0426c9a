"""The blob service of a storage account: its containers, and what a build's containers hold.

A build's containers are read here with the caller's own login; those of users are made and deleted, and their blobs go
over the blob server.
Source: the ARM reference of Microsoft.Storage/storageAccounts/blobServices.
"""

import contextlib
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import refuse
from vmkiln.api.staging.staging_resources import refuse_change
from vmkiln.api.storage.byte_range import BYTES, file_answer
from vmkiln.api.storage.storage_accounts import ONE, blob_endpoint, keys, name_with_keys, of_build, of_user
from vmkiln.azure_names import STORAGE_ACCOUNT
from vmkiln.blobs.account_containers import NAME, AccountContainers, BlobServerAway
from vmkiln.blobs.blob_upload import is_unfinished
from vmkiln.errors import ArmError, Mistake
from vmkiln.staging.logs.log_index import is_index
from vmkiln.staging.staging_resource_group import storage_account_of
from vmkiln.staging.storage_account import LOGS, PICTURE, VHDS, StorageAccount, log_type
from vmkiln.store.rows import StagingGroupRow

BLOB_SERVICE = f"{ONE}/blobServices/default"
CONTAINERS = f"{BLOB_SERVICE}/containers"
CONTAINER = f"{CONTAINERS}/{{containerName}}"
BLOB = f"{CONTAINER}/{{folderName}}/{{blobName}}"
DISK = f"{CONTAINER}/{{blobName}}"
SERVICE_TYPE = f"{STORAGE_ACCOUNT}/blobServices"
CONTAINER_TYPE = f"{SERVICE_TYPE}/containers"


def _build_account(call: Call) -> StorageAccount | None:
    found = of_build(call)
    return None if found is None else storage_account_of(call.service.settings.staging, found[1])


def _users(call: Call) -> AccountContainers:
    """The containers of a user's account. Raises: `ArmError` 404, and 409 when there is no blob server."""
    name = name_with_keys(call)
    key = keys(call).of(name)[0]
    endpoint = blob_endpoint(call)
    assert endpoint is not None  # `keys` has looked
    return AccountContainers(endpoint.of_account(name).rstrip("/"), name, key)


def _away(error: BlobServerAway) -> ArmError:
    return ArmError(503, "ServerBusy", error.message, hint="the service starts it again; try once more")


def _container_body(name: str, resource_id: str) -> dict[str, Any]:
    return {
        "id": resource_id,
        "name": name,
        "type": CONTAINER_TYPE,
        "properties": {"publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available"},
    }


def blob_service(call: Call) -> Answer:
    """GET or PUT the blob service: what it is set to here, whatever was asked: nothing is kept of what is deleted."""
    if of_build(call) is None:
        of_user(call)
    off = {"enabled": False}
    return Answer(
        200,
        {
            "id": call.resource_id,
            "name": "default",
            "type": SERVICE_TYPE,
            "properties": {
                "deleteRetentionPolicy": off,
                "containerDeleteRetentionPolicy": off,
                "isVersioningEnabled": False,
                "changeFeed": off,
                "cors": {"corsRules": []},
            },
        },
    )


def list_containers(call: Call) -> Answer:
    """GET the containers: a build's packerlogs, scripts, vhds as far as there is something in them; or a user's."""
    account = _build_account(call)
    if account is not None:
        names = sorted({blob.partition("/")[0] for blob in _names(account)})
        return Answer(200, {"value": [{"id": f"{call.resource_id}/{name}", "name": name} for name in names]})
    try:
        names = _users(call).names()
    except BlobServerAway as error:
        raise _away(error) from error
    return Answer(200, {"value": [_container_body(name, f"{call.resource_id}/{name}") for name in names]})


def get_container(call: Call) -> Answer:
    """GET a build's container: its blobs by name and size in bytes; or a user's: what it is."""
    account, container = _build_account(call), call.names["containerName"]
    if account is not None:
        return Answer(200, {"value": list(_blobs(call, account, container))})
    try:
        is_there = _users(call).has(container.lower())
    except BlobServerAway as error:
        raise _away(error) from error
    if not is_there:
        raise ArmError(404, "ContainerNotFound", f"The specified container '{container}' does not exist.")
    return Answer(200, _container_body(container.lower(), call.resource_id))


def _names(account: StorageAccount) -> list[str]:
    """The blobs there are, with their containers: no index that we keep beside a log, nothing that is being written."""
    return [name for name in account.blobs() if not is_index(name) and not is_unfinished(name)]


def _blobs(call: Call, account: StorageAccount, container: str) -> list[dict[str, Any]]:
    found = []
    for whole in _names(account):
        folder, _, name = whole.partition("/")
        if folder.lower() != container.lower():
            continue
        with contextlib.suppress(FileNotFoundError):  # its group is being deleted
            size = (account.directory / whole).stat().st_size
            found.append({"id": f"{call.resource_id}/{name}", "name": name, "size": size})
    return found


def put_container(call: Call) -> Answer:
    """PUT a container of a user's account; what belongs to a build is refused. Nothing here is public."""
    if of_build(call) is not None:
        return refuse_change(call)
    name, properties = call.names["containerName"], (call.body or {}).get("properties")
    if not NAME.fullmatch(name):
        refuse([Mistake("name", f"`{name[:80]}` must have 3 to 63 letters a-z, digits and single hyphens")])
    if properties is not None and not isinstance(properties, dict):
        refuse([Mistake("properties", "must be an object")])
    if (properties or {}).get("publicAccess") not in {None, "None"}:
        raise ArmError(409, "PublicAccessNotPermitted", "Public access is not permitted on this storage account.")
    try:
        is_new = _users(call).make(name)
    except BlobServerAway as error:
        raise _away(error) from error
    return Answer(201 if is_new else 200, _container_body(name, call.resource_id))


def delete_container(call: Call) -> Answer:
    """DELETE a container of a user's account with its blobs; 204 when there is none."""
    if of_build(call) is not None:
        return refuse_change(call)
    try:
        return Answer(200 if _users(call).delete(call.names["containerName"].lower()) else 204)
    except BlobServerAway as error:
        raise _away(error) from error


def _staging_of_blobs(call: Call) -> StagingGroupRow:
    """The group of the build whose blobs are read here. Raises: `ArmError` 404 for an account of a user's."""
    found = of_build(call)
    if found is None:
        of_user(call)
        message = "The blobs of a storage account of yours are read over the blob server."
        raise ArmError(404, "BlobNotFound", message, hint="`az storage account show-connection-string`")
    return found[1]


def get_log(call: Call) -> Answer:
    """GET a log as text, or a picture, whole or a part of it (`Range`); one that is being written, as far as it is."""
    staging, names = _staging_of_blobs(call), call.names
    if call.service.shared is not None:
        call.service.shared.pull_log(staging.name, names["folderName"].lower())
    account = storage_account_of(call.service.settings.staging, staging)
    wanted = f"{names['containerName']}/{names['folderName']}/{names['blobName']}"
    if names["containerName"].lower() == LOGS and wanted in _names(account):
        with contextlib.suppress(FileNotFoundError):  # its group is being deleted
            return file_answer(account.directory / wanted, call.headers, log_type(wanted))
    raise ArmError(404, "BlobNotFound", f"The log '{wanted}' was not found.")


def get_disk(call: Call) -> Answer:
    """GET a VHD of a build, whole or a part of it (`Range`), for whoever could read the account's keys.

    Raises: `ArmError` 404 for what is no VHD, or is on another host; 416.
    """
    account, names = storage_account_of(call.service.settings.staging, _staging_of_blobs(call)), call.names
    wanted = f"{VHDS}/{names['blobName']}"
    if names["containerName"].lower() == VHDS and wanted in _names(account):
        with contextlib.suppress(FileNotFoundError):  # its group is being deleted
            return file_answer(account.directory / wanted, call.headers, BYTES, kept_as=names["blobName"])
    raise ArmError(404, "BlobNotFound", f"The VHD '{names['containerName']}/{names['blobName']}' was not found.")


ROUTES = (
    Route("GET", BLOB_SERVICE, "BlobServices_GetServiceProperties", Permission.READ, blob_service),
    Route("PUT", BLOB_SERVICE, "BlobServices_SetServiceProperties", Permission.WRITE, blob_service, Body.JSON),
    Route("GET", CONTAINERS, "BlobContainers_List", Permission.READ, list_containers),
    Route("GET", CONTAINER, "BlobContainers_Get", Permission.READ, get_container),
    Route("PUT", CONTAINER, "BlobContainers_Create", Permission.WRITE, put_container, Body.OPTIONAL_JSON),
    Route("DELETE", CONTAINER, "BlobContainers_Delete", Permission.DELETE, delete_container),
    Route(
        "GET",
        DISK,
        "Blobs_GetDisk",
        Permission.ACTION,
        get_disk,
        needs_api_version=False,
        media_types=(BYTES,),
        has_parts=True,
    ),
    Route(
        "GET",
        BLOB,
        "Blobs_GetLog",
        Permission.READ,
        get_log,
        needs_api_version=False,
        media_types=("text/plain", PICTURE),
        has_parts=True,
    ),
)
