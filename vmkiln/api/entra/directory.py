"""Microsoft Graph, as far as az asks it while roles are assigned: who is behind an application or object id.

Source: the Microsoft Graph reference, servicePrincipal and directoryObject: getByIds. Service principals are told to
whoever knows an id of theirs; managed identities to whoever may read them.
"""

import re
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.managed_identity.managed_identities import IDENTITY
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.errors import ArmError


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


ROUTES = (
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
