"""The database's schema: made when it is missing, brought up to date when it is older, refused when it is newer.

A new database gets its tables at once and the newest revision's name; an older one is taken through the revisions in
`migrations/`. A test holds that both end in the same tables.
Source: Alembic's cookbook, "Building an Up to Date Database from Scratch".
"""

import contextlib
import functools
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.errors import VmkilnError
from vmkiln.store.engine import Connections
from vmkiln.store.moving import moved_mark
from vmkiln.store.tables import duties, metadata, runs

HEAD = "0025"
REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
    "0020",
    "0021",
    "0023",
    "0024",
    "0025",
)
SEAL_SECRETS = "seal secrets"  # a duty that an upgrade leaves
VERSION_TABLE = "vmkiln_revision"
FIRST_VERSION_TABLE = "vmkiln_schema_version"  # before there were revisions: a number, 1 or 2
_revision = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
_first_version = sa.table(FIRST_VERSION_TABLE, sa.column("version", sa.Integer))


def prepare(connections: Connections, name: str) -> None:
    """Make or upgrade the tables; `name` is how the database is called in an error.

    Raises: `VmkilnError` when a newer vmkiln wrote them, `DatabaseMoved`.
    """
    with connections.reading() as connection:
        if revision_of(connection) == HEAD:
            return
    with connections.begin() as connection:
        current = revision_of(connection)  # another process may have been faster
        if current == HEAD:
            return
        if current == moved_mark.MOVED:
            raise moved_mark.DatabaseMoved(
                f"{name} was moved to {moved_mark.moved_to(connection)}", hint=moved_mark.HINT
            )
        if current and current not in REVISIONS:
            raise VmkilnError(f"{name} was written by a newer vmkiln (schema {current})", hint="upgrade vmkiln")
        if current:
            _upgrade(connection)
        else:
            for statement in _creation(connection.dialect.name):
                connection.exec_driver_sql(statement)
            _stamp(connection, HEAD)


@functools.lru_cache(maxsize=2)  # SQLite and PostgreSQL
def _creation(dialect_name: str) -> tuple[str, ...]:
    """The statements that make all tables and indexes; to write them down takes longer than to carry them out."""
    dialect = sa.create_mock_engine(f"{dialect_name}://", lambda *_: None).dialect
    made: list[sa.schema.ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        made.append(sa.schema.CreateTable(table, if_not_exists=True))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        made += [sa.schema.CreateIndex(index, if_not_exists=True) for index in indexes]
    return tuple(str(one.compile(dialect=dialect)) for one in made)


def check(connections: Connections) -> None:
    """Read one row, which a database that is well has. Raises: `VmkilnError` when it cannot be read."""
    with connections.reading() as connection:
        if connection.execute(sa.select(_revision.c.version_num)).first() is None:
            raise VmkilnError("the database has no revision any more")


def confirm_undone(connections: Connections) -> None:
    """Commit something that changes nothing.

    A commit whose fsync failed is undone, but its pages are in the write-ahead log until the next commit writes over
    them; a process that dies before that would find them there, and take them for committed.
    Source: sqlite.org, "WAL-mode File Format" (a frame counts while the checksums up to it hold).
    """
    with connections.begin() as connection:
        # to itself: a newer release may have brought it further meanwhile
        connection.execute(sa.update(_revision).values(version_num=_revision.c.version_num))


def revision_of(connection: Connection) -> str:
    """The revision of a database; '' of an empty one."""
    tables = sa.inspect(connection)
    if tables.has_table(VERSION_TABLE):
        return str(connection.execute(sa.select(_revision.c.version_num)).scalar() or "")
    if tables.has_table(FIRST_VERSION_TABLE):
        return f"{connection.execute(sa.select(_first_version.c.version)).scalar() or 1:04}"
    return ""


def _stamp(connection: Connection, revision: str) -> None:
    table = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    table.create(connection, checkfirst=True)
    connection.execute(table.insert().values(version_num=revision))


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 (a quarter of a second, and nearly never needed)
    from alembic.config import Config  # noqa: PLC0415

    if not sa.inspect(connection).has_table(VERSION_TABLE):
        _stamp(connection, revision_of(connection))
        connection.execute(sa.text(f"DROP TABLE {FIRST_VERSION_TABLE}"))
    config = Config()
    config.set_main_option("script_location", "vmkiln.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


class DutyTable:
    """What an upgrade left to be done, by a process that has what the upgrade itself had not, such as keys.

    Also how old contents are got rid of: a row that was changed or deleted stays in free pages and in the write-ahead
    log until they are written over.
    Source: sqlite.org, "VACUUM", "PRAGMA secure_delete", "PRAGMA wal_checkpoint"; PostgreSQL, "VACUUM".
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def is_open(self, name: str) -> bool:
        """Whether this is still to be done."""
        with self._connections.reading() as connection:
            return connection.execute(sa.select(duties.c.name).where(duties.c.name == name)).first() is not None

    def done(self, name: str) -> None:
        """It is done."""
        with self._connections.begin() as connection:
            connection.execute(duties.delete().where(duties.c.name == name))

    def templates_of_runs(self, template_id: str) -> dict[str, Any]:
        """What is recorded of a template with its runs, by their ids."""
        query = sa.select(runs.c.run_id, runs.c.template).where(runs.c.template_id == template_id.lower())
        with self._connections.reading() as connection:
            return {str(run_id): template for run_id, template in connection.execute(query)}

    def change_run(self, run_id: str, template: Any) -> None:
        """Record another template with a run."""
        with self._connections.begin() as connection:
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(template=template))

    def scrub(self) -> bool:
        """Write the whole database anew, so that no old content is left in it; false when others use it just now."""
        writer = self._connections.writing
        if writer.dialect.name == "postgresql":
            with self._connections.reading() as connection:  # which begins no transaction, as one that writes does
                for table in metadata.sorted_tables:
                    connection.exec_driver_sql(f"VACUUM FULL {table.name}")
            return True
        return _scrubbed(Path(str(writer.url.database)))


def _scrubbed(path: Path) -> bool:
    """The same of a file of SQLite, which may be missing."""
    if not path.exists():
        return True
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        try:
            connection.execute("PRAGMA secure_delete=ON").close()
            connection.execute("VACUUM").close()
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False
    return not is_busy


def scrub_file(path: Path) -> bool:
    """Write another file of SQLite anew, such as the durable engine's; false when others use it just now."""
    return _scrubbed(path)
