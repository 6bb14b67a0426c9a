"""Runs that wait, and when others started: as little of them as the queue needs to look at, for it looks often."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from vmkiln.run_state import RunState
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware
from vmkiln.store.rows import RunMoment
from vmkiln.store.tables import SUBSCRIPTION_OF_RUN, SUBSCRIPTION_PART, reservations, runs

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
LAST_STARTS = sa.select(_last.c.subscription, sa.func.max(_last.c.started)).group_by(_last.c.subscription)


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
        with self._connections.reading() as connection:
            oldest = connection.execute(OLDEST, {"most": A_FEW * per_subscription}).mappings().all()
            if len(oldest) < A_FEW * per_subscription:
                return _front(map(_moment, oldest), per_subscription)
            found: list[RunMoment] = []
            subscription = connection.execute(FIRST).scalar()
            while subscription is not None:
                values = {"subscription": subscription, "most": per_subscription}
                found += map(_moment, connection.execute(FRONT, values).mappings())
                subscription = connection.execute(NEXT, {"after": subscription}).scalar()
        return sorted(found, key=lambda item: (item.started, item.run_id))

    def count_of(self, subscription_id: str) -> int:
        """How many runs of a subscription wait, those with room kept for them included."""
        with self._connections.reading() as connection:
            return int(connection.execute(COUNT, {"subscription": subscription_id.lower()}).scalar_one())

    def last_starts(self, *, limit: int) -> dict[str, datetime]:
        """When each subscription's last run was started, among so many runs that were started last."""
        with self._connections.reading() as connection:
            return {
                subscription: aware(started)
                for subscription, started in connection.execute(LAST_STARTS, {"most": limit})
            }

    def _moments(self, query: "sa.Select[tuple[str, str, datetime]]") -> list[RunMoment]:
        with self._connections.reading() as connection:
            return [_moment(row) for row in connection.execute(query).mappings()]


def _moment(row: sa.RowMapping) -> RunMoment:
    return RunMoment(run_id=row["run_id"], template_id=row["template_id"], started=aware(row["started"]))


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
