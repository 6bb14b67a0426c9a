"""The parts of each run's timeline in the database: what it did from when to when, and what that cost.

A part is written when it begins and again when it has ended, so that a run whose process died still tells how far it
came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from vmkiln.run_state import PartKind, RunState, Start
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware, maybe_aware
from vmkiln.store.rows import RunRow
from vmkiln.store.tables import runs, timeline_parts


@dataclass(frozen=True)
class PartRow:
    """A part of a run: what kind of work, on what (a step, a VM, a run output; '' for none), in which attempt.

    `cpu_seconds` and `peak_kib` are what the run's programs took meanwhile, and None where that is not known.
    """

    run_id: str
    attempt: int
    number: int
    kind: PartKind
    name: str
    started: datetime
    ended: datetime | None
    cpu_seconds: float | None = None
    peak_kib: int | None = None
    start: Start = Start.COLD

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it goes on."""
        return None if self.ended is None else max(0.0, (self.ended - self.started).total_seconds())


class TimelineTable:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def put(self, parts: Sequence[PartRow]) -> None:
        """Write parts of one attempt, in the place of what was written of it before; in one transaction."""
        if not parts:
            return
        first = parts[0]
        table = timeline_parts.c
        same = sa.and_(table.run_id == first.run_id, table.attempt == first.attempt)
        with self._connections.begin(of_run=True) as connection:
            connection.execute(timeline_parts.delete().where(same))
            connection.execute(timeline_parts.insert(), [vars(part) for part in parts])

    def of_runs(self, run_ids: Sequence[str]) -> dict[str, list[PartRow]]:
        """The parts of these runs by run, in their order; one statement."""
        table = timeline_parts.c
        query = sa.select(timeline_parts).where(table.run_id.in_(run_ids))
        found: dict[str, list[PartRow]] = {run_id: [] for run_id in run_ids}
        for row in self._connections.rows(query.order_by(table.run_id, table.attempt, table.number)):
            found[row["run_id"]].append(_part_row(row))
        return found

    def runs_before(self, run: RunRow, *, most: int) -> list[str]:
        """The ids of the last runs of the same template that succeeded before this one began, the newest first."""
        if not run.template_id:
            return self.runs_of_command_line(run.resource_group, run.template_name, before=run.started, most=most)
        return self._succeeded(runs.c.template_id == run.template_id, run.started, most)

    def runs_of_command_line(self, resource_group: str, template: str, *, before: datetime, most: int) -> list[str]:
        """The same of a template that a command built, which is known by its name and its resource group."""
        is_same = (runs.c.template_id == "", runs.c.template_name == template, runs.c.resource_group == resource_group)
        return self._succeeded(sa.and_(*is_same), before, most)

    def _succeeded(self, is_same: sa.ColumnElement[bool], before: datetime, most: int) -> list[str]:
        query = sa.select(runs.c.run_id).where(is_same, runs.c.state == RunState.SUCCEEDED, runs.c.started < before)
        rows = self._connections.rows(query.order_by(runs.c.started.desc()).limit(most))
        return [row["run_id"] for row in rows]


def _part_row(row: dict[str, Any]) -> PartRow:
    times = {"started": aware(row["started"]), "ended": maybe_aware(row["ended"])}
    return PartRow(**{**row, **times, "kind": PartKind(row["kind"]), "start": Start(row["start"])})
