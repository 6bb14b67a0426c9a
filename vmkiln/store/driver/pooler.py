"""A pooler between us and PostgreSQL: one that gives each transaction another session is refused when we connect.

What a session has would be another client's then: prepared statements, limits of time, the clock's zone.
Source: pgbouncer, "Feature matrix for pooling modes"; PostgreSQL, `BackendKeyData`: a pooler gives its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from vmkiln.errors import InputError

TRIES = 5
PID = "SELECT pg_backend_pid()"


def configure(
    connection: "psycopg.Connection[Any]",
    session: Mapping[str, str],
    *,
    another: "Callable[[], psycopg.Connection[Any]]",
) -> None:
    """Set what a session is to have, and find out whether it is ours alone; `another` connects once more.

    It is closed on errors. Raises: `InputError` when other clients have the same session, `psycopg.Error`.
    """
    try:
        _configure(connection, session, another)
    except BaseException:
        connection.close()
        raise


def _configure(
    connection: "psycopg.Connection[Any]", session: Mapping[str, str], another: "Callable[[], psycopg.Connection[Any]]"
) -> None:
    settings = ", ".join("set_config(%s, %s, false)" for _ in session)
    values = [text for pair in session.items() for text in pair]
    with connection.cursor() as cursor:
        cursor.execute(f"{PID}, {settings}", values)
        row = cursor.fetchone()
    connection.commit()
    if row is None or row[0] != connection.info.backend_pid:
        with another() as other:
            _refuse_if_shared(connection, other)


def _refuse_if_shared(one: "psycopg.Connection[Any]", other: "psycopg.Connection[Any]") -> None:
    """Who has a session for himself never meets one of another's connection, both of which are open."""
    seen: tuple[set[int], set[int]] = set(), set()
    for _ in range(TRIES):
        for pids, connection in zip(seen, (one, other), strict=True):
            row = connection.execute(PID).fetchone()
            connection.commit()
            if row is not None:
                pids.add(row[0])
    if seen[0] & seen[1] or max(map(len, seen)) > 1:
        raise InputError(
            "VMKILN_DATABASE_URL leads to a pooler that gives each transaction another session, as pgbouncer does with "
            "pool_mode=transaction",
            hint="name the server itself, or a pooler in session mode (pool_mode=session)",
        )
