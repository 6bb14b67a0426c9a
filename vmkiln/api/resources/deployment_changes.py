"""What a deployment would change, resource by resource and member by member, as az's what-if shows it."""

from collections.abc import Mapping
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Call
from vmkiln.api.resources.deployment_deletions import others_in_group
from vmkiln.api.resources.deployment_run import DeploymentRun
from vmkiln.arm_template.deployment_plan import DeploymentPlan, NotReady
from vmkiln.arm_template.deployment_template import NESTED
from vmkiln.arm_template.planned_resource import PlannedResource
from vmkiln.azure_names import same_location
from vmkiln.errors import TemplateInvalid
from vmkiln.provisioning.kept_texts import kept_apart

# what the service fills in; a template does not set it
OURS = {"provisioningState", "lastRunStatus", "exactStagingResourceGroup", "exactVersion", "etag", "systemData", "id"}


def changes_of(call: Call, plan: DeploymentPlan, run: DeploymentRun, *, is_complete: bool) -> list[dict[str, Any]]:
    """The changes, in the order of the template; with mode Complete also what would be deleted."""
    found = []
    planned = [item for item in plan.planned() if item.is_wanted and not item.is_existing]
    for item in planned:
        if item.type.lower() == NESTED:
            try:
                child = run.child(item)
                found += changes_of(call, child.plan, child, is_complete=False)
            except NotReady:
                found.append(_unsupported(item, "needs other resources"))
            except TemplateInvalid as error:
                found.append(_unsupported(item, run.mask(str(error.mistakes[0]))))
            continue
        found.append(_change(call, run, item))
    if is_complete and "resourceGroupName" in call.names:
        found += [
            {
                "resourceId": row.id,
                "changeType": "Delete",
                "before": {"id": row.id, "name": row.name, "type": row.type, "location": row.location},
            }
            for row in others_in_group(call, plan)
            if call.may(Permission.READ, row.id)
        ]
    return found


def _unsupported(item: PlannedResource, reason: str) -> dict[str, Any]:
    return {"resourceId": item.id, "changeType": "Unsupported", "unsupportedReason": reason}


def _change(call: Call, run: DeploymentRun, item: PlannedResource) -> dict[str, Any]:
    head = {"id": item.id, "type": item.type, "name": item.name.rsplit("/", 1)[-1], "apiVersion": item.api_version}
    before = call.service.dispatch("GET", item.id, caller=call.caller, query={"api-version": item.api_version})
    try:
        body = run.body(item)
        after = {**head, **kept_apart(body, run.mask, "")[0]}
    except NotReady as error:
        after = {**head, "properties": f"(known when {error.key} is there)"}
    except TemplateInvalid as error:
        return _unsupported(item, run.mask(str(error.mistakes[0])))
    if before.status >= 400 or not isinstance(before.body, dict):
        return {"resourceId": item.id, "changeType": "Create", "after": after}
    was = {name: value for name, value in before.body.items() if name not in OURS} | {"id": item.id}
    delta = differences(
        {k: v for k, v in was.items() if k in after}, {k: v for k, v in after.items() if k != "apiVersion"}
    )
    kind = "Modify" if delta else "NoChange"
    change: dict[str, Any] = {"resourceId": item.id, "changeType": kind, "before": was, "after": after}
    return change | ({"delta": delta} if delta else {})


def differences(before: Any, after: Any, path: str = "") -> list[dict[str, Any]]:
    """What differs, member by member; what only the service knows does not count; pure."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for name in sorted({*before, *after} - OURS):
            where = f"{path}.{name}" if path else name
            if name not in before:
                found.append(_difference(where, "Create", None, after[name]))
            elif name in after:
                found += differences(before[name], after[name], where)
        return found
    if isinstance(before, str) and isinstance(after, str) and path == "location":
        return [] if same_location(before, after) else [_difference(path, "Modify", before, after)]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            item
            for index, pair in enumerate(zip(before, after, strict=True))
            for item in differences(*pair, f"{path}.{index}")
        ]
    return [] if before == after else [_difference(path, "Modify", before, after)]


def _difference(path: str, kind: str, before: Any, after: Any) -> dict[str, Any]:
    return {"path": path, "propertyChangeType": kind, "before": before, "after": after, "children": None}
