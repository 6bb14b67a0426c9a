"""Microsoft.Storage/storageAccounts that users make, such as for the scripts of their templates.

With a blob server an account has blobs and keys; without one it is a name, and says so. What a user's account holds is
kept by the blob server alone: it is a copy of nothing.
Source: the ARM reference of Microsoft.Storage (names, kinds, checkNameAvailability; PUT answers 200); "Scalability
targets for standard storage accounts" (250 accounts in a subscription).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vmkiln.api.protocol.groups import group_of
from vmkiln.api.protocol.revision import check_etag, system_data, time_text
from vmkiln.api.protocol.route import Answer, Call
from vmkiln.api.protocol.tags import check_location, location_mistakes, refuse, tag_mistakes
from vmkiln.azure_names import STORAGE_ACCOUNT, ProvisioningState, plain_location
from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService
from vmkiln.blobs.blob_server import BlobFolder
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.resource_table import Beside
from vmkiln.store.rows import ResourceRow

MOST_ACCOUNTS = 250
NAME = re.compile(r"[a-z0-9]{3,23}")
NAME_RULE = "must have 3 to 23 letters a-z and digits; names of 24 are those of builds"
KINDS = ("StorageV2", "Storage", "BlobStorage", "BlockBlobStorage", "FileStorage")
SKU = "Standard_LRS"


def found(call: Call) -> ResourceRow | None:
    """The user's account of a call's path; none when there is none."""
    row = call.service.store.resources.get(f"{_group_path(call)}/{STORAGE_ACCOUNT}/{call.names['accountName']}")
    return row if row is not None and row.type == STORAGE_ACCOUNT else None


def _group_path(call: Call) -> str:
    return f"{group_of(call).id}/providers"


def has_blobs(call: Call, endpoint: BlobEndpoint | None) -> bool:
    """Whether users' accounts hold blobs here: with our own blob server, and no other host that has one too."""
    return endpoint is not None and endpoint.service is BlobService.AZURITE and call.service.shared is None


def body_of(row: ResourceRow, endpoint: BlobEndpoint | None) -> dict[str, Any]:
    """An account as clients see it; `endpoint` is where its blobs are, none when it is a name only."""
    blobs = {} if endpoint is None else {"primaryEndpoints": {"blob": endpoint.of_account(row.name)}}
    return {
        "id": row.id,
        "name": row.name,
        "type": STORAGE_ACCOUNT,
        "location": row.location,
        "tags": dict(row.tags),
        "kind": row.state.get("kind", KINDS[0]),
        "sku": {"name": row.state.get("sku", SKU), "tier": str(row.state.get("sku", SKU)).partition("_")[0]},
        "properties": {
            **row.properties,
            "creationTime": time_text(row.created),
            "primaryLocation": row.location,
            "statusOfPrimary": "available",
            "allowBlobPublicAccess": False,
            "allowSharedKeyAccess": endpoint is not None,
            "supportsHttpsTrafficOnly": endpoint is None or endpoint.url.startswith("https:"),
            **blobs,
        },
        "systemData": system_data(row),
    }


def _body_mistakes(body: Mapping[str, Any]) -> list[Mistake]:
    mistakes = [*tag_mistakes(body.get("tags")), *location_mistakes(body)]
    if body.get("properties") is not None and not isinstance(body["properties"], dict):
        mistakes.append(Mistake("properties", "must be an object"))
    if body.get("kind") is not None and body["kind"] not in KINDS:
        mistakes.append(Mistake("kind", f"must be one of {', '.join(KINDS)}"))
    sku = body.get("sku")
    name = sku.get("name") if isinstance(sku, dict) else None
    if sku is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]+_[A-Za-z0-9]{2,8}", name)):
        mistakes.append(Mistake("sku.name", f"must be the name of one, such as `{SKU}`"))
    return mistakes


