"""The resource group that a call's path names."""

from vmkiln.api.protocol.route import Call
from vmkiln.azure_names import RESOURCE_GROUP, group_id
from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow

GROUP_PATH = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers"


def group_of(call: Call) -> ResourceRow:
    """The resource group of a call's path. Raises: `ArmError` 404."""
    name = call.names["resourceGroupName"]
    row = call.service.store.resources.get(group_id(call.names["subscriptionId"], name))
    if row is None or row.type != RESOURCE_GROUP:
        raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    return row
