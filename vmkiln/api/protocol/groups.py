"""The resource group that a call's path names: one of a subscription, or one that `vmkiln build` made of a file.

The latter belongs to no subscription, and is the command's: here it is only read, by who may read the whole service.
"""

from vmkiln.api.protocol.route import Call
from vmkiln.azure_names import ALL_RUNS, LOCAL_GROUPS, RESOURCE_GROUP, group_id
from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow, RunRow, StagingGroupRow

GROUP_PATH = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers"
LOCAL_GROUP = f"{LOCAL_GROUPS}/{{resourceGroupName}}"


def group_of(call: Call) -> ResourceRow:
    """The resource group of a call's path. Raises: `ArmError` 404."""
    name = call.names["resourceGroupName"]
    if "subscriptionId" not in call.names:
        return _local_group(call, name)
    row = call.service.store.resources.get(group_id(call.names["subscriptionId"], name))
    if row is None or row.type != RESOURCE_GROUP:
        raise _not_found(name)
    return row


def _not_found(name: str) -> ArmError:
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def _local_group(call: Call, name: str) -> ResourceRow:
    staging = call.service.store.staging
    row = staging.group(name)
    if row is None:  # as all names of Azure's, in any case
        row = next((one for one in staging.list_groups() if one.name.lower() == name.lower()), None)
    found = [] if row is None else local_groups(call, [row])
    if not found:
        raise _not_found(name)
    return found[0]


def local_groups(call: Call, rows: list[StagingGroupRow]) -> list[ResourceRow]:
    """Those of these staging resource groups that a command made, as resource groups; in the same order."""
    made = [row for row in rows if row.run_id]
    runs = call.service.store.runs.by_id([row.run_id for row in made], has_template=False)
    return [_as_group(row) for row in made if row.run_id not in runs or not runs[row.run_id].template_id]


def _as_group(row: StagingGroupRow) -> ResourceRow:
    """A staging resource group as a resource group; its run is what manages it; pure."""
    return ResourceRow(
        id=f"{LOCAL_GROUPS}/{row.name}",
        type=RESOURCE_GROUP,
        name=row.name,
        subscription_id="",
        resource_group=row.name,
        tags=row.tags,
        properties={"managedBy": f"{ALL_RUNS}/{row.run_id}"},
        state={"staging_group": row.name},
        created=row.created,
        changed=row.created,
    )


def local_group_id(call: Call, run: RunRow) -> str:
    """The id of the staging resource group of a run that a command made; '' without one, and when that is gone."""
    if run.template_id or not run.staging_group:
        return ""
    row = call.service.store.staging.group(run.staging_group)
    return "" if row is None or not local_groups(call, [row]) else f"{LOCAL_GROUPS}/{row.name}"
