"""Resource groups: put, read, tag, delete with all that is in them, and lists of resources.

Source: the ARM reference of resource groups; az's requests.
"""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmkiln.api.compute.compute_images import as_resource, stored_images
from vmkiln.api.identity.caller import LOCAL_OPERATOR, Permission
from vmkiln.api.protocol import operations
from vmkiln.api.protocol.arm import accepted_headers, as_arm_error
from vmkiln.api.protocol.groups import group_of
from vmkiln.api.protocol.listing import PAGE, page, readable
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import check_location, location_mistakes, refuse, tag_mistakes
from vmkiln.api.resources.resource_filter import group_named, parse_filter, subscription_named
from vmkiln.api.staging.staging_resources import live_resources
from vmkiln.azure_names import (
    IMAGE_TEMPLATE,
    LOCK,
    NEWEST_API_VERSION,
    RESOURCE_GROUP,
    OperationStatus,
    ProvisioningState,
    group_id,
    plain_location,
    subscription_scope,
)
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.database import Store
from vmkiln.store.locked.scope_locks import held_by, refusal
from vmkiln.store.rows import OperationRow, ResourceRow

ALL = "/subscriptions/{subscriptionId}/resourceGroups"
ONE = f"{ALL}/{{resourceGroupName}}"
RESULT = "/subscriptions/{subscriptionId}/operationresults/{operationId}"
NAME = re.compile(r"[-\w._()]{1,90}")
DELETE_GROUP = "delete resource group"
WAIT_SECONDS = 300.0
LOOK_AGAIN_SECONDS = 5.0  # though nothing was told: another process may have changed something
LEAST_PAUSE_SECONDS = 0.2  # each of many changes would be a round of its own
NEWEST = {IMAGE_TEMPLATE.lower(): NEWEST_API_VERSION}


def group_body(row: ResourceRow) -> dict[str, Any]:
    """A resource group as clients see it; pure."""
    body = {
        "id": row.id,
        "name": row.name,
        "type": RESOURCE_GROUP,
        "location": row.location,
        "tags": dict(row.tags),
        "properties": {"provisioningState": row.properties.get("provisioningState", ProvisioningState.SUCCEEDED)},
    }
    if managed_by := row.properties.get("managedBy"):
        body["managedBy"] = managed_by
    return body


def put(call: Call) -> Answer:
    """PUT: a new group, or other tags for one that is there."""
    name = call.names["resourceGroupName"]
    mistakes = [*location_mistakes(call.body), *tag_mistakes(call.body.get("tags"))]
    if not NAME.fullmatch(name) or name.endswith("."):
        hint = "allowed are 1-90 letters, digits and `-_.()`, no `.` at the end"
        mistakes.append(Mistake("name", f"`{name[:100]}` is not a name of a resource group", hint))
    refuse(mistakes)
    existing = call.service.store.resources.get(group_id(call.names["subscriptionId"], name))
    if existing is None:
        check_location(call, call.body["location"], RESOURCE_GROUP)
        row = call.service.store.resources.put(
            ResourceRow(
                id=group_id(call.names["subscriptionId"], name),
                type=RESOURCE_GROUP,
                name=name,
                subscription_id=call.names["subscriptionId"],
                resource_group=name,
                location=plain_location(call.body["location"]),
                tags=call.body.get("tags") or {},
                properties={"provisioningState": ProvisioningState.SUCCEEDED},
                created_by=call.caller.name,
                changed_by=call.caller.name,
            )
        )
        return Answer(201, group_body(row))
    if plain_location(existing.location) != plain_location(call.body["location"]):
        message = (
            f"Invalid resource group location '{call.body['location']}'. The Resource group already exists in "
            f"location '{existing.location}'."
        )
        raise ArmError(409, "InvalidResourceGroupLocation", message)
    _refuse_going(existing)
    return Answer(200, group_body(_tagged(call, existing, call.body.get("tags"))))


