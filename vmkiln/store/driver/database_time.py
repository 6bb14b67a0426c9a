"""What time it is by the database's clock, in seconds since 1970: the one clock that all hosts agree on."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles


class database_clock(sa.sql.expression.ColumnElement[float]):  # noqa: N801 (as SQLAlchemy writes functions)
    """The database's clock in a statement, in seconds since 1970, moving on inside a transaction."""

    type = sa.Float()
    inherit_cache = True


@compiles(database_clock)
def _clock_of_postgresql(_element: database_clock, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(database_clock, "sqlite")
def _clock_of_sqlite(_element: database_clock, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


CLOCK = sa.select(database_clock())


def database_time(connection: Connection) -> float:
    """The database's clock, in seconds since 1970, moving on inside a transaction."""
    return float(connection.execute(CLOCK).scalar_one())
