"""Microsoft.Authorization: the roles there are, and who has them where; the same ones that requests are judged by.

Source: the ARM reference of Microsoft.Authorization; the ids are those of Azure's built-in roles. Roles of one's own
can be kept, so that tutorials go through, but give no rights.
"""

import re
from typing import Any

from vmkiln.api.access_control import CONTRIBUTOR, OWNER, READER
from vmkiln.api.operations import time_text
from vmkiln.api.route import Answer, Body, Call, Permission, Route
from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow, RoleAssignmentRow

BUILT_IN = {
    OWNER: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    CONTRIBUTOR: "b24988ac-6180-42a0-ab88-20f7382dd24c",
    READER: "acdd72a7-3385-48ef-bd42-f606fba81ae7",
}
DEFINITION_TYPE = "Microsoft.Authorization/roleDefinitions"
ASSIGNMENT_TYPE = "Microsoft.Authorization/roleAssignments"
SUBSCRIPTION = "/subscriptions/{subscriptionId}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{resourceGroupName}}"
RESOURCE = f"{GROUP}/providers/{{provider}}/{{type}}/{{name}}"
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _scope(call: Call) -> str:
    return re.split("/providers/microsoft.authorization", call.resource_id, flags=re.IGNORECASE)[0]


def _definition(scope: str, name: str, guid: str) -> dict[str, Any]:
    actions = {OWNER: ["*"], CONTRIBUTOR: ["*"], READER: ["*/read"]}[name]
    not_actions = ["Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"] if name == CONTRIBUTOR else []
    return {
        "id": f"{scope}/providers/{DEFINITION_TYPE}/{guid}",
        "name": guid,
        "type": DEFINITION_TYPE,
        "properties": {
            "roleName": name,
            "type": "BuiltInRole",
            "description": "",
            "assignableScopes": ["/"],
            "permissions": [{"actions": actions, "notActions": not_actions, "dataActions": [], "notDataActions": []}],
        },
    }


def list_definitions(call: Call) -> Answer:
    """GET the roles; `$filter=roleName eq 'X'` chooses."""
    scope = _scope(call)
    found = [_definition(scope, name, guid) for name, guid in BUILT_IN.items()]
    found += [
        {"id": row.id, "name": row.name, "type": DEFINITION_TYPE, "properties": dict(row.properties)}
        for row in call.parts.store.resources.list(type=DEFINITION_TYPE, subscription_id=call.names["subscriptionId"])
    ]
    if wanted := re.search(r"roleName eq '([^']*)'", call.query.get("$filter", ""), re.IGNORECASE):
        found = [item for item in found if str(item["properties"].get("roleName")).lower() == wanted[1].lower()]
    return Answer(200, {"value": found})


def get_definition(call: Call) -> Answer:
    """GET one role."""
    for item in list_definitions(call).body["value"]:
        if item["name"].lower() == call.names["roleDefinitionId"].lower():
            return Answer(200, item)
    message = f"The role definition '{call.names['roleDefinitionId']}' was not found."
    raise ArmError(404, "RoleDefinitionDoesNotExist", message)


def put_definition(call: Call) -> Answer:
    """PUT a role of one's own: kept, and without any rights."""
    name = call.names["roleDefinitionId"]
    properties = call.body.get("properties")
    if not _GUID.fullmatch(name) or name.lower() in BUILT_IN.values() or not isinstance(properties, dict):
        raise ArmError(400, "InvalidRoleDefinition", "a role definition needs a new GUID as its name, and properties")
    kept = {name: value for name, value in properties.items() if name != "type"} | {"type": "CustomRole"}
    row = call.parts.store.resources.put(
        ResourceRow(
            id=call.resource_id,
            type=DEFINITION_TYPE,
            name=name,
            subscription_id=call.names["subscriptionId"],
            resource_group="",
            properties=kept,
            created_by=call.caller.name,
            changed_by=call.caller.name,
        )
    )
    return Answer(201, {"id": row.id, "name": name, "type": DEFINITION_TYPE, "properties": kept})


def _assignment(call: Call, row: RoleAssignmentRow) -> dict[str, Any]:
    scope = "" if row.scope == "/" else row.scope
    guid = BUILT_IN.get(row.role, row.role)
    principal = call.parts.store.principals.find_object(row.object_id)
    return {
        "id": f"{scope}/providers/{ASSIGNMENT_TYPE}/{row.assignment_id}",
        "name": row.assignment_id,
        "type": ASSIGNMENT_TYPE,
        "properties": {
            "roleDefinitionId": f"{SUBSCRIPTION.format(**call.names)}/providers/{DEFINITION_TYPE}/{guid}",
            "principalId": row.object_id,
            "principalType": "ServicePrincipal" if principal else "Unknown",
            "scope": row.scope,
            "createdOn": time_text(row.created),
        },
    }


