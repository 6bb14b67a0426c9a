"""The mark of a database that was moved: nothing opens it any more, and nothing that has it open writes to it.

Its revision is one that no release knows, so that older ones refuse it too, and each table has triggers that refuse
every change, for processes that opened it before.

*Leaves behind:* the triggers and the table `vmkiln_moved`, in SQLite only. *Undone by:* `unmark`.
*Safe to repeat:* yes.
Source: sqlite.org, "CREATE TRIGGER", "The RAISE() function", "Result Codes" (SQLITE_CONSTRAINT_TRIGGER).
"""

import sqlite3
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.errors import StorageFailed

MOVED = "moved"  # in place of a revision
TEXT = "this database was moved"
_mark = sa.Table("vmkiln_moved", sa.MetaData(), sa.Column("address", sa.Text, nullable=False))
_CHANGES = ("INSERT", "UPDATE", "DELETE")
HINT = "set VMKILN_DATABASE_URL to where it is now; `vmkiln database move --undo` takes this one back"


class DatabaseMoved(StorageFailed):
    """What was in this database is in another one now, and nothing is written to this one any more."""

    code = "DatabaseMoved"
    exit_code = 2
    outside = "The service's database cannot be used now"


def mark(connection: Connection, address: str, *, revision_table: str) -> None:
    """Mark an SQLite database as moved to `address`, which is told to whoever opens it; inside a transaction."""
    _mark.create(connection, checkfirst=True)
    connection.execute(_mark.delete())
    connection.execute(_mark.insert().values(address=address))
    revision = sa.table(revision_table, sa.column("version_num"))
    connection.execute(sa.update(revision).values(version_num=MOVED))
    for table, change, name in _triggers(connection):
        refusal = f"BEGIN SELECT RAISE(ABORT, '{TEXT}'); END"
        connection.exec_driver_sql(f'CREATE TRIGGER "{name}" BEFORE {change} ON "{table}" {refusal}')


def unmark(connection: Connection, *, revision_table: str, revision: str) -> None:
    """Take the mark off again, and give the database its revision back; inside a transaction."""
    for _table, _change, name in _triggers(connection):
        connection.exec_driver_sql(f'DROP TRIGGER IF EXISTS "{name}"')
    _mark.drop(connection, checkfirst=True)
    table = sa.table(revision_table, sa.column("version_num"))
    connection.execute(sa.update(table).values(version_num=revision))


def moved_to(connection: Connection) -> str:
    """Where a marked database was moved to."""
    return str(connection.execute(sa.select(_mark.c.address)).scalar() or "")


def moved(connection: Connection, name: str) -> DatabaseMoved:
    """What whoever opens a marked database is told; `name` is how it is called."""
    return DatabaseMoved(f"{name} was moved to {moved_to(connection)}", hint=HINT)


def is_refused(error: BaseException) -> bool:
    """Whether an error is the refusal of a change to a database that was moved; pure."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and TEXT in str(error)


def _triggers(connection: Connection) -> Iterator[tuple[str, str, str]]:
    """Of each table and each kind of change: the table, the change, the name of its trigger."""
    for table in sa.inspect(connection).get_table_names():
        if table != _mark.name:
            for change in _CHANGES:
                yield table, change, f"vmkiln_moved_{table}_{change}".lower()
