"""What a page's visitor may do: a page offers nobody what they would be refused. The API decides all the same."""

from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.portal.visit import Visit
from vmkiln.rights.rights import Permission, Rights

PERMISSIONS = "/providers/Vmkiln.Builds/permissions"


async def allowed_to(visit: Visit) -> Rights:
    """What the visitor's roles allow now."""
    rows = (await visit.api.ask("GET", PERMISSIONS))["value"]
    found = [
        (frozenset(Permission(word) for word in row["allowed"]), str(row["scope"]), str(row["resourceTypes"]))
        for row in rows
    ]
    return Rights(
        tuple((allowed, scope) for allowed, scope, types in found if not types),
        limited=tuple(row for row in found if row[2]),
    )


def may_make_templates(rights: Rights) -> bool:
    """Whether there is a place in which they allow to make an image template; pure."""
    places = (scope.rstrip("/") for scope in rights.scopes_below("/", Permission.WRITE))
    return any(rights.may(Permission.WRITE, f"{place}/providers/{IMAGE_TEMPLATE}/new") for place in places)
