"""Asynchronous operations, so that their URLs stay good after the service was restarted."""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.azure_names import OperationStatus
from vmkiln.store.driver.database_time import database_time
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware, maybe_aware
from vmkiln.store.rows import OperationRow
from vmkiln.store.tables import operations, sessions

IS_OPEN = sa.and_(operations.c.status == OperationStatus.IN_PROGRESS, operations.c.run_id == "")
LEASE_SECONDS = 60.0
RENEW_SECONDS = LEASE_SECONDS / 4


class OperationTable:
    """Queries and changes. What is begun here belongs to `session`."""

    def __init__(self, connections: Connections, *, session: str) -> None:
        self._connections = connections
        self._session = session

    def begin(
        self,
        kind: str,
        *,
        subscription_id: str,
        location: str,
        resource_id: str,
        run_id: str = "",
        is_done: bool = False,
    ) -> OperationRow:
        """Record an operation that starts now, or that is done: then a kill cannot leave it open for ever."""
        now = self._connections.now()
        row = OperationRow(
            operation_id=str(uuid.uuid4()),
            kind=kind,
            subscription_id=subscription_id.lower(),
            location=location,
            resource_id=resource_id,
            run_id=run_id,
            status=OperationStatus.SUCCEEDED if is_done else OperationStatus.IN_PROGRESS,
            error={},
            started=now,
            ended=now if is_done else None,
            session=self._session,
        )
        with self._connections.begin() as connection:
            connection.execute(operations.insert().values(**vars(row)))
        return row

    def end(
        self,
        operation_id: str,
        *,
        status: OperationStatus = OperationStatus.SUCCEEDED,
        error: Mapping[str, Any] | None = None,
    ) -> bool:
        """Record how an operation ended; false (and nothing changed) when it had ended before."""
        is_open = sa.and_(operations.c.operation_id == operation_id, operations.c.status == OperationStatus.IN_PROGRESS)
        values = {"status": status, "error": dict(error or {}), "ended": self._connections.now()}
        with self._connections.begin() as connection:
            return connection.execute(operations.update().where(is_open).values(**values)).rowcount == 1

    def get(self, operation_id: str) -> OperationRow | None:
        """The operation of this id, or none."""
        rows = self._list(operations.c.operation_id == operation_id.lower())
        return rows[0] if rows else None

    def open_ones(self, resource_id: str = "") -> list[OperationRow]:
        """Operations in progress, the oldest first; of one resource, when one is given.

        Without those that a run stands for: how it goes is said by the run, and stays so when it has ended.
        """
        if resource_id:
            its = sa.func.lower(operations.c.resource_id) == resource_id.lower()
            return self._list(sa.and_(IS_OPEN, its))
        return self._list(IS_OPEN)

    def front(
        self,
        kinds: Collection[str],
        *,
        per_subscription: int,
        besides: Collection[str] = (),
        session: str | None = None,
        not_sessions: Collection[str] = (),
    ) -> list[OperationRow]:
        """The oldest open operations of these kinds, so many of each subscription, without those of `besides`.

        Of one session, when one is given, and never of `not_sessions`. It takes as long when thousands wait.
        """
        place = sa.func.row_number().over(
            partition_by=operations.c.subscription_id, order_by=(operations.c.started, operations.c.operation_id)
        )
        wanted = [IS_OPEN, operations.c.kind.in_(kinds), operations.c.operation_id.not_in(besides)]
        wanted += [operations.c.session.not_in(not_sessions)]
        if session is not None:
            wanted.append(operations.c.session == session)
        places = sa.select(operations.c.operation_id, place.label("place")).where(*wanted).subquery()
        first = sa.select(places.c.operation_id).where(places.c.place <= per_subscription)
        return self._list(operations.c.operation_id.in_(first))

    def _list(self, condition: sa.ColumnElement[bool]) -> list[OperationRow]:
        query = sa.select(operations).where(condition).order_by(operations.c.started)
        with self._connections.reading() as connection:
            return [_row(dict(found)) for found in connection.execute(query).mappings()]


def _row(found: dict[str, Any]) -> OperationRow:
    return OperationRow(
        **{
            **found,
            "status": OperationStatus(found["status"]),
            "started": aware(found["started"]),
            "ended": maybe_aware(found["ended"]),
        }
    )


class SessionTable:
    """Sessions: one row for each life of a process that answers requests, so that others know whose work goes on.

    What takes longer than its request, such as a deployment, carries the session `own` of who does it. When that is
    over, because its lease ran out or because its state directory has a newer one, the work was interrupted. Times are
    the database's, so no two clocks are compared.
    """

    def __init__(self, connections: Connections, *, own: str) -> None:
        self._connections = connections
        self.own = own

    def begin(self, *, host_id: str, is_alone: bool) -> None:
        """Record that this session begins in a state directory (`host_id`).

        `is_alone`: it has that directory for itself, so what began there before is over.
        """
        with self._connections.begin() as connection:
            now = database_time(connection)
            over = sessions.c.lease_until < now
            if is_alone:
                over = sa.or_(over, sessions.c.host_id == host_id)
            connection.execute(sessions.delete().where(over))
            self._insert(connection, host_id, now)

    def renew(self, *, host_id: str) -> None:
        """Make this session last from now, also when others took it for one that is over."""
        with self._connections.begin() as connection:
            now = database_time(connection)
            connection.execute(sessions.delete().where(sessions.c.session == self.own))
            self._insert(connection, host_id, now)

    def end(self) -> None:
        """Record that this session ends; what it has begun is nobody's any more."""
        with self._connections.begin() as connection:
            connection.execute(sessions.delete().where(sessions.c.session == self.own))

    def going_on(self) -> frozenset[str]:
        """The sessions that go on."""
        with self._connections.reading() as connection:
            lasts = sessions.c.lease_until >= database_time(connection)
            return frozenset(connection.execute(sa.select(sessions.c.session).where(lasts)).scalars())

    def _insert(self, connection: Connection, host_id: str, now: float) -> None:
        values = {"session": self.own, "host_id": host_id, "lease_until": now + LEASE_SECONDS}
        connection.execute(sessions.insert().values(**values))
