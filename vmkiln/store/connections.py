"""How the tables reach the database: one engine that writes, one that only reads, and the time."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from vmkiln.store.engine import reading


class Connections:
    """What every table works with. `clock` gives the time in UTC."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._clock = clock

    def now(self) -> datetime:
        """The time now (UTC)."""
        return self._clock()

    def begin(self) -> AbstractContextManager[Connection]:
        """One transaction that may write; it is committed at the end of the block, or undone by an exception."""
        return self._engine.begin()

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only reads, and waits for nobody who writes."""
        return self._reading.connect()

    def rows(self, query: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What a query finds."""
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query, values).mappings()]

    def change(self, statement: sa.Update | sa.Delete, values: Mapping[str, Any] | None = None) -> int:
        """Make one change in a transaction of its own; returns how many rows it met."""
        with self.begin() as connection:
            return connection.execute(statement, values).rowcount


def database_time(connection: Connection) -> float:
    """The database's clock, in seconds since 1970, moving on inside a transaction."""
    if connection.dialect.name == "postgresql":
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    return float(connection.exec_driver_sql("SELECT (julianday('now') - 2440587.5) * 86400.0").scalar_one())
