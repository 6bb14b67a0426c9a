"""ARM resources: one row each, found by id without regard to case; every change gives it a new etag.

Threads of this process can wait for a change. What other processes change is not told to them: whoever waits looks
again after a while all the same.
"""

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.store.bounded.quota import Quota
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware
from vmkiln.store.rows import ResourceRow
from vmkiln.store.tables import resources

OURS = ("key", "parent", "size_bytes")
DEFAULT_QUOTA = Quota()
Beside = Callable[..., list[ResourceRow]]  # lists resources by type, subscription, group or parent


class Watch:
    """Some resources being watched. A change since the last wait, or since the watch began, is never missed."""

    def __init__(self) -> None:
        self._changed = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait until one changes; false when none did in that time."""
        is_changed = self._changed.wait(seconds)
        self._changed.clear()
        return is_changed

    def forget(self) -> None:
        """Take what has changed so far as seen; to be called before one looks."""
        self._changed.clear()

    def tell(self) -> None:
        """One has changed."""
        self._changed.set()


class ResourceChanges:
    """Who watches which resources, by their ids in lower case."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: dict[str, list[Watch]] = {}

    @contextlib.contextmanager
    def watched(self, resource_ids: Collection[str]) -> Iterator[Watch]:
        """Watch resources, also such as do not exist yet, while the block lasts."""
        watch, keys = Watch(), {resource_id.lower() for resource_id in resource_ids}
        with self._lock:
            for key in keys:
                self._watches.setdefault(key, []).append(watch)
        try:
            yield watch
        finally:
            with self._lock:
                for key in keys:
                    self._watches[key].remove(watch)
                    if not self._watches[key]:
                        del self._watches[key]

    def tell(self, resource_id: str) -> None:
        """A resource was changed or deleted, and that is committed."""
        with self._lock:
            for watch in self._watches.get(resource_id.lower(), ()):
                watch.tell()


