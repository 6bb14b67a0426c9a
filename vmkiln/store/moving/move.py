"""Moving what is in an SQLite database to PostgreSQL: all rows in one transaction, each read back and compared.

The old database is held while that lasts, so that nothing is written that would be missing in the new one. It is kept
as it is, but for a mark that keeps everybody from it (`moved_mark`). The new one is committed before the old one is
marked: a process that dies in between is called again, finds every row there, and only sets the mark.

*Leaves behind:* the rows in the new database, the mark in the old one. *Undone by:* `reopen`, and dropping the new
database. *Safe to repeat:* yes; a database that has anything else in it is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.errors import InputError, VmkilnError
from vmkiln.store.engine import Connections, storable
from vmkiln.store.moving import moved_mark
from vmkiln.store.row_reading import aware
from vmkiln.store.schema import HEAD, VERSION_TABLE, revision_of
from vmkiln.store.tables import metadata

ROWS_AT_ONCE = 500
MOST_TOLD = 10  # rows that do not fit, in an error
LARGEST = {sa.Integer: 2**31 - 1, sa.BigInteger: 2**63 - 1}  # of PostgreSQL's; SQLite's numbers have any size

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Moved:
    """What was moved: rows by table, texts that PostgreSQL cannot keep as they were, and whether all was there."""

    rows: Mapping[str, int]
    changed_texts: int
    was_there: bool = False

    @property
    def count(self) -> int:
        """All rows."""
        return sum(self.rows.values())


def move(source: Connections, target: Connections, *, address: str) -> Moved:
    """Move everything, and mark the source as moved to `address`. Both have the schema of today.

    Raises: `InputError` when the target has anything else in it or a row does not fit there, and nothing was moved;
    `DatabaseAway`.
    """
    with source.begin() as old:
        found = _looked_through(old)
        with target.begin() as new:
            if _is_empty(new):
                for table in metadata.sorted_tables:
                    _copy(table, old, new)
                    _go_on_counting(table, new)
            else:
                _check_same(old, new, found.rows)
                found = Moved(found.rows, found.changed_texts, was_there=True)
        moved_mark.mark(old, address, revision_table=VERSION_TABLE)
    return found


def would_move(source: Connections, target: Connections) -> Moved:
    """What `move` would do, without changing either. Raises: as `move`; also when a database has another schema."""
    with source.reading() as old, target.reading() as new:
        if (revision := revision_of(old)) != HEAD:
            raise InputError(f"the old database has the schema {revision}", hint="start this release once, and end it")
        found = _looked_through(old)
        there = revision_of(new)
        if there not in {"", HEAD}:
            raise InputError(f"the new database has the schema {there} already", hint="name an empty database")
        if there and not _is_empty(new):
            _check_same(old, new, found.rows)
            return Moved(found.rows, found.changed_texts, was_there=True)
        return found


def reopen(source: Connections) -> str:
    """Take the mark off a database that was moved; returns where to. Raises: `InputError` when it was not."""
    with source.begin() as connection:
        if revision_of(connection) != moved_mark.MOVED:
            raise InputError("this database was not moved")
        address = moved_mark.moved_to(connection)
        moved_mark.unmark(connection, revision_table=VERSION_TABLE, revision=HEAD)
    return address


def _looked_through(old: Connection) -> Moved:
    """Count what there is. Raises: `InputError` with what does not fit, up to ten."""
    rows: dict[str, int] = {}
    changed, misfits = 0, []
    for table in metadata.sorted_tables:
        rows[table.name] = 0
        for chunk in _chunks(table, old):
            rows[table.name] += len(chunk)
            for row in chunk:
                changed += sum(storable(value) != value for value in row)
                misfits += [
                    _named(table, row, column) for column, value in _cells(table, row) if not _fits(column, value)
                ]
    if misfits:
        more = f" and {len(misfits) - MOST_TOLD} more" if len(misfits) > MOST_TOLD else ""
        raise InputError(
            f"PostgreSQL has no room for {', '.join(misfits[:MOST_TOLD])}{more}", hint="shorten or delete it"
        )
    return Moved(rows, changed)


def _copy(table: sa.Table, old: Connection, new: Connection) -> None:
    """Insert every row of a table, and compare it with what is there then. Raises: `VmkilnError`."""
    names = [str(column.key) for column in table.columns]
    for chunk in map(_plain, _chunks(table, old)):
        new.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in chunk])
        _compare(table, chunk, new)


def _compare(table: sa.Table, chunk: Sequence[Row], new: Connection) -> None:
    there = {_key(table, row): row for row in _same_rows(table, chunk, new)}
    for row in chunk:
        if there.get(_key(table, row)) != row:
            raise VmkilnError(f"the new database has not what it was given: {_named(table, row)}")


def _check_same(old: Connection, new: Connection, counts: Mapping[str, int]) -> None:
    """Raises: `InputError` when the new database has other rows than the old one."""
    refused = InputError("the new database has rows of its own already", hint="name an empty database")
    for table in metadata.sorted_tables:
        if new.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() != counts[table.name]:
            raise refused
    for table in metadata.sorted_tables:
        for chunk in map(_plain, _chunks(table, old)):
            if {*map(repr, chunk)} != {*map(repr, _same_rows(table, chunk, new))}:
                raise refused


def _same_rows(table: sa.Table, chunk: Sequence[Row], new: Connection) -> list[Row]:
    """The rows of the new database that have the keys of a chunk."""
    keys = [_key(table, row) for row in chunk]
    query = sa.select(table).where(sa.tuple_(*table.primary_key.columns).in_(keys))
    return [tuple(map(_in_utc, row)) for row in new.execute(query)]


def _go_on_counting(table: sa.Table, new: Connection) -> None:
    """What the database numbers itself goes on behind the highest number."""
    column = table.autoincrement_column
    if column is None or (highest := new.execute(sa.select(sa.func.max(column))).scalar()) is None:
        return
    sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
    new.execute(sa.select(sa.func.setval(sequence, highest)))


def _is_empty(new: Connection) -> bool:
    return all(new.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None
               for table in metadata.sorted_tables)  # fmt: skip


def _chunks(table: sa.Table, connection: Connection) -> Iterator[Sequence[Row]]:
    rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(sa.select(table))
    for chunk in rows.partitions():
        yield [tuple(row) for row in chunk]


def _cells(table: sa.Table, row: Row) -> Iterator[tuple["sa.Column[Any]", Any]]:
    return zip(table.columns, row, strict=True)


def _key(table: sa.Table, row: Row) -> Row:
    return tuple(value for column, value in _cells(table, row) if column.primary_key)


def _plain(chunk: Sequence[Row]) -> list[Row]:
    """Rows as both databases tell them: times in UTC and with their zone, texts that both can keep."""
    return [tuple(_in_utc(storable(value)) for value in row) for row in chunk]


def _in_utc(value: Any) -> Any:
    return aware(value).astimezone(UTC) if isinstance(value, datetime) else value


def _fits(column: "sa.Column[Any]", value: Any) -> bool:
    match value:
        case bool():
            return True
        case str() if isinstance(column.type, sa.String) and column.type.length:
            return len(value) <= column.type.length
        case int():
            kind = sa.BigInteger if isinstance(column.type, sa.BigInteger) else sa.Integer
            return abs(value) <= LARGEST[kind]
    return True


def _named(table: sa.Table, row: Row, column: "sa.Column[Any] | None" = None) -> str:
    name = table.name.removeprefix("vmkiln_").replace("_", " ")
    key = " ".join(str(part)[:80] for part in _key(table, row))
    return f"`{column.name}` of the {name} {key}" if column is not None else f"the {name} {key}"
