"""Staging resource groups, and the resources in them, in the database."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import sqlalchemy as sa

from vmkiln.run_state import Phase
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import maybe_aware, staging_group_row
from vmkiln.store.rows import ResourceState, StagingGroupRow, StagingResourceRow
from vmkiln.store.run_facts import RunFacts
from vmkiln.store.tables import phases, runs, staging_groups, staging_resources

T = TypeVar("T", int, str)
MOST_NAMES = 10_000  # in one statement
# built once, for every run asks for them again and again
_resource: sa.BindParameter[int] = sa.bindparam("of_number")
RESOURCE_ADDED = staging_resources.insert()
RESOURCE_EXISTS = (
    staging_resources.update().where(staging_resources.c.number == _resource).values(state=ResourceState.EXISTS)
)
RESOURCES_ADDED = staging_resources.insert().returning(staging_resources.c.number)
RESOURCES_DELETED = (
    staging_resources.update()
    .where(staging_resources.c.number.in_(sa.bindparam("of_numbers", expanding=True)))
    .values(state=ResourceState.DELETED, deleted=sa.bindparam("now"))
)
# what the last attempt of a run made and deleted, and nobody has looked for yet
_began = (
    sa.select(sa.func.max(phases.c.started))
    .where(phases.c.run_id == runs.c.run_id, phases.c.name == Phase.BUILDING)
    .correlate(runs)
    .scalar_subquery()
)
_of_attempt = sa.and_(runs.c.run_id == staging_resources.c.run_id, staging_resources.c.created >= _began)
UNVERIFIED = (
    sa.select(staging_resources, runs.c.facts)
    .join_from(staging_resources, runs, _of_attempt)
    .where(
        staging_resources.c.group_name == runs.c.staging_group,
        runs.c.run_id == sa.bindparam("of_run"),
        staging_resources.c.state == ResourceState.DELETED,
        staging_resources.c.verified.is_(None),
    )
    .order_by(staging_resources.c.number)
)


class StagingTable:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add_group(self, name: str, *, run_id: str, storage_account: str, tags: dict[str, str]) -> None:
        """Record a staging resource group before it is made."""
        values = {"name": name, "run_id": run_id, "storage_account": storage_account, "tags": tags}
        with self._connections.begin() as connection:
            connection.execute(staging_groups.insert().values(**values, created=self._connections.now()))
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(staging_group=name))

    def renew_group(self, name: str, *, run_id: str, tags: dict[str, str]) -> None:
        """Record that a deleted staging resource group is made anew, under the same name."""
        values = {"run_id": run_id, "tags": tags, "deleted": None, "created": self._connections.now()}
        with self._connections.begin() as connection:
            connection.execute(staging_groups.update().where(staging_groups.c.name == name).values(**values))
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(staging_group=name))

    def use_group(self, name: str, *, run_id: str) -> None:
        """Record that a run works in a staging resource group that exists already."""
        self._connections.change(runs.update().where(runs.c.run_id == run_id).values(staging_group=name))

    def list_groups(self, *, with_deleted: bool = False) -> list[StagingGroupRow]:
        """Staging resource groups, the newest first."""
        query = sa.select(staging_groups).order_by(staging_groups.c.created.desc())
        if not with_deleted:
            query = query.where(staging_groups.c.deleted.is_(None))
        return [staging_group_row(row) for row in self._connections.rows(query)]

    def group(self, name: str, *, with_deleted: bool = False) -> StagingGroupRow | None:
        """The staging resource group of exactly this name; none when there is none, or it was deleted."""
        query = sa.select(staging_groups).where(staging_groups.c.name == name)
        if not with_deleted:
            query = query.where(staging_groups.c.deleted.is_(None))
        rows = self._connections.rows(query)
        return staging_group_row(rows[0]) if rows else None

    def groups(self, names: Collection[str]) -> dict[str, StagingGroupRow]:
        """The staging resource groups of these names, without deleted ones; few statements, however many names."""
        there = staging_groups.c.deleted.is_(None)
        found: dict[str, StagingGroupRow] = {}
        for some in _pieces(names):
            query = sa.select(staging_groups).where(staging_groups.c.name.in_(some), there)
            rows = (staging_group_row(row) for row in self._connections.rows(query))
            found |= {row.name: row for row in rows}
        return found

    def group_deleted(self, name: str) -> None:
        """Record that a group and all in it are gone."""
        now = self._connections.now()
        with self._connections.begin() as connection:
            connection.execute(staging_groups.update().where(staging_groups.c.name == name).values(deleted=now))
            left = sa.and_(staging_resources.c.group_name == name, staging_resources.c.state != ResourceState.DELETED)
            connection.execute(staging_resources.update().where(left).values(state=ResourceState.DELETED, deleted=now))

    def add_resource(self, group: str, *, run_id: str, type: str, name: str, detail: dict[str, Any]) -> int:  # noqa: A002
        """Record the intent to make a resource; returns its number."""
        values: dict[str, Any] = {"group_name": group, "run_id": run_id, "type": type, "name": name, "detail": detail}
        with self._connections.begin(of_run=True) as connection:
            values |= {"state": ResourceState.CREATING, "created": self._connections.now()}
            key = connection.execute(RESOURCE_ADDED, values).inserted_primary_key
        assert key is not None  # the table numbers its rows
        return int(key[0])

    def add_resources(
        self, group: str, *, run_id: str, entries: Iterable[tuple[str, str, Mapping[str, Any]]], exist: bool = False
    ) -> list[int]:
        """Record the intent to make resources, as (type, name, detail), in one transaction; returns their numbers.

        `exist` says that they are made by now.
        """
        state = ResourceState.EXISTS if exist else ResourceState.CREATING
        common = {"group_name": group, "run_id": run_id, "state": state, "created": self._connections.now()}
        rows = [{**common, "type": type_, "name": name, "detail": dict(detail)} for type_, name, detail in entries]
        if not rows:
            return []
        with self._connections.begin(of_run=True) as connection:
            return list(connection.execute(RESOURCES_ADDED, rows).scalars())

    def resource_exists(self, number: int) -> None:
        """Record that a resource was made."""
        self._connections.change(RESOURCE_EXISTS, {"of_number": number}, of_run=True)

    def resource_deleted(self, number: int) -> None:
        """Record that a resource is gone."""
        self.resources_deleted([number])

    def resources_deleted(self, numbers: Collection[int]) -> None:
        """Record that resources are gone; one transaction."""
        if numbers:
            values = {"of_numbers": sorted(numbers), "now": self._connections.now()}
            self._connections.change(RESOURCES_DELETED, values, of_run=True)

    def unverified(self, run_id: str) -> tuple[list[StagingResourceRow], RunFacts]:
        """What the last attempt of a run made and deleted, and nobody has looked for yet, with the run's facts.

        No facts are read where there is no such resource.
        """
        rows = self._connections.rows(UNVERIFIED, {"of_run": run_id})
        facts: RunFacts = rows[0]["facts"] if rows else {}
        return [_resource_row({name: row[name] for name in row if name != "facts"}) for row in rows], facts

    def resources_gone(self, numbers: Collection[int]) -> None:
        """Record that somebody looked for deleted resources, and they were gone."""
        for some in _pieces(numbers):
            gone = sa.and_(staging_resources.c.number.in_(some), staging_resources.c.state == ResourceState.DELETED)
            change = staging_resources.update().where(gone, staging_resources.c.verified.is_(None))
            self._connections.change(change.values(verified=self._connections.now()), of_run=True)

    def resources_of(self, group: str) -> list[StagingResourceRow]:
        """A group's resources in the order they were made, deleted ones too."""
        return self.resources_of_all([group])

    def resources_of_all(self, groups: Collection[str], *, type: str = "") -> list[StagingResourceRow]:  # noqa: A002
        """The resources of groups, of one type when it is given, in the order they were made, deleted ones too."""
        found: list[StagingResourceRow] = []
        for some in _pieces(groups):
            query = sa.select(staging_resources).where(staging_resources.c.group_name.in_(some))
            if type:
                query = query.where(staging_resources.c.type == type)
            rows = self._connections.rows(query.order_by(staging_resources.c.number))
            found += [_resource_row(row) for row in rows]
        return found


def _resource_row(row: Mapping[str, Any]) -> StagingResourceRow:
    times = {name: maybe_aware(row[name]) for name in ("created", "deleted", "verified")}
    return StagingResourceRow(**{**row, **times, "state": ResourceState(row["state"])})


def _pieces(names: Collection[T]) -> Iterator[list[T]]:
    """The names or numbers, as many at once as a statement takes."""
    chosen = sorted(set(names))
    return (chosen[first : first + MOST_NAMES] for first in range(0, len(chosen), MOST_NAMES))
