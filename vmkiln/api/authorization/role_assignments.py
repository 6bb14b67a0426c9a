"""Microsoft.Authorization/roleAssignments: who has which role where; the same ones that requests are judged by.

Source: the ARM reference of Microsoft.Authorization.
"""

import re
from typing import Any

from vmkiln.api.authorization.role_definitions import GUID, SCOPES, definition_id, scope_of, stored
from vmkiln.api.identity.caller import Permission
from vmkiln.api.managed_identity.managed_identities import IDENTITY
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.azure_names import ROLE_ASSIGNMENT
from vmkiln.azure_roles import GUIDS, NAMES
from vmkiln.errors import ArmError
from vmkiln.rights.built_in_roles import ALLOWED
from vmkiln.store.rows import RoleAssignmentRow

PRINCIPAL_TYPES = ("User", "Group", "ServicePrincipal", "ForeignGroup", "Device", "Unknown")


def _assignment(call: Call, row: RoleAssignmentRow) -> dict[str, Any]:
    scope = "" if row.scope == "/" else row.scope
    guid = GUIDS.get(row.role, row.role)
    return {
        "id": f"{scope}/providers/{ROLE_ASSIGNMENT}/{row.assignment_id}",
        "name": row.assignment_id,
        "type": ROLE_ASSIGNMENT,
        "properties": {
            "roleDefinitionId": definition_id(call, guid),
            "principalId": row.object_id,
            "principalType": row.principal_type or _kind_of(call, row.object_id),
            "scope": row.scope,
            "createdOn": time_text(row.created),
        },
    }


def _kind_of(call: Call, object_id: str) -> str:
    """What an object id stands for, when nobody said so."""
    is_known = call.service.store.principals.find_object(object_id) or object_id in _identities(call)
    return "ServicePrincipal" if is_known else "Unknown"


def _identities(call: Call) -> set[str]:
    """The principal ids of the subscription's managed identities."""
    rows = call.service.store.resources.list(type=IDENTITY.type, subscription_id=call.names["subscriptionId"])
    return {str(row.properties["principalId"]) for row in rows}


def put_assignment(call: Call) -> Answer:
    """PUT: give a role. Only an owner of the scope may."""
    properties = call.body.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    role_id, object_id = properties.get("roleDefinitionId"), properties.get("principalId")
    if not isinstance(role_id, str) or not isinstance(object_id, str) or not object_id or len(object_id) > 260:
        raise ArmError(400, "BadRequest", "properties.roleDefinitionId and properties.principalId are required")
    if not GUID.fullmatch(call.names["roleAssignmentName"]):
        raise ArmError(400, "InvalidRoleAssignmentId", "the name of a role assignment is a GUID")
    kind = _principal_type(properties.get("principalType"))
    guid = role_id.rsplit("/", 1)[-1].lower()
    role = NAMES.get(guid, "")
    if role not in ALLOWED:
        if not role and stored(call, guid) is None:
            raise ArmError(400, "RoleDefinitionDoesNotExist", f"The role definition '{guid[:80]}' does not exist.")
        role = guid  # kept, and without any rights
    table, wanted = call.service.store.principals, call.names["roleAssignmentName"].lower()
    existing = next((row for row in table.list_roles() if row.assignment_id == wanted), None)
    same = (object_id.lower(), role, scope_of(call).lower())
    if existing is not None and (existing.object_id, existing.role, existing.scope.lower()) != same:
        raise ArmError(409, "RoleAssignmentUpdateNotPermitted", "a role assignment cannot be changed")
    row = table.assign(object_id, role, scope_of(call), assignment_id=wanted, principal_type=kind)
    if row.assignment_id != wanted:
        message = f"The role assignment already exists. The ID of the existing role assignment is {row.assignment_id}."
        raise ArmError(409, "RoleAssignmentExists", message)
    return Answer(201, _assignment(call, row), detail=_detail(row))


def _principal_type(given: Any) -> str:
    """What a body says of its principal, as Azure spells it; '' for nothing. Raises: `ArmError` 400."""
    if given is None:
        return ""
    for known in PRINCIPAL_TYPES:
        if isinstance(given, str) and given.lower() == known.lower():
            return known
    message = f"properties.principalType is one of {', '.join(PRINCIPAL_TYPES)}"
    raise ArmError(400, "InvalidPrincipalType", message, target="properties.principalType")


def _find(call: Call) -> RoleAssignmentRow | None:
    scope = scope_of(call).lower()
    for row in call.service.store.principals.list_roles():
        if row.assignment_id == call.names["roleAssignmentName"].lower() and row.scope.lower() == scope:
            return row
    return None


def get_assignment(call: Call) -> Answer:
    """GET one."""
    row = _find(call)
    if row is None:
        name = call.names["roleAssignmentName"]
        raise ArmError(404, "RoleAssignmentNotFound", f"The role assignment '{name}' is not found.")
    return Answer(200, _assignment(call, row))


def delete_assignment(call: Call) -> Answer:
    """DELETE: take a role away; 204 when there is none."""
    row = _find(call)
    if row is None:
        return Answer(204)
    body = _assignment(call, row)
    call.service.store.principals.unassign(row.assignment_id)
    return Answer(200, body, detail=_detail(row))


def _detail(row: RoleAssignmentRow) -> dict[str, str]:
    """What the audit says of a role besides where it is."""
    return {"role": row.role, "principalId": row.object_id}


def list_assignments(call: Call) -> Answer:
    """GET the assignments in a scope and above it; `$filter` with principalId or assignedTo chooses."""
    scope = scope_of(call).lower().rstrip("/")
    rows = [
        row
        for row in call.service.store.principals.list_roles()
        if row.scope == "/"
        or f"{scope}/".startswith(f"{row.scope.lower()}/")
        or row.scope.lower().startswith(f"{scope}/")
    ]
    text = call.query.get("$filter", "")
    if wanted := re.search(r"(?:principalId eq|assignedTo\()\s*'([^']*)'", text, re.IGNORECASE):
        rows = [row for row in rows if row.object_id == wanted[1].lower()]
    return Answer(200, {"value": [_assignment(call, row) for row in rows]})


def _routes() -> list[Route]:
    found = []
    for suffix, scope in SCOPES:
        assignments = f"{scope}/providers/{ROLE_ASSIGNMENT}"
        one = f"{assignments}/{{roleAssignmentName}}"
        found += [
            Route("GET", assignments, f"RoleAssignments_ListFor{suffix}", Permission.READ, list_assignments),
            Route("GET", one, f"RoleAssignments_GetFor{suffix}", Permission.READ, get_assignment),
            Route("PUT", one, f"RoleAssignments_CreateFor{suffix}", Permission.ASSIGN, put_assignment, Body.JSON),
            Route("DELETE", one, f"RoleAssignments_DeleteFor{suffix}", Permission.ASSIGN, delete_assignment),
        ]
    return found


ROUTES = tuple(_routes())
