"""Microsoft.Authorization/roleDefinitions: the roles there are, and those of one's own.

A role of one's own is kept, and gives a caller no rights (runs: `rights/run_rights.py`): what one may do is decided by
built-in roles only. It belongs to its `assignableScopes`: it is seen from there, and only who may assign roles in
every one of them may make, change or delete it.
Source: the ARM reference of Microsoft.Authorization; the ids are those of Azure's built-in roles.
"""

import re
from typing import Any, TypeGuard

from vmkiln.api.identity.caller import Permission, covers
from vmkiln.api.protocol.dispatcher import forbidden
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.azure_names import ROLE_DEFINITION, subscription_scope
from vmkiln.azure_roles import NAMES
from vmkiln.errors import ArmError
from vmkiln.rights.built_in_roles import CONTRIBUTOR, actions_of
from vmkiln.store.rows import ResourceRow

SUBSCRIPTION = "/subscriptions/{subscriptionId}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{resourceGroupName}}"
RESOURCE = f"{GROUP}/providers/{{provider}}/{{type}}/{{name}}"
CHILD = f"{RESOURCE}/{{type2}}/{{name2}}"
GRANDCHILD = f"{CHILD}/{{type3}}/{{name3}}"
SCOPES = (
    ("Subscription", SUBSCRIPTION),
    ("Group", GROUP),
    ("Resource", RESOURCE),
    ("Child", CHILD),  # a subnet, an image definition
    ("Grandchild", GRANDCHILD),  # an image version, a blob container
)
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def scope_of(call: Call) -> str:
    """The scope in front of /providers/Microsoft.Authorization."""
    return re.split("/providers/microsoft.authorization", call.resource_id, flags=re.IGNORECASE)[0]


def definition_id(call: Call, guid: str) -> str:
    """The id of a role, the same from every scope of the subscription."""
    return f"{SUBSCRIPTION.format(**call.names)}/providers/{ROLE_DEFINITION}/{guid}"


def stored(call: Call, guid: str) -> ResourceRow | None:
    """A role of one's own that is seen from the call's scope."""
    row = call.service.store.resources.get(definition_id(call, guid))
    return row if row is not None and _is_seen(row, scope_of(call)) else None


def _is_seen(row: ResourceRow, scope: str) -> bool:
    """Whether a role can be assigned in a scope, above it or below it; pure."""
    return any(covers(item, scope) or covers(scope, item) for item in _scopes(row))


def _scopes(row: ResourceRow) -> list[str]:
    """Where a role can be assigned; pure. One that does not say so belongs to its subscription."""
    given = row.properties.get("assignableScopes")
    return given if _are_scopes(given) else [subscription_scope(row.subscription_id)]


def _are_scopes(given: Any) -> TypeGuard[list[str]]:
    return isinstance(given, list) and bool(given) and all(isinstance(x, str) and x.startswith("/") for x in given)


def _built_in(call: Call, name: str, guid: str) -> dict[str, Any]:
    actions = list(actions_of(name))
    not_actions = ["Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"] if name == CONTRIBUTOR else []
    return {
        "id": definition_id(call, guid),
        "name": guid,
        "type": ROLE_DEFINITION,
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "description": "" if actions else "Kept by its name, and without any rights here.",
            "assignableScopes": ["/"],
            "permissions": [{"actions": actions, "notActions": not_actions, "dataActions": [], "notDataActions": []}],
        },
    }


def _body(row: ResourceRow) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "type": ROLE_DEFINITION, "properties": dict(row.properties)}


