"""What Azure fills into a resource that follows from its id, so that a file alone tells it.

Source: the "Storage account overview" page (endpoints); resource ids of children.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vmkiln.arm_template.functions.azure_cloud import azure_cloud
from vmkiln.azure_names import ProvisioningState

_ENDPOINTS = ("blob", "queue", "table", "file", "dfs")


def _storage_account(resource_id: str) -> dict[str, Any]:
    name, suffix = resource_id.rpartition("/")[2], azure_cloud()["suffixes"]["storage"]
    return {"primaryEndpoints": {kind: f"https://{name}.{kind}.{suffix}/" for kind in _ENDPOINTS}}


def _key_vault(resource_id: str) -> dict[str, Any]:
    return {"vaultUri": f"https://{resource_id.rpartition('/')[2]}{azure_cloud()['suffixes']['keyvaultDns']}/"}


_DERIVED: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "microsoft.storage/storageaccounts": _storage_account,
    "microsoft.keyvault/vaults": _key_vault,
}


def ids_of(resource_id: str) -> dict[str, str]:
    """The members of a resource's `Full` state that tell where it is; pure."""
    segments = resource_id.strip("/").split("/")
    place = dict(zip([segment.lower() for segment in segments[:4:2]], segments[1:4:2], strict=False))
    found = {"subscriptionId": place.get("subscriptions"), "resourceGroupName": place.get("resourcegroups")}
    return {"id": resource_id, "resourceId": resource_id, **{name: value for name, value in found.items() if value}}


def with_ids(type_name: str, resource_id: str, member_name: str, value: Any) -> Any:
    """A member of a made resource's `properties`, in which the subnets of a virtual network have their ids; pure."""
    is_subnets = (type_name.lower(), member_name.lower()) == ("microsoft.network/virtualnetworks", "subnets")
    if not is_subnets or not isinstance(value, list):
        return value
    return [
        {"id": f"{resource_id}/subnets/{item['name']}", **item} if isinstance(item, dict) and "name" in item else item
        for item in value
    ]


def derived_members(type_name: str, resource_id: str) -> dict[str, Any]:
    """Members of `properties` that every made resource of this type has; pure."""
    work_out = _DERIVED.get(type_name.lower())
    return {"provisioningState": ProvisioningState.SUCCEEDED, **(work_out(resource_id) if work_out else {})}
