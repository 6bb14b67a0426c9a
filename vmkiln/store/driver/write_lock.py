"""How a writing transaction of PostgreSQL begins: with the lock that makes writers queue, in one turn to the server.

There is one lock for all. Who writes whatever it likes has it alone. Who writes rows of one run only shares it with
others that do, and has its run alone: two runs know nothing of each other, and a server far away would let one of them
wait for every turn of the other's. What is fenced locks the row that says whose the run is, too.
Source: PostgreSQL, "Advisory Lock Functions", "Multiple Statements in a Simple Query"; psycopg, "Client-side-binding
cursors".
"""

from typing import Any

import psycopg
from sqlalchemy.engine import Connection

from vmkiln.errors import DatabaseAway, RunTakenOver, StorageFull
from vmkiln.store.driver.driver_errors import is_away, is_full

_KEY = 0x766D6B696C6E  # any number, as long as it is always the same
WRITE_LOCK = f"pg_advisory_xact_lock({_KEY})"
SHARED_LOCK = f"pg_advisory_xact_lock_shared({_KEY})"
HAS_THE_RUN = "SELECT 1 FROM vmkiln_reservation WHERE run_id = ? AND boot = ?"
# In one statement what was deleted while it waited for the lock would still be seen, if the row were only read: it is
# locked too, and to lock a row is to find out whether it is still there (PostgreSQL, "Read Committed Isolation Level").
_LOCKED = (
    "WITH waited AS MATERIALIZED (SELECT {lock}) SELECT 1 FROM vmkiln_reservation AS kept, waited "
    "WHERE kept.run_id = %s AND kept.boot = %s FOR {strength} OF kept"
)
LOCK_AND_HAS_THE_RUN = _LOCKED.format(lock=WRITE_LOCK, strength="KEY SHARE")
SHARE_AND_HAS_THE_RUN = _LOCKED.format(lock=SHARED_LOCK, strength="NO KEY UPDATE")  # two of one run wait for each other
Fence = tuple[str, str]  # the run that is written for, and the incarnation that has it


class ConnectionGone(DatabaseAway):
    """The server had closed the connection that a transaction was to begin on: nothing of it was done."""


def begin(connection: Connection, fence: Fence | None, *, of_run: bool) -> None:
    """Begin a transaction and get its lock. `of_run` says that it writes rows of the run of its fence only.

    Raises: `RunTakenOver` when the run was given to another host, `ConnectionGone`.
    """
    if fence is None:
        query: str = f"SELECT {WRITE_LOCK}"
    else:
        query = SHARE_AND_HAS_THE_RUN if of_run else LOCK_AND_HAS_THE_RUN
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    try:
        with psycopg.ClientCursor(driver) as cursor:
            # one message, and no pipeline: PostgreSQL does not end who stands still after the end of one
            cursor.execute(f"BEGIN; {query}", fence)
            cursor.nextset()
            has_it = cursor.fetchone() is not None
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate(error)
            raise ConnectionGone(f"the database closed the connection: {error}") from error
        if not is_away(error):
            raise
        if is_full(error):
            raise StorageFull(f"the database had no room for a transaction to begin: {error}") from error
        raise DatabaseAway(f"the database did not let a transaction begin: {error}") from error
    if not has_it and fence is not None:
        driver.rollback()
        taken_over(fence)


def check_of_sqlite(connection: Connection, fence: Fence) -> None:
    """The same for SQLite, which has its lock by then. Raises: `RunTakenOver`."""
    if connection.exec_driver_sql(HAS_THE_RUN, fence).first() is None:
        connection.exec_driver_sql("ROLLBACK")
        taken_over(fence)


def taken_over(fence: Fence) -> None:
    """Say that the run of a fence is another host's now. Raises: `RunTakenOver`."""
    raise RunTakenOver(f"the run {fence[0]} was given to another host", hint="this host's lease had run out")
