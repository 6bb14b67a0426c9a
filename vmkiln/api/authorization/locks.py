"""Microsoft.Authorization/locks: what may not be deleted, or not be changed at all, until its lock is taken away.

They hold whatever is asked of the service (`dispatcher.py`), and what runs publish. Only who may assign roles in a
scope makes and deletes its locks, as on Azure.
Source: the ARM reference of Microsoft.Authorization locks; az's requests.
"""

from collections.abc import Callable
from typing import Any

from vmkiln.api.authorization.role_definitions import GROUP, SCOPES
from vmkiln.api.authorization.role_definitions import SUBSCRIPTION as WHOLE
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.listing import check_seen
from vmkiln.api.protocol.revision import system_data
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import refuse
from vmkiln.azure_names import LOCK, ProvisioningState, group_id
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.locked.scope_locks import Level, scope_of
from vmkiln.store.rows import ResourceRow

MOST_LOCKS = 20  # of one scope, as on Azure
MOST_LOCKS_IN_ALL = 2_000  # of a subscription: each change looks at them
MOST_NOTES_LETTERS = 512
ODD_IN_NAMES = frozenset("<>%&?\\/")


def _body(row: ResourceRow) -> dict[str, Any]:
    shown = {name: row.properties[name] for name in ("level", "notes") if name in row.properties}
    return {"id": row.id, "name": row.name, "type": LOCK, "properties": shown, "systemData": system_data(row)}


def _find(call: Call) -> ResourceRow:
    row = call.service.store.resources.get(call.resource_id)
    if row is None:
        message = f"The lock '{call.names['lockName']}' could not be found."
        raise ArmError(404, "LockNotFound", message)
    return row


def _given(call: Call) -> dict[str, Any]:
    properties = call.body.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    level = properties.get("level")
    known = {str(one).lower(): str(one) for one in Level}
    mistakes = []
    if not isinstance(level, str) or level.lower() not in known:
        given = f"`{str(level)[:40]}` is no level" if level is not None else "is required"
        mistakes.append(Mistake("properties.level", given, f"give one of {', '.join(Level)}"))
    notes = properties.get("notes")
    if notes is not None and (not isinstance(notes, str) or len(notes) > MOST_NOTES_LETTERS):
        mistakes.append(Mistake("properties.notes", f"must be a text of at most {MOST_NOTES_LETTERS} letters"))
    name = call.names["lockName"]
    if ODD_IN_NAMES & set(name) or name.endswith((".", " ")):
        hint = f"none of {' '.join(sorted(ODD_IN_NAMES))}, and no `.` at the end"
        mistakes.append(Mistake("name", f"`{name[:80]}` is not a name for a lock", hint))
    refuse(mistakes)
    return {"level": known[str(level).lower()], **({"notes": notes} if notes is not None else {})}


def _check_there(call: Call, scope: str) -> None:
    """Raises: `ArmError` when there is nothing to lock, it is being deleted, or it is a build's."""
    names = call.names
    if "resourceGroupName" not in names:
        check_seen(call)
        return
    group = call.service.store.resources.get(group_id(names["subscriptionId"], names["resourceGroupName"]))
    if group is not None and group.state.get("staging_group"):
        message = (
            f"'{group.name}' is the staging resource group of an image template: builds make and delete what it has"
        )
        raise ArmError(409, "OperationNotAllowed", message, hint="lock the image template")
    answer = call.looked_at(scope)
    found = answer.body if isinstance(answer.body, dict) else {}
    if answer.status >= 400:
        error = found.get("error", {})
        raise ArmError(answer.status, str(error.get("code", "Unknown")), str(error.get("message", "")))
    own = (found.get("properties") or {}).get("provisioningState")
    if ProvisioningState.DELETING in {own, group.properties.get("provisioningState") if group else None}:
        raise ArmError(409, "OperationNotAllowed", f"'{scope}' is being deleted, so it is not locked any more.")


def put(call: Call) -> Answer:
    """PUT: lock a scope, or change what its lock keeps from being done."""
    properties, scope = _given(call), scope_of(call.resource_id)
    _check_there(call, scope)
    table, subscription = call.service.store.resources, call.names["subscriptionId"]
    existing = table.get(call.resource_id)
    row = ResourceRow(
        id=call.resource_id,
        type=LOCK,
        name=call.names["lockName"],
        subscription_id=subscription,
        resource_group=call.names.get("resourceGroupName", ""),
        location="",
        tags={},
        properties=properties,
        created_by=call.caller.name,
        changed_by=call.caller.name,
    )
    if existing is not None:
        return Answer(200, _body(table.put(row)))

    def check(beside: Callable[..., list[ResourceRow]]) -> None:
        all_locks = beside(type=LOCK, subscription_id=subscription)
        same = sum(scope_of(lock.id).lower() == scope.lower() for lock in all_locks)
        for count, most, where in ((same, MOST_LOCKS, scope), (len(all_locks), MOST_LOCKS_IN_ALL, "the subscription")):
            if count >= most:
                raise ArmError(409, "LockLimitExceeded", f"{where} has {count} locks, and at most {most} are kept")

    made = table.insert_beside(row, check)
    return Answer(201, _body(made or table.put(row)))


def get(call: Call) -> Answer:
    """GET one."""
    return Answer(200, _body(_find(call)))


def delete(call: Call) -> Answer:
    """DELETE: what it held may be done again; 204 when there is none."""
    return Answer(200 if call.service.store.resources.delete(call.resource_id) else 204)


def list_at(call: Call) -> Answer:
    """GET the locks of a scope and of what is below it; with the filter `atScope()` only its own."""
    if "resourceGroupName" not in call.names:
        check_seen(call)
    scope = call.resource_id[: call.resource_id.lower().rindex(f"/providers/{LOCK}".lower())].lower()
    own_only = call.query.get("$filter", "").replace(" ", "").lower() == "atscope()"
    found = []
    for row in call.service.store.resources.list(type=LOCK, subscription_id=call.names["subscriptionId"]):
        place = scope_of(row.id)
        is_below = place.lower().startswith(f"{scope}/") and not own_only
        if (place.lower() == scope or is_below) and call.may(Permission.READ, place):
            found.append(_body(row))
    return Answer(200, {"value": found})


def _routes() -> list[Route]:
    found = []
    for suffix, scope in SCOPES:
        locks = f"{scope}/providers/{LOCK}"
        one = f"{locks}/{{lockName}}"
        may_list = Permission.ANY if scope == WHOLE else Permission.READ
        listed = "Locks_ListByResourceGroup" if scope == GROUP else f"Locks_ListAt{suffix}"
        found += [
            Route("GET", locks, listed, may_list, list_at),
            Route("GET", one, f"Locks_GetAt{suffix}", Permission.READ, get),
            Route("PUT", one, f"Locks_CreateOrUpdateAt{suffix}", Permission.ASSIGN, put, Body.JSON),
            Route("DELETE", one, f"Locks_DeleteAt{suffix}", Permission.ASSIGN, delete),
        ]
    return found


ROUTES = tuple(_routes())