def put_assignment(call: Call) -> Answer:
    """PUT: give a role. Only an owner of the scope may."""
    properties = call.body.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    role_id, object_id = properties.get("roleDefinitionId"), properties.get("principalId")
    if not isinstance(role_id, str) or not isinstance(object_id, str) or not object_id or len(object_id) > 260:
        raise ArmError(400, "BadRequest", "properties.roleDefinitionId and properties.principalId are required")
    if not _GUID.fullmatch(call.names["roleAssignmentName"]):
        raise ArmError(400, "InvalidRoleAssignmentId", "the name of a role assignment is a GUID")
    guid = role_id.rsplit("/", 1)[-1].lower()
    names = {value: name for name, value in BUILT_IN.items()}
    role = names.get(guid, "")
    if not role:
        own = f"{SUBSCRIPTION.format(**call.names)}/providers/{DEFINITION_TYPE}/{guid}"
        if call.parts.store.resources.get(own) is None:
            raise ArmError(400, "RoleDefinitionDoesNotExist", f"The role definition '{guid[:80]}' does not exist.")
        role = guid  # kept, and without any rights
    table, wanted = call.parts.store.principals, call.names["roleAssignmentName"].lower()
    existing = next((row for row in table.list_roles() if row.assignment_id == wanted), None)
    same = (object_id.lower(), role, _scope(call).lower())
    if existing is not None and (existing.object_id, existing.role, existing.scope.lower()) != same:
        raise ArmError(409, "RoleAssignmentUpdateNotPermitted", "a role assignment cannot be changed")
    row = table.assign(object_id, role, _scope(call), assignment_id=wanted)
    if row.assignment_id != wanted:
        message = f"The role assignment already exists. The ID of the existing role assignment is {row.assignment_id}."
        raise ArmError(409, "RoleAssignmentExists", message)
    return Answer(201, _assignment(call, row))


def _find(call: Call) -> RoleAssignmentRow | None:
    scope = _scope(call).lower()
    for row in call.parts.store.principals.list_roles():
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
    call.parts.store.principals.unassign(row.assignment_id)
    return Answer(200, body)


def list_assignments(call: Call) -> Answer:
    """GET the assignments in a scope and above it; `$filter` with principalId or assignedTo chooses."""
    scope = _scope(call).lower().rstrip("/")
    rows = [
        row
        for row in call.parts.store.principals.list_roles()
        if row.scope == "/"
        or f"{scope}/".startswith(f"{row.scope.lower()}/")
        or row.scope.lower().startswith(f"{scope}/")
    ]
    text = call.query.get("$filter", "")
    if wanted := re.search(r"(?:principalId eq|assignedTo\()\s*'([^']*)'", text, re.IGNORECASE):
        rows = [row for row in rows if row.object_id == wanted[1].lower()]
    return Answer(200, {"value": [_assignment(call, row) for row in rows]})


def graph_principals(call: Call) -> Answer:
    """GET Microsoft Graph's service principals, as far as az asks: those whose appId or name the filter gives."""
    text = call.query.get("$filter", "")
    wanted = {value.lower() for value in re.findall(r"'([^']*)'", text)}
    value = [
        {
            "id": row.object_id,
            "appId": row.app_id,
            "displayName": row.display_name,
            "servicePrincipalNames": [row.app_id],
        }
        for row in call.parts.store.principals.list()
        if wanted & {row.app_id, row.object_id, row.display_name.lower()}
    ]
    return Answer(200, {"value": value})


def _routes() -> list[Route]:
    found = [
        Route(
            "GET",
            "/v1.0/servicePrincipals",
            "Graph_ListServicePrincipals",
            Permission.ANY,
            graph_principals,
            needs_api_version=False,
        )
    ]
    definitions = f"{SUBSCRIPTION}/providers/{DEFINITION_TYPE}"
    found += [
        Route("GET", definitions, "RoleDefinitions_List", Permission.READ, list_definitions),
        Route("GET", f"{definitions}/{{roleDefinitionId}}", "RoleDefinitions_Get", Permission.READ, get_definition),
        Route(
            "PUT",
            f"{definitions}/{{roleDefinitionId}}",
            "RoleDefinitions_CreateOrUpdate",
            Permission.ASSIGN,
            put_definition,
            Body.JSON,
        ),
        Route(
            "GET",
            f"{GROUP}/providers/{DEFINITION_TYPE}",
            "RoleDefinitions_ListForGroup",
            Permission.READ,
            list_definitions,
        ),
    ]
    for suffix, scope in (("Subscription", SUBSCRIPTION), ("Group", GROUP), ("Resource", RESOURCE)):
        assignments = f"{scope}/providers/{ASSIGNMENT_TYPE}"
        one = f"{assignments}/{{roleAssignmentName}}"
        found += [
            Route("GET", assignments, f"RoleAssignments_ListFor{suffix}", Permission.READ, list_assignments),
            Route("GET", one, f"RoleAssignments_GetFor{suffix}", Permission.READ, get_assignment),
            Route("PUT", one, f"RoleAssignments_CreateFor{suffix}", Permission.ASSIGN, put_assignment, Body.JSON),
            Route("DELETE", one, f"RoleAssignments_DeleteFor{suffix}", Permission.ASSIGN, delete_assignment),
        ]
    return found


ROUTES = tuple(_routes())