def _refuse_going(row: ResourceRow) -> None:
    if row.properties.get("provisioningState") == ProvisioningState.DELETING:
        raise ArmError(409, "ResourceGroupBeingDeleted", f"The resource group '{row.name}' is being deleted.")


def _tagged(call: Call, row: ResourceRow, tags: Any) -> ResourceRow:
    if tags is None:
        return row
    changed = call.service.store.resources.change(
        row.id, lambda old: replace(old, tags=tags, changed_by=call.caller.name), is_asked=True
    )
    return changed or row


def patch(call: Call) -> Answer:
    """PATCH: tags."""
    row = group_of(call)
    _refuse_going(row)
    unknown = [Mistake(name, "cannot be changed") for name in call.body if name not in {"tags", "name", "properties"}]
    refuse([*unknown, *tag_mistakes(call.body.get("tags"))])
    return Answer(200, group_body(_tagged(call, row, call.body.get("tags"))))


def get(call: Call) -> Answer:
    """GET one."""
    return Answer(200, group_body(group_of(call)))


def exists(call: Call) -> Answer:
    """HEAD: 204 or 404."""
    row = call.service.store.resources.get(group_id(call.names["subscriptionId"], call.names["resourceGroupName"]))
    return Answer(204 if row else 404)


def list_groups(call: Call) -> Answer:
    """GET all of a subscription that the caller may read."""
    table, subscription_id = call.service.store.resources, call.names["subscriptionId"]
    wanted = parse_filter(call.query.get("$filter", ""))

    def fetch(after: str, scopes: Collection[str] | None) -> list[ResourceRow]:
        return table.list(
            type=RESOURCE_GROUP, subscription_id=subscription_id, after=after, limit=PAGE + 1, scopes=scopes
        )

    rows = readable(call, fetch, keep=lambda row: wanted(row, {}))
    return page(call, rows, lambda chosen: [group_body(row) for row in chosen])


def resource_body(row: ResourceRow, expand: str = "") -> dict[str, Any]:
    """A resource in a list of resources: no properties but those asked for; pure."""
    body: dict[str, Any] = {"id": row.id, "name": row.name, "type": row.type, "location": row.location}
    body["tags"] = dict(row.tags)
    if row.identity is not None:
        body["identity"] = dict(row.identity)
    wanted = expand.lower()
    if "createdtime" in wanted:
        body["createdTime"] = time_text(row.created)
    if "changedtime" in wanted:
        body["changedTime"] = time_text(row.changed)
    if "provisioningstate" in wanted:
        body["provisioningState"] = row.properties.get("provisioningState", ProvisioningState.SUCCEEDED)
    return body


def _top_level(row: ResourceRow) -> bool:
    hidden = {RESOURCE_GROUP.lower(), LOCK.lower(), "microsoft.resources/deployments"}
    return bool(row.resource_group) and row.type.lower() not in hidden and len(row.type.split("/")) == 2


def list_resources(call: Call) -> Answer:
    """GET the resources of a subscription or of a group, as far as the filter lets them through."""
    group = call.names.get("resourceGroupName", "")
    if group:
        group_of(call)
    wanted = parse_filter(call.query.get("$filter", ""))
    table, subscription_id = call.service.store.resources, call.names["subscriptionId"]
    expand = call.query.get("$expand", "")

    scope = group_id(subscription_id, group) if group else subscription_scope(subscription_id)
    images = [as_resource(image) for image in stored_images(call.service.store, scope)]
    images += _of_builds(call, group or group_named(call.query.get("$filter", "")))

    def fetch(after: str, scopes: Collection[str] | None) -> list[ResourceRow]:
        rows = table.list(
            subscription_id=subscription_id, resource_group=group, after=after, limit=PAGE + 1, scopes=scopes
        )
        rows += [image for image in images if image.key > after]
        return sorted(rows, key=lambda row: row.key)[: PAGE + 1]

    rows = readable(call, fetch, keep=lambda row: _top_level(row) and wanted(row, {}))
    return page(call, rows, lambda chosen: [resource_body(row, expand) for row in chosen])