def put(call: Call) -> ResourceRow:
    """Make an account, or change its tags, kind and properties. Raises: `ArmError` 400, 409."""
    group, name = group_of(call), call.names["accountName"]
    mistakes = _body_mistakes(call.body)
    if not NAME.fullmatch(name):
        mistakes.insert(0, Mistake("name", f"`{name[:60]}` {NAME_RULE}"))
    refuse(mistakes, code="InvalidParameter")
    old = found(call)
    check_etag(call, old)
    location = plain_location(call.body["location"])
    if old is None:
        check_location(call, call.body["location"], STORAGE_ACCOUNT)
    if old is not None and old.location != location:
        message = f"The resource '{name}' already exists in location '{old.location}'."
        raise ArmError(409, "InvalidResourceLocation", message, target="location")
    row = ResourceRow(
        id=f"{group.id}/providers/{STORAGE_ACCOUNT}/{name}",
        type=STORAGE_ACCOUNT,
        name=name,
        subscription_id=call.names["subscriptionId"],
        resource_group=group.name,
        location=location,
        tags=call.body.get("tags") or {},
        properties={**(call.body.get("properties") or {}), "provisioningState": ProvisioningState.SUCCEEDED},
        state={"kind": call.body.get("kind") or KINDS[0], "sku": (call.body.get("sku") or {}).get("name", SKU)},
        created_by=call.caller.name,
        changed_by=call.caller.name,
    )
    resources = call.service.store.resources
    made = resources.insert_beside(row, lambda beside: _check_free(call, beside, row)) if old is None else None
    return made or resources.put(row)


def _check_free(call: Call, beside: Beside, row: ResourceRow) -> None:
    """Nobody has the name, and what a deleted account of that name held is gone: it is nobody else's to read."""
    others = beside(type=STORAGE_ACCOUNT)
    if any(other.name == row.name for other in others):
        message = f"The storage account named {row.name} is already taken."
        raise ArmError(409, "StorageAccountAlreadyTaken", message, target="name")
    keys = _keys(call)
    if row.name in keys.deleted():
        message = f"The storage account named {row.name} was deleted, and what it held is being taken away."
        raise ArmError(409, "StorageAccountAlreadyTaken", message, target="name", hint="try again in half a minute")
    if row.name in keys.all():
        message = f"The storage account named {row.name} has blobs, and is not on record: a back-up was restored."
        hint = "who keeps this service may take its name out of blobs/accounts.json when nobody needs them"
        raise ArmError(409, "StorageAccountAlreadyTaken", message, target="name", hint=hint)
    if sum(other.subscription_id == row.subscription_id.lower() for other in others) >= MOST_ACCOUNTS:
        message = f"A subscription has at most {MOST_ACCOUNTS} storage accounts."
        raise ArmError(409, "QuotaExceeded", message, hint="delete some that nobody uses")


def _keys(call: Call) -> AccountKeys:
    return AccountKeys(BlobFolder(call.service.settings.blobs).keys)


def is_taken(call: Call, name: str) -> bool:
    """Whether a user's account has this name, whosever it is."""
    return any(row.name == name for row in call.service.store.resources.list(type=STORAGE_ACCOUNT))


def patch(call: Call, row: ResourceRow) -> ResourceRow:
    """Change tags, and members of properties (RFC 7396 at the first level). Raises: `ArmError` 400."""
    check_etag(call, row)
    body = {"location": row.location, **call.body}
    refuse(_body_mistakes(body), code="InvalidParameter")
    tags, change = call.body.get("tags"), call.body.get("properties") or {}

    def changed(old: ResourceRow) -> ResourceRow:
        merged = {name: value for name, value in {**old.properties, **change}.items() if value is not None}
        return replace(
            old,
            tags=old.tags if tags is None else tags,
            properties=merged | {"provisioningState": ProvisioningState.SUCCEEDED},
            changed_by=call.caller.name,
        )

    return call.service.store.resources.change(row.id, changed, is_asked=True) or row


def check_name(call: Call) -> Answer:
    """POST checkNameAvailability: whether the name can be given. Raises: `ArmError` 400."""
    name = call.body.get("name")
    if not isinstance(name, str):
        refuse([Mistake.missing("name") if name is None else Mistake("name", "must be a string")])
    if not NAME.fullmatch(str(name)):
        reason, message = "AccountNameInvalid", f"{str(name)[:60]} is not a valid storage account name: it {NAME_RULE}."
    elif is_taken(call, str(name)) or name in _keys(call).all():
        reason, message = "AlreadyExists", f"The storage account named {name} is already taken."
    else:
        return Answer(200, {"nameAvailable": True})
    return Answer(200, {"nameAvailable": False, "reason": reason, "message": message})
