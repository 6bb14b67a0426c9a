"""Asynchronous operations, so that their URLs stay good after the service was restarted."""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from vmkiln.store.engine import reading
from vmkiln.store.row_reading import aware, maybe_aware
from vmkiln.store.rows import OperationRow
from vmkiln.store.tables import operations

IN_PROGRESS = "InProgress"


class OperationTable:
    """Queries and changes. `clock` gives the time in UTC."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._clock = clock

    def begin(
        self, kind: str, *, subscription_id: str, location: str, resource_id: str, run_id: str = ""
    ) -> OperationRow:
        """Record an operation that starts now."""
        row = OperationRow(
            operation_id=str(uuid.uuid4()),
            kind=kind,
            subscription_id=subscription_id.lower(),
            location=location,
            resource_id=resource_id,
            run_id=run_id,
            status=IN_PROGRESS,
            error={},
            started=self._clock(),
            ended=None,
        )
        with self._engine.begin() as connection:
            connection.execute(operations.insert().values(**vars(row)))
        return row

    def end(self, operation_id: str, *, status: str = "Succeeded", error: Mapping[str, Any] | None = None) -> bool:
        """Record how an operation ended; false (and nothing changed) when it had ended before."""
        is_open = sa.and_(operations.c.operation_id == operation_id, operations.c.status == IN_PROGRESS)
        values = {"status": status, "error": dict(error or {}), "ended": self._clock()}
        with self._engine.begin() as connection:
            return connection.execute(operations.update().where(is_open).values(**values)).rowcount == 1

    def get(self, operation_id: str) -> OperationRow | None:
        """The operation of this id, or none."""
        rows = self._list(operations.c.operation_id == operation_id.lower())
        return rows[0] if rows else None

    def open_ones(self, resource_id: str = "") -> list[OperationRow]:
        """Operations in progress, the oldest first; of one resource, when one is given.

        Without those that a run stands for: how it goes is said by the run, and stays so when it has ended.
        """
        rows = self._list(sa.and_(operations.c.status == IN_PROGRESS, operations.c.run_id == ""))
        return [row for row in rows if not resource_id or row.resource_id.lower() == resource_id.lower()]

    def _list(self, condition: sa.ColumnElement[bool]) -> list[OperationRow]:
        query = sa.select(operations).where(condition).order_by(operations.c.started)
        with self._reading.connect() as connection:
            return [_row(dict(found)) for found in connection.execute(query).mappings()]


def _row(found: dict[str, Any]) -> OperationRow:
    return OperationRow(**{**found, "started": aware(found["started"]), "ended": maybe_aware(found["ended"])})
