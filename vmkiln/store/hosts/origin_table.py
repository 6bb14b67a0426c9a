"""Where each host's incarnation comes from: its machine, and the schema that its release knows.

A state directory that was copied has its origin's host id; the machines tell the two apart. A host whose release is
older than the database's schema takes nothing new; a newer release takes that back when it starts in its place.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from vmkiln.store.engine import Connections
from vmkiln.store.host_table import is_alive
from vmkiln.store.schema import HEAD, REVISIONS, VERSION_TABLE
from vmkiln.store.tables import host_origins, hosts

REVISION = sa.select(sa.table(VERSION_TABLE, sa.column("version_num")).c.version_num)


@dataclass(frozen=True)
class Elsewhere:
    """A host of the same id at work on another machine: its name, that machine, how long its lease lasts."""

    name: str
    machine: str
    lease_until: float


class OriginTable:
    """Queries and changes. `mark` is what tells machines apart (`host/host_id.py`)."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def elsewhere(self, host_id: str, *, mark: str) -> Elsewhere | None:
        """Who has this host's id on another machine, and a lease that lasts; none when that is not known."""
        with self._connections.reading() as connection:
            query = (
                sa.select(hosts.c.name, host_origins.c.machine, hosts.c.lease_until)
                .join(host_origins, host_origins.c.boot == hosts.c.incarnation)
                .where(hosts.c.host_id == host_id, is_alive(), host_origins.c.machine != mark)
                .order_by(hosts.c.started.desc())
            )
            found = connection.execute(query).first()
        return None if found is None else Elsewhere(*found)

    def record(self, incarnation: str, *, host_id: str, mark: str) -> None:
        """Record where a host comes from that has just been registered.

        One that an older release in its place drained because the schema was newer takes runs again.
        """
        with self._connections.begin() as connection:
            earlier = sa.select(hosts.c.incarnation).where(hosts.c.host_id == host_id)
            behind = sa.and_(host_origins.c.boot.in_(earlier), host_origins.c.drained_for.in_(REVISIONS))
            if connection.execute(host_origins.update().where(behind).values(drained_for="")).rowcount:
                mine = hosts.c.incarnation == incarnation
                connection.execute(hosts.update().where(mine).values(is_draining=False))
            kept = sa.select(hosts.c.incarnation)
            connection.execute(host_origins.delete().where(host_origins.c.boot.not_in(kept)))
            values = {"boot": incarnation, "machine": mark, "schema": HEAD, "drained_for": ""}
            connection.execute(host_origins.insert().values(**values))

    def drain_behind(self, incarnation: str) -> str:
        """Let a host take nothing new once a newer release brought the database further; returns that schema, or ''."""
        rows = self._connections.rows(REVISION)
        found = str(rows[0]["version_num"] or "") if rows else ""
        if not found or found in REVISIONS:
            return ""
        with self._connections.begin() as connection:
            mine = sa.and_(hosts.c.incarnation == incarnation, hosts.c.is_draining.is_(False))
            if connection.execute(hosts.update().where(mine).values(is_draining=True)).rowcount:
                of_it = host_origins.update().where(host_origins.c.boot == incarnation)
                connection.execute(of_it.values(drained_for=found))
        return found