def list_definitions(call: Call) -> Answer:
    """GET the roles; `$filter=roleName eq 'X'` chooses."""
    scope = scope_of(call)
    own = call.service.store.resources.list(type=ROLE_DEFINITION, subscription_id=call.names["subscriptionId"])
    found = [_built_in(call, name, guid) for guid, name in NAMES.items()]
    found += [_body(row) for row in own if _is_seen(row, scope)]
    asked = call.query.get("$filter", "")
    if wanted := re.search(r"roleName eq '([^']*)'", asked, re.IGNORECASE):
        found = [item for item in found if str(item["properties"].get("roleName")).lower() == wanted[1].lower()]
    if wanted := re.search(r"type eq '([^']*)'", asked, re.IGNORECASE):
        found = [item for item in found if str(item["properties"].get("type")).lower() == wanted[1].lower()]
    return Answer(200, {"value": found})


def get(call: Call) -> Answer:
    """GET one."""
    guid = call.names["roleDefinitionId"]
    if name := NAMES.get(guid.lower()):
        return Answer(200, _built_in(call, name, guid.lower()))
    row = stored(call, guid)
    if row is None:
        raise ArmError(404, "RoleDefinitionDoesNotExist", f"The role definition '{guid}' was not found.")
    return Answer(200, _body(row))


def _check_may_assign(call: Call, scopes: list[str]) -> None:
    """Raises: `ArmError` 403 for a scope in which the caller may not assign roles."""
    for scope in scopes:
        if not call.may(Permission.ASSIGN, scope):
            raise forbidden(call.caller, call.route, scope)


def put(call: Call) -> Answer:
    """PUT a role of one's own: kept, and without any rights."""
    name, properties = call.names["roleDefinitionId"], call.body.get("properties")
    if not GUID.fullmatch(name) or name.lower() in NAMES or not isinstance(properties, dict):
        raise ArmError(400, "InvalidRoleDefinition", "a role definition needs a new GUID as its name, and properties")
    scopes = properties.get("assignableScopes") or [scope_of(call)]
    if not _are_scopes(scopes):
        message = "`assignableScopes` must be a list of scopes, such as /subscriptions/ID/resourceGroups/NAME"
        raise ArmError(400, "InvalidRoleDefinition", message, target="properties.assignableScopes")
    existing = call.service.store.resources.get(definition_id(call, name))
    _check_may_assign(call, [*scopes, *(_scopes(existing) if existing else [])])
    row = call.service.store.resources.put(
        ResourceRow(
            id=definition_id(call, name),
            type=ROLE_DEFINITION,
            name=name,
            subscription_id=call.names["subscriptionId"],
            resource_group="",
            properties={**properties, "assignableScopes": scopes, "type": "CustomRole"},
            created_by=call.caller.name,
            changed_by=call.caller.name,
        )
    )
    return Answer(201, _body(row))


def delete(call: Call) -> Answer:
    """DELETE a role of one's own that nobody has; 204 when there is none."""
    guid = call.names["roleDefinitionId"].lower()
    row = stored(call, guid)
    if row is None:
        return Answer(204)
    _check_may_assign(call, _scopes(row))
    if any(assignment.role == guid for assignment in call.service.store.principals.list_roles()):
        message = f"There are existing role assignments referencing role '{guid}'."
        raise ArmError(409, "RoleDefinitionHasAssignments", message)
    call.service.store.resources.delete(row.id)
    return Answer(200, _body(row))


def _routes() -> list[Route]:
    found = []
    for suffix, scope in SCOPES:
        every = f"{scope}/providers/{ROLE_DEFINITION}"
        one = f"{every}/{{roleDefinitionId}}"
        found += [
            Route("GET", every, f"RoleDefinitions_ListFor{suffix}", Permission.READ, list_definitions),
            Route("GET", one, f"RoleDefinitions_GetFor{suffix}", Permission.READ, get),
        ]
        if scope in {SUBSCRIPTION, GROUP}:
            found += [
                Route("PUT", one, f"RoleDefinitions_CreateFor{suffix}", Permission.ASSIGN, put, Body.JSON),
                Route("DELETE", one, f"RoleDefinitions_DeleteFor{suffix}", Permission.ASSIGN, delete),
            ]
    return found


ROUTES = tuple(_routes())