class ResourceTable:
    """Queries and changes. `changes` tells who waits for one of them.

    What would be beyond `quota` is not recorded: `QuotaReached`.
    """

    def __init__(
        self, connections: Connections, changes: ResourceChanges | None = None, quota: Quota = DEFAULT_QUOTA
    ) -> None:
        self.changes = changes or ResourceChanges()
        self.quota = quota
        self._connections = connections

    def get(self, resource_id: str) -> ResourceRow | None:
        """The resource of this id, or none."""
        found = self._connections.rows(_of_id(resource_id))
        return _row(found[0]) if found else None

    def by_id(self, resource_ids: Collection[str]) -> dict[str, ResourceRow]:
        """The resources of these ids (lower case), as far as there are any; one statement."""
        query = sa.select(resources).where(resources.c.key.in_(resource_ids))
        return {found["key"]: _row(found) for found in self._connections.rows(query)}

    def insert(self, row: ResourceRow) -> ResourceRow | None:
        """Record a new resource; none (and nothing changed) when one of that id exists. Raises: `QuotaReached`."""
        with self._connections.begin() as connection:
            if _found(connection, row.id) is not None:
                return None
            found = self._insert(connection, row)
        self.changes.tell(row.id)
        return found

    def insert_beside(self, row: ResourceRow, check: Callable[["Beside"], None]) -> ResourceRow | None:
        """Record a new resource after `check` has looked at what is there, in one transaction with it.

        None (and nothing changed) when one of that id exists. What `check` raises leaves everything as it was.
        Raises: `QuotaReached`.
        """
        with self._connections.begin() as connection:
            if _found(connection, row.id) is not None:
                return None
            check(lambda **wanted: _listed(connection, **wanted))
            return self._insert(connection, row)

    def insert_many(self, rows: Sequence[ResourceRow]) -> None:
        """Record many new resources in one transaction. Raises: `sqlalchemy.exc.IntegrityError` when one exists."""
        now = self._connections.now()
        values = [_columns(row) | {"created": now, "changed": now, "etag": str(uuid.uuid4())} for row in rows]
        with self._connections.begin() as connection:
            connection.execute(resources.insert(), values)

    def check_room(self, row: ResourceRow) -> None:
        """A resource may be put as it is now; for what begins something before it knows what to record.

        Raises: `QuotaReached`.
        """
        with self._connections.reading() as connection:
            existing, values = _found(connection, row.id), _columns(row)
            if existing is None:
                self.quota.check_new(connection, values)
            else:
                self.quota.check_changed(connection, values, before=_columns(existing)["size_bytes"])

    def put(self, row: ResourceRow, *, will_grow: bool = False) -> ResourceRow:
        """Record a resource, in place of the one of that id; that one's id, birth and maker stay.

        One that `will_grow` needs room for that now, also when it is there already.
        Raises: `QuotaReached`.
        """
        with self._connections.begin() as connection:
            existing = _found(connection, row.id)
            if existing is not None and will_grow:
                self.quota.check_room(connection, row.subscription_id, row.type)
            if existing is None:
                found = self._insert(connection, row)
            else:
                found = self._update(connection, existing, row, is_asked=True)
        self.changes.tell(row.id)
        return found

    def change(
        self, resource_id: str, change: Callable[[ResourceRow], ResourceRow], *, is_asked: bool = False
    ) -> ResourceRow | None:
        """Read, change and record in one transaction; none when there is no such resource.

        What `change` raises leaves everything as it was. Only what a caller asked for (`is_asked`) may be refused for
        its size; what the service records of its own work is bounded by that work.
        Raises: `QuotaReached`.
        """
        with self._connections.begin() as connection:
            found = existing = _found(connection, resource_id)
            if existing is not None:
                found = self._update(connection, existing, change(existing), is_asked=is_asked)
        self.changes.tell(resource_id)
        return found

    def delete(self, resource_id: str, *, etag: str = "") -> bool:
        """Forget a resource, as it was seen when its etag is given; false when there is none such."""
        same = [resources.c.key == resource_id.lower(), *([resources.c.etag == etag] if etag else [])]
        with self._connections.begin() as connection:
            gone = connection.execute(resources.delete().where(*same))
        self.changes.tell(resource_id)
        return gone.rowcount == 1

    def subscriptions(self) -> Sequence[str]:
        """The subscriptions (lower case) that hold anything."""
        with self._connections.reading() as connection:
            return [
                str(item)
                for item in connection.execute(
                    sa.select(resources.c.subscription_id).where(resources.c.subscription_id != "").distinct()
                ).scalars()
            ]

    def list(
        self,
        *,
        type: str = "",  # noqa: A002 (Azure's word)
        subscription_id: str = "",
        resource_group: str = "",
        parent: str = "",
        after: str = "",
        limit: int | None = None,
        scopes: Collection[str] | None = None,
    ) -> list[ResourceRow]:
        """Resources by id: of a type, subscription, group or parent, as far as given.

        `scopes` (lower case) are ids of resource groups, of which everything is given, or of single resources.

        `after` and `limit` page: the id (lower case) of the last one seen, and how many at most.
        """
        wanted = {"type": type, "subscription_id": subscription_id, "resource_group": resource_group, "parent": parent}
        with self._connections.reading() as connection:
            return _listed(connection, scopes=scopes, after=after, limit=limit, **wanted)

    def of_groups(self, type: str, subscription_id: str, groups: Collection[str]) -> Sequence[ResourceRow]:  # noqa: A002
        """Resources of a type in these groups of a subscription (lower case), of which '' is none of them, by id."""
        query = sa.select(resources).where(
            resources.c.subscription_id == subscription_id.lower(),
            resources.c.resource_group.in_(groups),
            resources.c.type == type.lower(),
        )
        with self._connections.reading() as connection:
            return [_row(found) for found in connection.execute(query.order_by(resources.c.key)).mappings()]

    def in_provisioning_state(self, type: str, states: Collection[str]) -> Sequence[ResourceRow]:  # noqa: A002
        """Resources of a type whose `provisioningState` is one of these."""
        state = resources.c.properties["provisioningState"].as_string()
        query = sa.select(resources).where(resources.c.type == type.lower(), state.in_(states))
        with self._connections.reading() as connection:
            return [_row(found) for found in connection.execute(query.order_by(resources.c.key)).mappings()]

    def _insert(self, connection: Connection, row: ResourceRow) -> ResourceRow:
        now = self._connections.now()
        values = _columns(row) | {"created": now, "changed": now, "etag": str(uuid.uuid4())}
        self.quota.check_new(connection, values)
        connection.execute(resources.insert().values(**values))
        return _row(values)

    def _update(
        self, connection: Connection, existing: ResourceRow, row: ResourceRow, *, is_asked: bool
    ) -> ResourceRow:
        fixed = {"id": existing.id, "created": existing.created, "created_by": existing.created_by}
        values = _columns(row) | fixed | {"changed": self._connections.now(), "etag": str(uuid.uuid4())}
        if is_asked:
            self.quota.check_changed(connection, values, before=_columns(existing)["size_bytes"])
        connection.execute(resources.update().where(resources.c.key == existing.key).values(**values))
        return _row(values)


