"""Runs that wait, and when others started: as little of them as the queue needs to look at, for it looks often."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from vmkiln.run_state import GOING_ON, RunState
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware, run_row
from vmkiln.store.rows import RunMoment, RunRow, attempt_of
from vmkiln.store.tables import SUBSCRIPTION_OF_RUN, SUBSCRIPTION_PART, reservations, resources, runs

A_FEW = 4  # subscriptions; as long as the front of so many holds all that wait, one query is enough
MOMENT = (runs.c.run_id, runs.c.template_id, runs.c.started)
# written as the index has it, else neither database uses that
SUBSCRIPTION: sa.ColumnElement[str] = sa.literal_column(SUBSCRIPTION_OF_RUN, sa.String)
WAITING = sa.select(*MOMENT).where(
    runs.c.state == RunState.QUEUED, runs.c.run_id.not_in(sa.select(reservations.c.run_id))
)
WAITING = WAITING.order_by(runs.c.started, runs.c.run_id)
OLDEST = WAITING.limit(sa.bindparam("most"))
COUNT = sa.select(sa.func.count()).where(runs.c.state == RunState.QUEUED, sa.bindparam("subscription") == SUBSCRIPTION)
FIRST = sa.select(sa.func.min(SUBSCRIPTION)).where(runs.c.state == RunState.QUEUED)
NEXT = FIRST.where(sa.bindparam("after") < SUBSCRIPTION)
FRONT = WAITING.where(sa.bindparam("subscription") == SUBSCRIPTION).limit(sa.bindparam("most"))


HEADS = (
    sa.select(runs.c.run_id, runs.c.template_id, runs.c.facts, resources.c.etag, resources.c.location, resources.c.tags)
    .select_from(runs.outerjoin(resources, resources.c.key == runs.c.template_id))
    .where(runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
)
ALONE = sa.select(*(column for column in runs.c if column.name != "template")).where(
    runs.c.state.in_(GOING_ON), runs.c.run_id.not_in(sa.select(reservations.c.run_id))
)

STARTED = tuple(state for state in RunState if state is not RunState.QUEUED)
_newest = [
    sa.select(SUBSCRIPTION.label("subscription"), runs.c.started)
    .where(runs.c.state == state)  # each by the index, so that those that wait are not looked at
    .order_by(runs.c.started.desc())
    .limit(sa.bindparam("most"))
    .subquery()
    for state in STARTED
]
_union = sa.union_all(*(sa.select(part) for part in _newest)).subquery()
_last = sa.select(_union).order_by(_union.c.started.desc()).limit(sa.bindparam("most")).subquery()
_newest_of_each = sa.select(_last.c.subscription, sa.func.max(_last.c.started).label("started"))
LAST_STARTS = _newest_of_each.group_by(_last.c.subscription)


@dataclass(frozen=True)
class WaitingHead:
    """As much of a waiting run and its template as says where it may go, but for what the template itself asks for.

    `etag` is the template's, '' where that is gone. `faulty` are the names of hosts with which the run had faults.
    """

    run_id: str
    template_id: str
    attempt: int
    faulty: frozenset[str]
    etag: str
    location: str
    tags: Mapping[str, str]


class QueueTable:
    """The waiting runs among all runs."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def waiting(self, *, per_subscription: int | None = None) -> list[RunMoment]:
        """Runs that wait and have no host yet, oldest first; with `per_subscription`, that many of each at most.

        The front takes no longer when thousands wait behind it.
        """
        if per_subscription is None:
            return self._moments(WAITING)
        oldest = self._connections.rows(OLDEST, {"most": A_FEW * per_subscription})
        if len(oldest) < A_FEW * per_subscription:
            return _front(map(_moment, oldest), per_subscription)
        found: list[RunMoment] = []
        with self._connections.reading() as connection:
            subscription = connection.execute(FIRST).scalar()
            while subscription is not None:
                values = {"subscription": subscription, "most": per_subscription}
                found += map(_moment, connection.execute(FRONT, values).mappings())
                subscription = connection.execute(NEXT, {"after": subscription}).scalar()
        return sorted(found, key=lambda item: (item.started, item.run_id))

    def heads(self, run_ids: Sequence[str]) -> dict[str, WaitingHead]:
        """These runs, with as much of their templates; one statement."""
        rows = self._connections.rows(HEADS, {"run_ids": list(run_ids)})
        return {row["run_id"]: _head(row) for row in rows}

    def going_on_alone(self) -> list[RunRow]:
        """The runs that go on and no host keeps room for, those of `vmkiln build`; without their templates."""
        return [run_row({"template": {}, **row}) for row in self._connections.rows(ALONE, {})]

    def count_of(self, subscription_id: str) -> int:
        """How many runs of a subscription wait, those with room kept for them included."""
        with self._connections.reading() as connection:
            return int(connection.execute(COUNT, {"subscription": subscription_id.lower()}).scalar_one())

    def last_starts(self, *, limit: int) -> dict[str, datetime]:
        """When each subscription's last run was started, among so many runs that were started last."""
        rows = self._connections.rows(LAST_STARTS, {"most": limit})
        return {row["subscription"]: aware(row["started"]) for row in rows}

    def _moments(self, query: "sa.Select[tuple[str, str, datetime]]") -> list[RunMoment]:
        return [_moment(row) for row in self._connections.rows(query)]


def _moment(row: Mapping[str, Any] | sa.RowMapping) -> RunMoment:
    return RunMoment(run_id=row["run_id"], template_id=row["template_id"], started=aware(row["started"]))


def _head(row: Mapping[str, Any]) -> WaitingHead:
    return WaitingHead(
        run_id=row["run_id"],
        template_id=row["template_id"],
        attempt=attempt_of(row["facts"]),
        faulty=frozenset(row["facts"].get("host_faults", {})),
        etag=row["etag"] or "",
        location=row["location"] or "",
        tags=row["tags"] or {},
    )


def _front(waiting: Iterable[RunMoment], per_subscription: int) -> list[RunMoment]:
    """That many of each subscription at most; pure."""
    counted: Counter[str] = Counter()
    found = []
    for item in waiting:
        subscription = item.template_id[slice(*SUBSCRIPTION_PART)]
        counted[subscription] += 1
        if counted[subscription] <= per_subscription:
            found.append(item)
    return found
