"""Runs that wait, and when others started: as little of them as the queue needs to look at, for it looks often."""

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from vmkiln.store.engine import READS
from vmkiln.store.row_reading import aware
from vmkiln.store.rows import RunMoment
from vmkiln.store.tables import reservations, runs

MOMENT = (runs.c.run_id, runs.c.template_id, runs.c.started)
SUBSCRIPTION_PART = (16, 36)  # of a template's id: what comes after `/subscriptions/`, a GUID


class QueueTable:
    """The waiting runs among all runs."""

    def __init__(self, engine: Engine) -> None:
        self._reading = engine.execution_options(**{READS: True})

    def waiting(self, *, per_subscription: int | None = None) -> list[RunMoment]:
        """Runs that wait and have no host yet, oldest first; with `per_subscription`, that many of each at most."""
        mine = sa.func.substr(runs.c.template_id, *SUBSCRIPTION_PART)
        place = sa.func.row_number().over(partition_by=mine, order_by=(runs.c.started, runs.c.run_id))
        waits = sa.and_(runs.c.state == "Queued", runs.c.run_id.not_in(sa.select(reservations.c.run_id)))
        numbered = sa.select(*MOMENT, place.label("place")).where(waits).subquery()
        query = sa.select(numbered.c.run_id, numbered.c.template_id, numbered.c.started)
        if per_subscription is not None:
            query = query.where(numbered.c.place <= per_subscription)
        return self._moments(query.order_by(numbered.c.started, numbered.c.run_id))

    def last_starts(self, *, limit: int) -> list[RunMoment]:
        """The runs that were started last, the newest first."""
        query = sa.select(*MOMENT).where(runs.c.state != "Queued")
        return self._moments(query.order_by(runs.c.started.desc()).limit(limit))

    def _moments(self, query: "sa.Select[tuple[str, str, object]]") -> list[RunMoment]:
        with self._reading.connect() as connection:
            rows = connection.execute(query).mappings()
            return [RunMoment(**{**row, "started": aware(row["started"])}) for row in rows]
