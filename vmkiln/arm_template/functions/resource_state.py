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


def derived_members(type_name: str, resource_id: str) -> dict[str, Any]:
    """Members of `properties` that every made resource of this type has; pure."""
    work_out = _DERIVED.get(type_name.lower())
    return {"provisioningState": ProvisioningState.SUCCEEDED, **(work_out(resource_id) if work_out else {})}
