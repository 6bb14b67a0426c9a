"""Whose rights a run of a stored image template has, and whether they are there at this moment.

They are those of the identities that the template names, one of which must have each; of a template without an
identity those of its owner: who put it, or changed it last. A template that this machine's operator owns may use
everything. What of an identity's own roles (`roleDefinitions`) names the right in Azure's words counts as well.
Source: Microsoft, "Configure Azure VM Image Builder permissions" (which actions it needs in which scope).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.azure_names import (
    IMAGE_TEMPLATE,
    IMAGE_VERSION,
    MANAGED_IMAGE,
    ROLE_DEFINITION,
    SUBNET,
    USER_ASSIGNED_IDENTITY,
    subscription_scope,
)
from vmkiln.rights.built_in_roles import name_of, rights_of
from vmkiln.rights.rights import Permission, covers
from vmkiln.run_failures import RightsLost
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow, RoleAssignmentRow
from vmkiln.template.distribute_target import ManagedImageTarget, SharedImageTarget
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import ManagedImageSource, SharedImageVersionSource

OWNER = "owner"  # the member of a template's state
OPERATOR = "local operator"


@dataclass(frozen=True)
class Owner:
    """Who put an image template, or changed it last: the id that roles are assigned to, and a name for people."""

    object_id: str
    name: str
    is_local: bool = False

    def kept(self) -> dict[str, Any]:
        """What a template's state has of it."""
        return {"objectId": self.object_id, "name": self.name, "isLocal": self.is_local}


@dataclass(frozen=True)
class Need:
    """What a run does with a resource that its template names: where it stands, its id, the action in Azure's words."""

    path: str
    resource_id: str
    action: str

    @property
    def permission(self) -> Permission:
        """The same in ours."""
        return Permission(self.action.rpartition("/")[2])


def needs(template: ImageTemplate) -> Iterator[Need]:
    """What a run does with what lies outside of its template; pure."""
    properties = template.properties
    match properties.source:
        case ManagedImageSource(image_id=image_id):
            yield Need("properties.source.imageId", image_id, f"{MANAGED_IMAGE}/read")
        case SharedImageVersionSource(image_version_id=version_id):
            yield Need("properties.source.imageVersionId", version_id, f"{IMAGE_VERSION}/read")
    for index, target in enumerate(properties.distribute):
        where = f"properties.distribute[{index}]"
        match target:
            case ManagedImageTarget(image_id=image_id):
                yield Need(f"{where}.imageId", image_id, f"{MANAGED_IMAGE}/write")
            case SharedImageTarget(gallery_image_id=definition_id):
                yield Need(f"{where}.galleryImageId", definition_id, f"{IMAGE_VERSION}/write")
    network = properties.vm_profile.vnet_config
    for name, subnet in (
        ("subnetId", network.subnet_id),
        ("containerInstanceSubnetId", network.container_instance_subnet_id),
    ):
        if subnet:
            yield Need(f"properties.vmProfile.vnetConfig.{name}", subnet, f"{SUBNET}/join/action")


def owner_of(store: Store, row: ResourceRow) -> Owner | None:
    """Who owns a template; of one that was put before owners were recorded, the principal of its maker's name.

    None when no principal, or more than one, is called so.
    """
    if (kept := row.state.get(OWNER)) is not None:
        return Owner(kept["objectId"], kept["name"], kept["isLocal"])
    if row.created_by == OPERATOR:
        return Owner("local", OPERATOR, is_local=True)
    named = [found for found in store.principals.list() if found.display_name == row.created_by]
    return Owner(named[0].object_id, named[0].display_name) if len(named) == 1 else None