def parent_of(resource_id: str) -> str:
    """The id (lower case) of the resource that a nested one belongs to; '' for a top-level one; pure."""
    segments = resource_id.lower().split("/")
    kinds = range(1, len(segments), 2)  # behind each one its name, which may be `providers`, too
    provider = max((place for place in kinds if segments[place] == "providers"), default=0)
    if not provider:
        return ""
    is_nested = len(segments) - provider > 4
    return "/".join(segments[:-2]) if is_nested else ""


def _columns(row: ResourceRow) -> dict[str, Any]:
    values = dict(vars(row))
    for name in ("subscription_id", "resource_group", "type"):
        values[name] = values[name].lower()
    for name in ("tags", "properties"):
        values[name] = dict(values[name])
    values["identity"] = None if row.identity is None else dict(row.identity)
    # how type and group were spelled is part of what users see
    values["state"] = {**row.state, "type": row.type, "resource_group": row.resource_group}
    kept = [values[name] for name in ("properties", "state", "tags", "identity") if values[name] is not None]
    size = sum(len(json.dumps(value)) for value in kept)
    return values | {"key": row.key, "parent": parent_of(row.id), "size_bytes": size}


def _of_id(resource_id: str) -> "sa.Select[Any]":
    return sa.select(resources).where(resources.c.key == resource_id.lower())


def _found(connection: Connection, resource_id: str) -> ResourceRow | None:
    found = connection.execute(_of_id(resource_id)).mappings().first()
    return None if found is None else _row(found)


def _listed(
    connection: Connection,
    *,
    scopes: Collection[str] | None = None,
    after: str = "",
    limit: int | None = None,
    **wanted: str,
) -> list[ResourceRow]:
    query = sa.select(resources).order_by(resources.c.key).limit(limit)
    for name, value in wanted.items():
        if value:
            query = query.where(resources.c[name] == value.lower())
    if scopes is not None:
        groups = {scope.split("/")[4] for scope in scopes if scope.count("/") == 4}
        query = query.where(sa.or_(resources.c.resource_group.in_(groups), resources.c.key.in_(scopes)))
    if after:
        query = query.where(resources.c.key > after)
    return [_row(found) for found in connection.execute(query).mappings()]


def _row(found: Mapping[Any, Any]) -> ResourceRow:
    values = {name: value for name, value in found.items() if name not in OURS}
    state = dict(values["state"])
    spelled = {"type": state.pop("type"), "resource_group": state.pop("resource_group")}
    times = {name: aware(values[name]) for name in ("created", "changed")}
    return ResourceRow(**{**values, **spelled, **times, "state": state})