def list_everywhere(call: Call) -> Answer:
    """GET the resources of the subscription that the filter names, as tasks of Azure DevOps ask for them."""
    subscription_id = subscription_named(call.query.get("$filter", ""))
    if not subscription_id:
        message = "The filter must name a subscription."
        raise ArmError(400, "InvalidFilterInQueryString", message, target="$filter", hint="subscriptionId eq 'ID'")
    names = {**call.names, "subscriptionId": subscription_id}
    return list_resources(replace(call, names=names, resource_id=f"{subscription_scope(subscription_id)}/resources"))


def _of_builds(call: Call, group: str) -> list[ResourceRow]:
    """What builds made in a group; it has to be named, for there is one for every image template."""
    row = call.service.store.resources.get(group_id(call.names["subscriptionId"], group)) if group else None
    return live_resources(call, row) if row else []


def delete(call: Call) -> Answer:
    """DELETE: the group with all that is in it; refused while an image template of it is being run."""
    row = group_of(call)
    inside = _inside(call, row)
    for template in (item for item in inside if item.type.lower() == IMAGE_TEMPLATE.lower()):
        run = call.service.store.runs.last([template.key]).get(template.key)
        if run is not None and run.ended is None:
            message = f"The image template '{template.name}' in it is being run: cancel the run, or wait for its end."
            raise ArmError(409, "ResourceGroupDeletionBlocked", message, target=template.id)
    if row.state.get("staging_group"):
        message = (
            f"'{row.name}' is the staging resource group of {row.properties.get('managedBy', 'an image template')}"
        )
        raise ArmError(409, "ResourceGroupDeletionBlocked", message, hint="delete the image template instead")
    pending = [item for item in call.service.store.operations.open_ones(row.id) if item.kind == DELETE_GROUP]
    operation = pending[0] if pending else _begin_deletion(call, row)
    return Answer(202, None, _result_headers(call, operation))


def _begin_deletion(call: Call, row: ResourceRow) -> OperationRow:
    with call.service.background.reserved(row.subscription_id) as begin:
        operation = operations.begin(call, DELETE_GROUP, resource_id=row.id, location=row.location)
        call.service.store.resources.change(
            row.id,
            lambda old: replace(old, properties={**old.properties, "provisioningState": ProvisioningState.DELETING}),
        )
        begin(lambda: _delete_all_or_say_why(call, row, operation))
    return operation


def _inside(call: Call, group: ResourceRow) -> Sequence[ResourceRow]:
    rows = call.service.store.resources.list(subscription_id=group.subscription_id, resource_group=group.name)
    images = [as_resource(image) for image in stored_images(call.service.store, group.id)]
    return [*images, *(row for row in rows if row.key != group.key)]


def _delete_all_or_say_why(call: Call, group: ResourceRow, operation: OperationRow) -> None:
    try:
        _delete_all(call, group, operation)
    except Exception as error:
        problem = as_arm_error(error, request_id=call.request_id, is_local=call.caller.is_local)
        _failed(call.service.store, operation, {"code": problem.code, "message": problem.message})


def _failed(store: Store, operation: OperationRow, error: Mapping[str, Any]) -> None:
    """Record that a deletion failed, unless it has ended before; the group is there as it was."""
    if _is_over(store, operation):
        return
    done = {"provisioningState": ProvisioningState.SUCCEEDED}
    store.resources.change(operation.resource_id, lambda old: replace(old, properties={**old.properties, **done}))
    store.operations.end(operation.operation_id, status=OperationStatus.FAILED, error=error)


def _is_over(store: Store, operation: OperationRow) -> bool:
    """Whether another service took this one for dead, and ended what it was doing."""
    found = store.operations.get(operation.operation_id)
    return found is None or found.status != OperationStatus.IN_PROGRESS