def check(store: Store, row: ResourceRow, template: ImageTemplate) -> None:
    """Raises: `RightsLost`, which names whose rights, every one that is missing, and whom to ask."""
    owner = owner_of(store, row)
    if owner is not None and owner.is_local:
        return
    wanted = list(needs(template))
    identities = list(template.identity.user_assigned_identities) if template.identity is not None else []
    if not identities:
        wanted.append(Need("the image template itself", row.id, f"{IMAGE_TEMPLATE}/run/action"))
    if not identities and owner is None:
        raise RightsLost(
            f"it is not recorded whose rights the image template {row.name} has: it was put before that was kept",
            hint="whoever may use all that it names takes it over with a PATCH, or by running it once by hand",
        )
    holders = [_Holder.of_identity(store, identity) for identity in identities]
    if not holders and owner is not None:
        holders = [_Holder.of_owner(store, owner)]
    missing = [need for need in wanted if not any(holder.may(need) for holder in holders)]
    if missing:
        who = ", ".join(holder.name for holder in holders)
        what = "; ".join(f"'{need.action}' on {need.resource_id} ({need.path})" for need in missing)
        raise RightsLost(
            f"{who} of the image template {row.name} may not do {what}",
            hint="ask an Owner of these scopes for a role there, or let somebody who has one take the template over "
            "with a PATCH" + (", which may name another identity" if identities else ""),
        )


@dataclass(frozen=True)
class _Holder:
    """Somebody with roles; the rights of custom ones as (actions, not actions, scope)."""

    name: str
    roles: tuple[tuple[str, str], ...]
    custom: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]

    @classmethod
    def of_identity(cls, store: Store, identity_id: str) -> "_Holder":
        row = store.resources.get(identity_id)
        name = identity_id.rpartition("/")[2]
        if row is None or row.type.lower() != USER_ASSIGNED_IDENTITY.lower():
            return cls(f"the identity {name} (which is gone)", (), ())
        object_id = str(row.properties.get("principalId", ""))
        return cls._with_roles(store, f"the identity {name} ({object_id})", store.principals.roles_of(object_id))

    @classmethod
    def of_owner(cls, store: Store, owner: Owner) -> "_Holder":
        principal = store.principals.find_object(owner.object_id)
        is_disabled = principal is not None and principal.is_disabled
        roles = [] if is_disabled else store.principals.roles_of(owner.object_id)
        return cls._with_roles(store, f"the owner {owner.name} ({owner.object_id})", roles)

    @classmethod
    def _with_roles(cls, store: Store, name: str, rows: Sequence[RoleAssignmentRow]) -> "_Holder":
        custom = [found for row in rows if not name_of(row.role) for found in _custom(store, row)]
        return cls(name, tuple((row.role, row.scope) for row in rows), tuple(custom))

    def may(self, need: Need) -> bool:
        """Whether one of the roles allows it."""
        if rights_of(self.roles).may(need.permission, need.resource_id):
            return True
        return any(
            covers(scope, need.resource_id) and _names(actions, need.action) and not _names(besides, need.action)
            for actions, besides, scope in self.custom
        )


def _custom(store: Store, row: RoleAssignmentRow) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """What a role of somebody's own allows, in its scope."""
    segments = row.scope.strip("/").split("/")
    if len(segments) < 2:
        return
    found = store.resources.get(f"{subscription_scope(segments[1])}/providers/{ROLE_DEFINITION}/{row.role}")
    permissions = found.properties.get("permissions") if found is not None else None
    for item in permissions if isinstance(permissions, list) else []:
        if isinstance(item, Mapping):
            yield _texts(item.get("actions")), _texts(item.get("notActions")), row.scope


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(item for item in given if isinstance(item, str)) if isinstance(given, list) else ()


def _names(patterns: tuple[str, ...], action: str) -> bool:
    """Whether one of Azure's patterns (`*` stands for anything) names an action; pure."""
    return any(_matches(pattern.lower(), action.lower()) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    """Pure. Each piece is taken where it stands first, so that no pattern makes this slow."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == first
    *middle, last = rest
    at = len(first)
    if not text.startswith(first):
        return False
    for piece in middle:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return text.endswith(last) and len(text) - len(last) >= at
