"""What whoever asks may do, and where: for pages that offer nobody what they would be refused.

Azure tells it for one scope at a time (`Microsoft.Authorization/permissions`); a page with many resources asks once.
"""

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.rights.rights import Rights

ALL = "/providers/Vmkiln.Builds/permissions"
OF_A_ROLE = frozenset(Permission) - {Permission.NONE, Permission.ANY}


def _rows(rights: Rights) -> list[tuple[frozenset[Permission], str, str]]:
    """What is allowed, where, and to resources of which types; '' for all."""
    if rights.is_local:
        return [(OF_A_ROLE, "/", "")]
    given = (*((allowed, scope, "") for allowed, scope in rights.roles), *rights.limited)
    rows = {(allowed & OF_A_ROLE, scope, types) for allowed, scope, types in given}
    return sorted((row for row in rows if row[0]), key=lambda row: (row[1], row[2], sorted(row[0])))


def list_permissions(call: Call) -> Answer:
    """GET what the caller's own roles allow now; another's are told to nobody here."""
    found = [
        {"scope": scope, "resourceTypes": types, "allowed": sorted(allowed)}
        for allowed, scope, types in _rows(call.rights)
    ]
    return Answer(200, {"value": found})


ROUTES = (Route("GET", ALL, "Permissions_List", Permission.ANY, list_permissions),)
