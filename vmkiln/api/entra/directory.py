"""Microsoft Graph, as far as az asks it while roles are assigned: who is behind an application or object id.

Source: the Microsoft Graph reference, servicePrincipal and directoryObject: getByIds. Service principals are told to
whoever knows an id of theirs; managed identities to whoever may read them.
"""

import re
import uuid
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.managed_identity.managed_identities import IDENTITY
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.errors import ArmError

# Image Builder's own application, which the oldest tutorials give roles to; nobody logs in as it
IMAGE_BUILDER_APP = "cf32a0cc-373c-47c9-9156-0db11f6a6dfc"
IMAGE_BUILDER_OBJECT = str(uuid.uuid5(uuid.NAMESPACE_URL, f"application:{IMAGE_BUILDER_APP}"))


def _entry(object_id: str, app_id: str, name: str, kind: str) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.servicePrincipal",
        "id": object_id,
        "appId": app_id,
        "displayName": name,
        "servicePrincipalType": kind,
        "servicePrincipalNames": [app_id],
    }


def _found(call: Call, wanted: set[str]) -> list[dict[str, Any]]:
    """The principals and managed identities with these ids (lower case)."""
    found = [
        _entry(row.object_id, row.app_id, row.display_name, "Application")
        for row in call.service.store.principals.list()
        if row.app_id in wanted or row.object_id in wanted
    ]
    for identity in call.service.store.resources.list(type=IDENTITY.type):
        ids = (str(identity.properties["principalId"]), str(identity.properties["clientId"]))
        if not wanted.isdisjoint(ids) and call.may(Permission.READ, identity.id):
            found.append(_entry(*ids, identity.name, "ManagedIdentity"))
    if not wanted.isdisjoint((IMAGE_BUILDER_APP, IMAGE_BUILDER_OBJECT)):
        found.append(
            _entry(IMAGE_BUILDER_OBJECT, IMAGE_BUILDER_APP, "Azure Virtual Machine Image Builder", "Application")
        )
    return found


def list_principals(call: Call) -> Answer:
    """GET the service principals whose ids the filter names."""
    text = call.query.get("$filter", "")
    return Answer(200, {"value": _found(call, {value.lower() for value in re.findall(r"'([^']*)'", text)})})


def get_by_ids(call: Call) -> Answer:
    """POST: what is behind some object ids; what is not known is left out."""
    ids = call.body.get("ids")
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise ArmError(400, "Request_BadRequest", "`ids` must be a list of object ids", target="ids")
    wanted = {item.lower() for item in ids}
    return Answer(200, {"value": [entry for entry in _found(call, wanted) if entry["id"] in wanted]})


def get_principal(call: Call) -> Answer:
    """GET one service principal by its object id. Raises: `ArmError` 404."""
    wanted = call.names["objectId"].lower()
    for entry in _found(call, {wanted}):
        if entry["id"] == wanted:
            return Answer(200, entry)
    message = f"Resource '{call.names['objectId'][:80]}' does not exist."
    raise ArmError(404, "Request_ResourceNotFound", message)


def refuse(_call: Call) -> Answer:
    """Applications and people are not kept here."""
    message = "applications and users are not kept here: principals are made on the machine of the service"
    raise ArmError(400, "Request_UnsupportedQuery", message, hint="`vmkiln principal create NAME`")


ROUTES = (
    Route(
        "GET",
        "/v1.0/servicePrincipals/{objectId}",
        "Graph_GetServicePrincipal",
        Permission.ANY,
        get_principal,
        needs_api_version=False,
    ),
    *(
        Route(method, path, operation, Permission.ANY, refuse, body, needs_api_version=False)
        for method, path, operation, body in (
            ("GET", "/v1.0/me", "Graph_GetMe", Body.NONE),
            ("GET", "/v1.0/users", "Graph_ListUsers", Body.NONE),
            ("GET", "/v1.0/groups", "Graph_ListGroups", Body.NONE),
            ("GET", "/v1.0/applications", "Graph_ListApplications", Body.NONE),
            ("POST", "/v1.0/applications", "Graph_CreateApplication", Body.OPTIONAL_JSON),
            ("POST", "/v1.0/servicePrincipals", "Graph_CreateServicePrincipal", Body.OPTIONAL_JSON),
        )
    ),
    Route(
        "GET",
        "/v1.0/servicePrincipals",
        "Graph_ListServicePrincipals",
        Permission.ANY,
        list_principals,
        needs_api_version=False,
    ),
    Route(
        "POST",
        "/v1.0/directoryObjects/getByIds",
        "Graph_GetByIds",
        Permission.ANY,
        get_by_ids,
        Body.JSON,
        needs_api_version=False,
    ),
)
