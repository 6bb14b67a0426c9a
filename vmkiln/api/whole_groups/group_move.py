"""POST moveResources and validateMoveResources: nothing here moves, and that is said in the way Azure says it.

A resource's id has its group, and templates, runs, images and roles hold each other by their ids. Of what is served,
Azure moves networks and managed images; image templates, identities and galleries move there neither.
Source: Microsoft, "Move operation support for resources"; az's requests.
"""

from vmkiln.api.compute.compute_images import as_resource
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import group_of
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import refuse
from vmkiln.api.resources.resource_groups import ALL
from vmkiln.azure_names import RESOURCE_GROUP
from vmkiln.errors import ArmError, Mistake

GROUP = f"{ALL}/{{resourceGroupName}}"
MOST_RESOURCES = 800  # as on Azure


def move(call: Call) -> Answer:
    """POST: refused, after what a move would look at first."""
    group = group_of(call)
    given, target = call.body.get("resources"), call.body.get("targetResourceGroup")
    mistakes = []
    if not isinstance(given, list) or not given or not all(isinstance(item, str) for item in given):
        mistakes.append(Mistake("resources", "must be a list of ids of resources"))
    elif len(given) > MOST_RESOURCES:
        mistakes.append(Mistake("resources", f"has {len(given)} ids; at most {MOST_RESOURCES} are moved at once"))
    if not isinstance(target, str) or not _is_group(target):
        mistakes.append(Mistake("targetResourceGroup", "must be the id of a resource group"))
    refuse(mistakes)
    _check_target(call, str(target), group.id)
    types = sorted({_type_of(call, item, group.id) for item in given or ()})
    message = f"Resource move is not supported for resource types '{','.join(types)}'."
    hint = "make it anew in the other resource group: `az group export` gives the template"
    raise ArmError(409, "ResourceMoveValidationFailed", message, hint=hint)


def _is_group(text: str) -> bool:
    parts = text.strip("/").split("/")
    return len(parts) == 4 and (parts[0].lower(), parts[2].lower()) == ("subscriptions", "resourcegroups")


def _check_target(call: Call, target: str, own: str) -> None:
    if target.rstrip("/").lower() == own.lower():
        message = "The source and target resource groups of a move are the same."
        raise ArmError(400, "ResourceMoveSameGroup", message, target="targetResourceGroup")
    row = call.service.store.resources.get(target.rstrip("/")) if call.may(Permission.READ, target) else None
    if row is None or row.type.lower() != RESOURCE_GROUP.lower():
        message = f"Resource group '{target.rstrip('/').rpartition('/')[2][:90]}' could not be found."
        raise ArmError(404, "ResourceGroupNotFound", message, target="targetResourceGroup")


def _type_of(call: Call, resource_id: str, group: str) -> str:
    """The type of a resource of the group. Raises: `ArmError` when there is no such one in it."""
    store = call.service.store
    if resource_id.lower().startswith(f"{group.lower()}/"):
        row, image = store.resources.get(resource_id), store.images.find(resource_id)
        if row is not None:
            return row.type
        if image is not None:
            return as_resource(image).type
    raise ArmError(404, "ResourceNotFound", f"The Resource '{resource_id[:300]}' was not found in '{group}'.")


ROUTES = (
    Route("POST", f"{GROUP}/moveResources", "Resources_MoveResources", Permission.ACTION, move, Body.JSON),
    Route(
        "POST", f"{GROUP}/validateMoveResources", "Resources_ValidateMoveResources", Permission.ACTION, move, Body.JSON
    ),
)
