"""The audit: who did what. Rows are added and read; what is too old, or too much, is deleted bit by bit.

A row is changed once at most: one that was written with the first change of its act, when the act is over.
Refused acts are counted apart from the others: whoever knocks on closed doors all night must not push out of the table
what was done behind the open ones.
"""

import contextlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.store.engine import Connections, beside
from vmkiln.store.row_reading import aware
from vmkiln.store.rows import AuditRow
from vmkiln.store.tables import audit

MOST_ROWS_AT_ONCE = 500
_BY_KIND = {False: audit.c.is_refused.is_(sa.false()), True: audit.c.is_refused.is_(sa.true())}


@dataclass(frozen=True)
class AuditQuery:
    """What to look for; what is left empty is not asked for.

    `subscription_id` '' means the acts that belong to no subscription; both ends of the time belong to it. `groups` are
    the resource groups (names in lower case) whose acts may be seen, None means all; `resources` are single resources
    (ids in lower case) whose acts may be seen too. `before` is where the page before ended: moment and number of its
    last row.
    """

    subscription_id: str
    since: datetime
    until: datetime
    groups: frozenset[str] | None = None
    resources: frozenset[str] = frozenset()
    resource_group: str = ""
    resource_id: str = ""
    provider: str = ""
    correlation_id: str = ""
    caller: str = ""
    status: str = ""
    before: tuple[datetime, int] | None = None


class BegunAct:
    """An act that is not over yet. It is recorded as `row` with the first change that is made in its block.

    Both are in one transaction, so there is no change without its act, however the process ends.
    """

    def __init__(self, row: AuditRow) -> None:
        self.row = row
        self._number = 0
        self._is_over = False

    @property
    def number(self) -> int:
        """The number of its row in the table; 0 as long as there is none."""
        return self._number

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """What is changed in the block, in this thread or task, belongs to the act."""
        token = beside.set(self)
        try:
            yield
        finally:
            self._is_over = True  # tasks that the block began may have this context for ever
            beside.reset(token)

    def write(self, connection: Connection) -> bool:
        """Record it, unless it is recorded already."""
        if self._number or self._is_over:
            return False
        key = connection.execute(audit.insert(), _columns(self.row)).inserted_primary_key
        assert key is not None  # the table numbers its rows
        self._number = int(key[0])
        return True

    def undone(self) -> None:
        """The change was undone, and its act with it."""
        self._number = 0


def add_act(connection: Connection, row: AuditRow) -> None:
    """Record an act in the transaction of what was done."""
    connection.execute(audit.insert(), _columns(row))


class AuditTable:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def now(self) -> datetime:
        """The time now (UTC)."""
        return self._connections.now()

    def add(self, rows: Sequence[AuditRow]) -> None:
        """Record acts, all of them or none, in one transaction; one with a number takes the place of that row."""
        new = [_columns(row) for row in rows if not row.number]
        with self._connections.begin() as connection:
            if new:
                connection.execute(audit.insert(), new)
            for row in rows:
                if row.number:
                    same = sa.and_(audit.c.number == row.number, audit.c.event_id == row.event_id)
                    connection.execute(audit.update().where(same).values(**_columns(row)))

    def begin(self, act: BegunAct) -> None:
        """Record an act that is about to be done, in a transaction of its own: for what is not in the database."""
        with act.going_on(), self._connections.begin():
            pass

    def find(self, query: AuditQuery, *, limit: int) -> list[AuditRow]:
        """The newest acts that a query lets through, the newest first."""
        found = sa.select(audit).where(*_conditions(query)).order_by(audit.c.moment.desc(), audit.c.number.desc())
        return [_row(row) for row in self._connections.rows(found.limit(limit))]

    def forget(self, *, older_than: datetime, most: int, most_refused: int) -> int:
        """Delete some of what is too old or too much, the oldest first; returns how many, 0 when nothing is left to do.

        One call deletes at most `MOST_ROWS_AT_ONCE` rows of each kind, so that nobody waits long for the write lock.
        """
        too_old = self._numbers(audit.c.moment < older_than)
        too_many = [
            number
            for kind, limit in ((False, most), (True, most_refused))
            for number in self._numbers(_BY_KIND[kind], audit.c.number <= self._last_beyond(limit, is_refused=kind))
        ]
        numbers = sorted({*too_old, *too_many})
        if not numbers:
            return 0
        return self._connections.change(audit.delete().where(audit.c.number.in_(numbers)))

    def _numbers(self, *conditions: sa.ColumnElement[bool]) -> list[int]:
        query = sa.select(audit.c.number).where(*conditions).order_by(audit.c.number).limit(MOST_ROWS_AT_ONCE)
        with self._connections.reading() as connection:
            return list(connection.execute(query).scalars())

    def _last_beyond(self, most: int, *, is_refused: bool) -> int:
        """The number of the newest row of a kind that `most` newer ones leave no room for; 0 when there is none."""
        ends = sa.select(sa.func.min(audit.c.number), sa.func.max(audit.c.number)).where(_BY_KIND[is_refused])
        beyond = sa.select(audit.c.number).where(_BY_KIND[is_refused]).order_by(audit.c.number.desc())
        with self._connections.reading() as connection:
            first, last = connection.execute(ends).one()
            if first is None or last - first < most:  # rows are numbered on: there cannot be more of them
                return 0
            return int(connection.execute(beyond.offset(most).limit(1)).scalar() or 0)


def _conditions(query: AuditQuery) -> list[sa.ColumnElement[bool]]:
    table = audit.c
    found = [table.subscription_id == query.subscription_id, table.moment.between(query.since, query.until)]
    for column, value in (
        (table.resource_group, query.resource_group),
        (table.key, query.resource_id),
        (table.provider, query.provider),
        (table.correlation_id, query.correlation_id),
        (sa.func.lower(table.status), query.status),
    ):
        if value:
            found.append(column == value.lower())
    if query.caller:
        named = table.caller_key == _compared(query.caller)
        found.append(sa.or_(named, sa.func.lower(table.caller_id) == query.caller.lower()))  # ids are ASCII
    if query.groups is not None:
        seen = [_is_within(resource_id) for resource_id in sorted(query.resources)]
        found.append(sa.or_(table.resource_group.in_(sorted(query.groups)), *seen))
    if query.before is not None:
        moment, number = query.before
        found.append(sa.or_(table.moment < moment, sa.and_(table.moment == moment, table.number < number)))
    return found


def _is_within(resource_id: str) -> sa.ColumnElement[bool]:
    """Whether a row is about the resource of this id (lower case), or about one within it."""
    return sa.or_(audit.c.key == resource_id, audit.c.key.startswith(f"{resource_id}/", autoescape=True))


def _compared(name: str) -> str:
    """A name as it is compared: SQLite has small letters of ASCII only, PostgreSQL those of its locale; pure."""
    return unicodedata.normalize("NFC", name).lower()


def _columns(row: AuditRow) -> dict[str, Any]:
    values = {name: value for name, value in vars(row).items() if name != "number"}
    keys = {"key": row.resource_id.lower(), "caller_key": _compared(row.caller)}
    return values | keys | {"detail": dict(row.detail)}


def _row(found: dict[str, Any]) -> AuditRow:
    del found["key"], found["caller_key"]
    return AuditRow(**{**found, "moment": aware(found["moment"])})