def _delete_all(call: Call, group: ResourceRow, operation: OperationRow) -> None:
    """Delete what is in a group through its own routes, the deepest first, then the group itself.

    Raises: `ArmError` for a lock that came before the group was marked as going; behind that none is made in it.
    """
    if locked := held_by(call.service.store.resources, group.id, deletes=True):
        raise ArmError(409, "ScopeLocked", refusal(group.id, locked, deletes=True))
    deadline = time.monotonic() + WAIT_SECONDS
    problem: dict[str, Any] = {"code": "ResourceGroupDeletionTimeout", "message": "what is in the group did not go"}
    while rows := sorted(_inside(call, group), key=lambda row: (-row.id.count("/"), row.type)):
        with call.service.store.resources.changes.watched([row.id for row in rows]) as watch:
            for row in rows:
                asked = {"api-version": _version(row)}
                answer = call.service.dispatch("DELETE", row.id, caller=LOCAL_OPERATOR, query=asked, origin=call.origin)
                if answer.status >= 400:
                    problem = dict(answer.body["error"]) if isinstance(answer.body, dict) else problem
                    if answer.status == 405:
                        call.service.store.resources.delete(row.id)
            if time.monotonic() > deadline:
                _failed(call.service.store, operation, problem)
                return
            if _is_over(call.service.store, operation):
                return
            watch.forget()  # what these requests changed themselves
            if _inside(call, group):
                time.sleep(LEAST_PAUSE_SECONDS)
                watch.wait(LOOK_AGAIN_SECONDS)
    call.service.store.resources.delete(group.id)
    call.service.store.operations.end(operation.operation_id)


def end_interrupted(store: Store, going_on: Collection[str]) -> None:
    """End the deletions whose session is none of those that go on; they can be asked for again."""
    for operation in store.operations.open_ones():
        if operation.kind == DELETE_GROUP and operation.session not in going_on:
            error = {"code": "OperationInterrupted", "message": "the service ended before it was done; ask again"}
            _failed(store, operation, error)


def _version(row: ResourceRow) -> str:
    return NEWEST_API_VERSION if row.type.lower().startswith("microsoft.virtualmachineimages") else "2024-11-01"


def _result_headers(call: Call, operation: OperationRow) -> dict[str, str]:
    path = RESULT.format(subscriptionId=call.names["subscriptionId"], operationId=operation.operation_id)
    url = f"{call.base_url}{path}?api-version={call.api_version}"
    return dict(accepted_headers("", location=url, retry_after_seconds=operations.RETRY_SECONDS))


def get_result(call: Call) -> Answer:
    """GET whether a deletion is done: 202 while it is not, then 200."""
    operation = operations.find(call)
    if operation.status == OperationStatus.IN_PROGRESS:
        return Answer(202, None, _result_headers(call, operation))
    if operation.status == OperationStatus.FAILED:
        raise ArmError(409, str(operation.error.get("code")), str(operation.error.get("message")))
    return Answer(200)


ROUTES = (
    Route("GET", ALL, "ResourceGroups_List", Permission.ANY, list_groups),
    Route("GET", ONE, "ResourceGroups_Get", Permission.READ, get),
    Route("HEAD", ONE, "ResourceGroups_CheckExistence", Permission.READ, exists),
    Route("PUT", ONE, "ResourceGroups_CreateOrUpdate", Permission.WRITE, put, Body.JSON),
    Route("PATCH", ONE, "ResourceGroups_Update", Permission.WRITE, patch, Body.JSON),
    Route("DELETE", ONE, "ResourceGroups_Delete", Permission.DELETE, delete),
    Route("GET", f"{ONE}/resources", "Resources_ListByResourceGroup", Permission.READ, list_resources),
    Route("GET", "/subscriptions/{subscriptionId}/resources", "Resources_List", Permission.ANY, list_resources),
    Route("GET", "/resources", "Resources_ListEverywhere", Permission.ANY, list_everywhere),
    Route("GET", RESULT, "ResourceGroups_GetResult", Permission.ANY, get_result),
)
