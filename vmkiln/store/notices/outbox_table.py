"""The outbox: each notice once for each receiver, from the moment it is known to when it was sent or given up.

What a notice tells is on record before: a run that ended. The mark says up to when such runs were looked at. It moves
in the transaction that puts their notices here, so a process that is killed leaves neither out. An id belongs to what
is told, so what is looked at twice is here once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware, run_row
from vmkiln.store.rows import RunRow
from vmkiln.store.run_table import WITHOUT_TEMPLATE
from vmkiln.store.tables import notice_marks, notices, runs

MOST_WAITING = 10_000
KEPT = timedelta(days=7)  # of what was sent or given up; longer than a mark looks back
RUNS = "runs"


class NoticeState(StrEnum):
    """Where a notice is."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class NoticeRow:
    """A notice for one receiver: the CloudEvent, when it was put here, how often it was tried."""

    event_id: str
    receiver: str
    event: Mapping[str, Any]
    created: datetime
    tries: int = 0


class OutboxTable:
    """Queries and changes."""

    def __init__(self, connections: Connections, *, most_waiting: int = MOST_WAITING) -> None:
        self._connections = connections
        self._most_waiting = most_waiting

    def mark(self, *, ahead: timedelta = timedelta(0)) -> datetime:
        """Up to when ended runs were looked at; the first time that is now, so that nothing old is told.

        Whoever looks further back than the mark has it set `ahead` by as much that first time.
        """
        query = sa.select(notice_marks.c.until).where(notice_marks.c.name == RUNS)
        with self._connections.reading() as connection:
            if (until := connection.execute(query).scalar()) is not None:
                return aware(until)
        with self._connections.begin() as connection:
            until = connection.execute(query).scalar()  # another service may have been faster
            if until is None:
                until = self._connections.now() + ahead
                connection.execute(notice_marks.insert().values(name=RUNS, until=until))
            return aware(until)

    def ended_runs(self, since: datetime, *, after: tuple[datetime, str] | None, limit: int) -> list[RunRow]:
        """Runs that ended since then, the first one first, behind the one of this end and id; without templates."""
        query = sa.select(*WITHOUT_TEMPLATE).where(runs.c.ended >= since)
        if after is not None:
            ended, run_id = after
            query = query.where(
                sa.or_(runs.c.ended > ended, sa.and_(runs.c.ended == ended, runs.c.run_id > run_id)),
            )
        found = self._connections.rows(query.order_by(runs.c.ended, runs.c.run_id).limit(limit))
        return [run_row({**row, "template": {}}) for row in found]

    def known(self, event_ids: Collection[str]) -> set[str]:
        """Those of these ids that are here, for whichever receiver."""
        query = sa.select(notices.c.event_id).where(notices.c.event_id.in_(sorted(event_ids)))
        with self._connections.reading() as connection:
            return set(connection.execute(query).scalars())

    def add(self, events: Sequence[Mapping[str, Any]], receivers: Sequence[str], *, until: datetime) -> int:
        """Put events here for each receiver, and move the mark; gives how many notices had to give way to them.

        What waits longest gives way when more than `MOST_WAITING` wait.
        """
        now = self._connections.now()
        with self._connections.begin() as connection:
            wanted = {str(event["id"]): event for event in events}
            here = sa.select(notices.c.event_id).where(notices.c.event_id.in_(sorted(wanted)))
            known = set(connection.execute(here).scalars())  # another service may have been faster
            rows = [
                {
                    "event_id": event_id,
                    "receiver": receiver,
                    "event": dict(event),
                    "state": NoticeState.WAITING,
                    "created": now,
                    "due": now,
                    "tries": 0,
                    "problem": "",
                }
                for event_id, event in wanted.items()
                if event_id not in known
                for receiver in receivers
            ]
            if rows:
                connection.execute(notices.insert(), rows)
            moved = notice_marks.update().where(notice_marks.c.name == RUNS, notice_marks.c.until < until)
            connection.execute(moved.values(until=until))
            return self._make_room(connection) if rows else 0

    def _make_room(self, connection: sa.Connection) -> int:
        waits = notices.c.state == NoticeState.WAITING
        order = (notices.c.created.desc(), notices.c.event_id, notices.c.receiver)
        beyond = sa.select(notices.c.event_id, notices.c.receiver).where(waits).order_by(*order)
        rows = connection.execute(beyond.offset(self._most_waiting).limit(self._most_waiting)).all()
        for event_id, receiver in rows:
            same = sa.and_(notices.c.event_id == event_id, notices.c.receiver == receiver)
            gone = {"state": NoticeState.GIVEN_UP, "problem": f"more than {self._most_waiting} notices wait"}
            connection.execute(notices.update().where(same).values(**gone))
        return len(rows)

    def due(self, receiver: str, *, limit: int) -> list[NoticeRow]:
        """Notices for a receiver that are to be sent now, the one that is due longest first."""
        table = notices.c
        ripe = sa.and_(
            table.state == NoticeState.WAITING, table.receiver == receiver, table.due <= self._connections.now()
        )
        columns = (table.event_id, table.receiver, table.event, table.created, table.tries)
        query = sa.select(*columns).where(ripe).order_by(table.due, table.created, table.event_id).limit(limit)
        return [NoticeRow(**{**row, "created": aware(row["created"])}) for row in self._connections.rows(query)]

    def claim(self, row: NoticeRow, *, seconds: float) -> bool:
        """Take a notice to send it; false when another process did. It is due again if nobody says how it went."""
        due = self._connections.now() + timedelta(seconds=seconds)
        return self._change(row, tries_before=row.tries, due=due, tries=row.tries + 1)

    def sent(self, row: NoticeRow) -> None:
        """The receiver has it."""
        self._change(row, state=NoticeState.SENT, problem="")

    def put_off(self, row: NoticeRow, problem: str, *, seconds: float) -> None:
        """It could not be sent, and is tried again after a while."""
        self._change(row, due=self._connections.now() + timedelta(seconds=seconds), problem=problem)

    def give_up(self, row: NoticeRow, problem: str) -> None:
        """It is tried no more."""
        self._change(row, state=NoticeState.GIVEN_UP, problem=problem)

    def _change(self, row: NoticeRow, *, tries_before: int | None = None, **values: Any) -> bool:
        same = sa.and_(notices.c.event_id == row.event_id, notices.c.receiver == row.receiver)
        same = sa.and_(same, notices.c.state == NoticeState.WAITING)
        if tries_before is not None:
            same = sa.and_(same, notices.c.tries == tries_before)
        return self._connections.change(notices.update().where(same).values(**values)) == 1

    def counts(self) -> dict[tuple[str, NoticeState], int]:
        """How many notices of each receiver are in each state."""
        table = notices.c
        query = sa.select(table.receiver, table.state, sa.func.count()).group_by(table.receiver, table.state)
        with self._connections.reading() as connection:
            return {(receiver, NoticeState(state)): count for receiver, state, count in connection.execute(query)}

    def failing(self, receivers: Collection[str]) -> list[tuple[str, int, str]]:
        """Receivers that did not take what waits for them: how many notices, and why the one tried most was not."""
        table = notices.c
        tried = sa.and_(table.state == NoticeState.WAITING, table.problem != "", table.receiver.in_(sorted(receivers)))
        counts = sa.select(table.receiver, sa.func.count()).where(tried).group_by(table.receiver)
        most = sa.select(table.problem).where(tried).order_by(table.tries.desc(), table.created).limit(1)
        with self._connections.reading() as connection:
            return [
                (receiver, count, connection.execute(most.where(table.receiver == receiver)).scalar_one())
                for receiver, count in connection.execute(counts.order_by(table.receiver)).all()
            ]

    def forget(self) -> int:
        """Give up what has waited for longer than is kept, and delete what is older; gives how many were given up."""
        then = self._connections.now() - KEPT
        table = notices.c
        with self._connections.begin() as connection:
            old = notices.delete().where(table.created < then - KEPT)
            connection.execute(old)
            connection.execute(notices.delete().where(table.created < then, table.state != NoticeState.WAITING))
            late = notices.update().where(table.created < then, table.state == NoticeState.WAITING)
            gone = connection.execute(late.values(state=NoticeState.GIVEN_UP, problem="it has waited for too long"))
            return int(gone.rowcount)
