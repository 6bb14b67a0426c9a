"""Resources that are kept as they were put: one way to create, read, tag, list and delete them, whatever their kind.

What a kind adds: which bodies are right, what the service fills in, and what stands in the way of deleting one.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, group_of
from vmkiln.api.protocol.listing import PAGE, page, readable
from vmkiln.api.protocol.revision import check_etag, etag_of, system_data
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import check_location, location_mistakes, refuse, tag_mistakes
from vmkiln.azure_names import ProvisioningState, plain_location
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.rows import ResourceRow


def _no_mistakes(_call: Call, _properties: Mapping[str, Any]) -> list[Mistake]:
    return []


def _as_given(_call: Call, properties: Mapping[str, Any], _existing: ResourceRow | None) -> dict[str, Any]:
    return dict(properties)


def _nothing_in_the_way(_call: Call, _row: ResourceRow) -> None:
    return None


def _nothing_beside(_call: Call, _row: ResourceRow) -> None:
    return None


def _as_kept(_call: Call, row: ResourceRow) -> dict[str, Any]:
    return dict(row.properties)


@dataclass(frozen=True)
class Kind:
    """A kind of resource. `type` such as `Microsoft.Compute/galleries/images`; `names` are its placeholders in order.

    `mistakes` judges the properties of a body, `filled` completes them (given the one that exists) and records nothing,
    `shown` gives what users see of them, `before_delete` refuses a deletion. `beside` records what belongs to one that
    is on record now: what is refused leaves nothing.
    """

    type: str
    names: tuple[str, ...]
    operation: str
    pattern: str = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
    has_location: bool = True
    mistakes: Callable[[Call, Mapping[str, Any]], list[Mistake]] = _no_mistakes
    filled: Callable[[Call, Mapping[str, Any], ResourceRow | None], dict[str, Any]] = _as_given
    shown: Callable[[Call, ResourceRow], dict[str, Any]] = _as_kept
    before_delete: Callable[[Call, ResourceRow], None] = _nothing_in_the_way
    beside: Callable[[Call, ResourceRow], None] = _nothing_beside

    @property
    def path(self) -> str:
        """The path of one."""
        provider, *types = self.type.split("/")
        return "/".join(
            [GROUP_PATH, provider, *(f"{name}/{{{key}}}" for name, key in zip(types, self.names, strict=True))]
        )

    @property
    def collection(self) -> str:
        """The path of all of them in a group, or in their parent."""
        return self.path.rpartition("/")[0]


def body_of(kind: Kind, call: Call, row: ResourceRow) -> dict[str, Any]:
    """The whole resource."""
    body: dict[str, Any] = {"id": row.id, "name": row.name, "type": kind.type}
    if kind.has_location:
        body |= {"location": row.location, "tags": dict(row.tags)}
    return body | {"properties": kind.shown(call, row), "etag": etag_of(row), "systemData": system_data(row)}


def find(kind: Kind, call: Call) -> ResourceRow:
    """The resource of a call's path. Raises: `ArmError` 404."""
    row = call.service.store.resources.get(call.resource_id)
    if row is None or row.type.lower() != kind.type.lower():
        name = "/".join(call.names[key] for key in kind.names)
        message = (
            f"The Resource '{kind.type}/{name}' under resource group '{call.names['resourceGroupName']}' was not found."
        )
        raise ArmError(404, "ResourceNotFound", message)
    return row


def _check_above(kind: Kind, call: Call) -> ResourceRow:
    """The resource group and, for a nested kind, the parent exist. Raises: `ArmError` 404."""
    group = group_of(call)
    if len(kind.names) > 1:
        parent = call.resource_id.rsplit("/", 2)[0]
        if call.service.store.resources.get(parent) is None:
            raise ArmError(404, "ParentResourceNotFound", f"The parent resource '{parent}' was not found.")
    return group


