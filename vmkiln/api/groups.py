"""The resource group that a call's path names."""

from vmkiln.api.route import Call
from vmkiln.errors import ArmError
from vmkiln.run.kept_template import RESOURCE_GROUP, group_id
from vmkiln.store.rows import ResourceRow


def group_of(call: Call) -> ResourceRow:
    """The resource group of a call's path. Raises: `ArmError` 404."""
    name = call.names["resourceGroupName"]
    row = call.parts.store.resources.get(group_id(call.names["subscriptionId"], name))
    if row is None or row.type != RESOURCE_GROUP:
        raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
    return row
