"""Mode Complete: what is in the resource group and not in the template goes, as its owner would delete it.

What lies in another resource goes before it, a gallery's versions before its definitions, those before the gallery.
What cannot be deleted fails the deployment; nothing that lies above it is tried then. Locks stay, and hold.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.api.compute.compute_images import as_resource, stored_images
from vmkiln.api.protocol.route import Answer, Call
from vmkiln.api.resources.deployment_run import DeploymentFailed, Done, Tools
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.azure_names import (
    DEPLOYMENT,
    LOCK,
    NEWEST_API_VERSION,
    RESOURCE_GROUP,
    ROLE_DEFINITION,
    ProvisioningState,
    group_id,
)
from vmkiln.store.rows import ResourceRow

GONE_SECONDS = 300.0
LOOK_AGAIN_SECONDS = 5.0
NEVER = {name.lower() for name in (RESOURCE_GROUP, DEPLOYMENT, ROLE_DEFINITION, LOCK)}


def others_in_group(call: Call, plan: DeploymentPlan) -> Iterator[ResourceRow]:
    """What the template does not make, the deepest first: whole top-level resources with all that lies in them."""
    group = group_id(call.names["subscriptionId"], call.names["resourceGroupName"])
    kept = {"/".join(item.id.lower().split("/")[:9]) for item in plan.planned() if item.is_wanted}
    store = call.service.store
    rows = store.resources.list(
        subscription_id=call.names["subscriptionId"], resource_group=call.names["resourceGroupName"]
    )
    rows += [as_resource(image) for image in stored_images(store, group)]
    for row in sorted(rows, key=lambda row: (-row.id.count("/"), row.key)):
        if row.type.lower() not in NEVER and "/".join(row.key.split("/")[:9]) not in kept:
            yield row


def delete_others(call: Call, plan: DeploymentPlan, tools: Tools) -> None:
    """Delete them, each an operation of the deployment. Raises: `DeploymentFailed`."""
    failures: list[Mapping[str, Any]] = []
    for row in others_in_group(call, plan):
        if any(str(failure["target"]).lower().startswith(f"{row.key}/") for failure in failures):
            continue
        started = tools.now()
        answer = _deleted(call, row, tools)
        error: dict[str, Any] = {}
        if answer.status >= 400:
            body = answer.body if isinstance(answer.body, dict) else {}
            error = dict(body.get("error") or {"code": "Unknown", "message": "no reason was given"})
            failures.append({**error, "target": row.id})
        state = ProvisioningState.FAILED if error else ProvisioningState.SUCCEEDED
        tools.record(Done(row.id, row.type, state, started, tools.now(), answer.status, error, "Delete"))
    if failures:
        raise DeploymentFailed(failures)


def _deleted(call: Call, row: ResourceRow, tools: Tools) -> Answer:
    is_ours = row.type.lower().startswith("microsoft.virtualmachineimages")
    asked = {"api-version": NEWEST_API_VERSION if is_ours else "2024-11-01"}
    answer = call.service.dispatch("DELETE", row.id, caller=call.caller, query=asked, origin=call.origin)
    deadline = time.monotonic() + GONE_SECONDS
    if answer.status != 202:
        return answer
    with tools.watched(row.id) as watch:
        while call.service.store.resources.get(row.id) is not None:
            if (left := deadline - time.monotonic()) <= 0:
                message = f"'{row.id}' was not gone after {GONE_SECONDS:.0f} s"
                return Answer(409, {"error": {"code": "DeletionTimeout", "message": message}})
            watch.wait(min(left, LOOK_AGAIN_SECONDS))
    return answer