def put(kind: Kind, call: Call) -> Answer:
    """PUT one."""
    group = _check_above(kind, call)
    name = call.names[kind.names[-1]]
    properties = call.body.get("properties")
    mistakes = tag_mistakes(call.body.get("tags")) if kind.has_location else []
    if kind.has_location:
        mistakes += location_mistakes(call.body)
    if not re.fullmatch(kind.pattern, name):
        mistakes.append(Mistake("name", f"`{name[:100]}` is not a name for this", f"it must match {kind.pattern}"))
    if properties is not None and not isinstance(properties, dict):
        mistakes.append(Mistake("properties", "must be an object"))
    else:
        mistakes += kind.mistakes(call, properties or {})
    refuse(mistakes, code="InvalidParameter")
    existing = call.service.store.resources.get(call.resource_id)
    check_etag(call, existing)
    if existing is None and kind.has_location:
        check_location(call, call.body["location"], kind.type)
    if existing is not None and kind.has_location and existing.location != plain_location(call.body["location"]):
        message = f"The resource '{name}' already exists in location '{existing.location}'."
        raise ArmError(409, "InvalidResourceLocation", message, target="location")
    row = call.service.store.resources.put(
        ResourceRow(
            id=f"{group.id}/providers/{call.resource_id.split('/providers/', 1)[-1]}",
            type=kind.type,
            name=name,
            subscription_id=call.names["subscriptionId"],
            resource_group=group.name,
            location=plain_location(call.body["location"]) if kind.has_location else "",
            tags=(call.body.get("tags") or {}) if kind.has_location else {},
            properties=kind.filled(call, properties or {}, existing)
            | {"provisioningState": ProvisioningState.SUCCEEDED},
            state=existing.state if existing else {},
            created_by=call.caller.name,
            changed_by=call.caller.name,
        )
    )
    kind.beside(call, row)
    return Answer(200 if existing else 201, body_of(kind, call, row), {"ETag": etag_of(row)})


def patch(kind: Kind, call: Call) -> Answer:
    """PATCH: tags, and members of properties (RFC 7396 at the first level)."""
    row = find(kind, call)
    check_etag(call, row)
    tags, change = call.body.get("tags"), call.body.get("properties")
    mistakes = tag_mistakes(tags)
    if change is not None and not isinstance(change, dict):
        mistakes.append(Mistake("properties", "must be an object"))
        change = None
    merged = {name: value for name, value in {**row.properties, **(change or {})}.items() if value is not None}
    if change:
        mistakes += kind.mistakes(call, merged)
    refuse(mistakes, code="InvalidParameter")
    properties = kind.filled(call, merged, row) if change else dict(row.properties)

    def changed(old: ResourceRow) -> ResourceRow:
        kept = properties | {"provisioningState": ProvisioningState.SUCCEEDED}
        return replace(old, tags=old.tags if tags is None else tags, properties=kept, changed_by=call.caller.name)

    row = call.service.store.resources.change(row.id, changed, is_asked=True) or row
    if change:
        kind.beside(call, row)
    return Answer(200, body_of(kind, call, row), {"ETag": etag_of(row)})


def get(kind: Kind, call: Call) -> Answer:
    """GET one."""
    row = find(kind, call)
    return Answer(200, body_of(kind, call, row), {"ETag": etag_of(row)})


def list_all(kind: Kind, call: Call) -> Answer:
    """GET all of a subscription, a group or a parent, as far as the caller may read them."""
    names = call.names
    parent = call.resource_id.rpartition("/")[0].lower() if len(kind.names) > 1 else ""
    if "resourceGroupName" in names:
        _check_above_list(kind, call)

    def fetch(after: str, scopes: Collection[str] | None) -> list[ResourceRow]:
        return call.service.store.resources.list(
            type=kind.type,
            subscription_id=names["subscriptionId"],
            resource_group=names.get("resourceGroupName", ""),
            parent=parent,
            after=after,
            limit=PAGE + 1,
            scopes=scopes,
        )

    return page(call, readable(call, fetch), lambda rows: [body_of(kind, call, row) for row in rows])


def _check_above_list(kind: Kind, call: Call) -> None:
    if len(kind.names) == 1:
        group_of(call)
        return
    above = call.resource_id.rpartition("/")[0]
    if call.service.store.resources.get(above) is None:
        raise ArmError(404, "ResourceNotFound", f"'{above}' was not found.")


def delete(kind: Kind, call: Call) -> Answer:
    """DELETE one: done at once; 204 when there is none."""
    row = call.service.store.resources.get(call.resource_id)
    if row is None or row.type.lower() != kind.type.lower():
        return Answer(204)
    check_etag(call, row)
    kind.before_delete(call, row)
    call.service.store.resources.delete(row.id)
    return Answer(200)


def routes_of(kind: Kind, *, in_subscription: bool = True) -> Sequence[Route]:
    """The routes of a kind."""
    name = kind.operation
    found = [
        Route("GET", kind.path, f"{name}_Get", Permission.READ, partial(get, kind)),
        Route("PUT", kind.path, f"{name}_CreateOrUpdate", Permission.WRITE, partial(put, kind), Body.JSON),
        Route("PATCH", kind.path, f"{name}_Update", Permission.WRITE, partial(patch, kind), Body.JSON),
        Route("DELETE", kind.path, f"{name}_Delete", Permission.DELETE, partial(delete, kind)),
        Route("GET", kind.collection, f"{name}_List", Permission.READ, partial(list_all, kind)),
    ]
    if in_subscription and len(kind.names) == 1:
        path = f"/subscriptions/{{subscriptionId}}/providers/{kind.type}"
        found.append(Route("GET", path, f"{name}_ListAll", Permission.ANY, partial(list_all, kind)))
    return found
