"""Runs and their phases in the database.

The state of a run moves only from an expected state to another, so two processes cannot both end it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.errors import InputError
from vmkiln.run_state import TERMINAL_STATES, RunState
from vmkiln.store.audit_table import add_act
from vmkiln.store.engine import Connections
from vmkiln.store.host_table import NEW_FACTS, RUN_LOST, end_lost
from vmkiln.store.row_reading import aware, maybe_aware, run_row
from vmkiln.store.rows import AuditRow, PhaseRow, RunRow, asked_for_at, attempt_of
from vmkiln.store.run_facts import LeaseFact, RunFacts
from vmkiln.store.tables import metadata, phases, reservations, runs

MOST_IDS = 10_000  # in one statement
# the tables whose rows are of a run, and go with it
OF_RUNS = tuple(
    table
    for table in metadata.tables.values()
    if any(key.target_fullname == f"{runs.name}.run_id" for key in table.foreign_keys)
)
# asked again and again, so built once: to build a statement costs as much as to execute it (SQLAlchemy, "SQL
# Compilation Caching")
_run: sa.BindParameter[str] = sa.bindparam("of_run")
RUNS_BY_ID = sa.select(runs).where(runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
WITHOUT_TEMPLATE = tuple(column for column in runs.c if column.name != "template")
HEADS_BY_ID = sa.select(*WITHOUT_TEMPLATE).where(runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
PHASES = (
    sa.select(phases)
    .where(phases.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
    .order_by(phases.c.run_id, phases.c.number)
)
_place = sa.func.row_number().over(partition_by=runs.c.template_id, order_by=runs.c.started.desc()).label("place")
_ranked = (
    sa.select(runs.c.template_id, runs.c.run_id, runs.c.ended, _place)
    .where(runs.c.template_id.in_(sa.bindparam("template_ids", expanding=True)), runs.c.state == RunState.SUCCEEDED)
    .subquery()
)
LAST_SUCCESSES = sa.select(_ranked.c.template_id, _ranked.c.run_id, _ranked.c.ended).where(
    _ranked.c.place <= sa.bindparam("most")
)
FACTS = sa.select(runs.c.facts).where(runs.c.run_id == _run)
GIVEN = sa.select(*WITHOUT_TEMPLATE).where(
    runs.c.run_id == _run,
    runs.c.ended.is_(None),
    sa.exists().where(
        reservations.c.run_id == runs.c.run_id,
        reservations.c.attempt == sa.bindparam("attempt"),
        reservations.c.incarnation == sa.bindparam("incarnation"),
    ),
)
PHASE_ENDED = phases.update().where(phases.c.run_id == _run, phases.c.ended.is_(None)).values(ended=sa.bindparam("now"))
_count = sa.select(sa.func.count()).select_from(phases).where(phases.c.run_id == _run).scalar_subquery()
PHASE_BEGUN = phases.insert().values(
    run_id=_run, number=_count, name=sa.bindparam("phase"), started=sa.bindparam("now")
)
RUN_IN_PHASE = runs.update().where(runs.c.run_id == _run).values(sub_state=sa.bindparam("phase"))


def rows_of_runs(connections: Connections, query: sa.Select[Any], run_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a query that asks for these runs (`run_ids`); few statements, however many runs."""
    for first in range(0, len(run_ids), MOST_IDS):
        yield from connections.rows(query, {"run_ids": list(run_ids[first : first + MOST_IDS])})


class RunTable:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, row: RunRow) -> None:
        """Record a run that was accepted."""
        with self._connections.begin() as connection:
            connection.execute(runs.insert().values(**vars(row)))

    def add_many(self, rows: Sequence[RunRow]) -> None:
        """Record many runs in one transaction."""
        with self._connections.begin() as connection:
            connection.execute(runs.insert(), [vars(row) for row in rows])

    def find(self, run_id: str) -> RunRow:
        """The run whose id is, or begins with, `run_id`. Raises: `InputError` when there is none or more than one."""
        query = sa.select(runs).where(runs.c.run_id.startswith(run_id, autoescape=True)).limit(2)
        rows = self._connections.rows(query)
        if len(rows) != 1 or not run_id:
            problem = "no run has" if not rows else "more than one run has"
            raise InputError(f"{problem} an id that begins with `{run_id}`", hint="`vmkiln run list` shows them")
        return run_row(rows[0])

    def queue(self, row: RunRow, *, act: AuditRow | None = None) -> bool:
        """Record a run that waits; false (and nothing changed) when one of its template waits or goes on.

        `act` is what the audit says of a run that no request asked for.
        """
        going_on = sa.and_(runs.c.template_id == row.template_id, runs.c.ended.is_(None))
        with self._connections.begin() as connection:
            if connection.execute(sa.select(runs.c.run_id).where(going_on).limit(1)).first() is not None:
                return False
            connection.execute(runs.insert().values(**vars(row)))
            if act is not None:
                add_act(connection, act)
        return True

    def start(self, row: RunRow, *, resumes: bool = False) -> bool:
        """Record that a run starts: one that was queued, or a new one; false when it was cancelled while it waited.

        With `resumes` a run of `vmkiln build` goes on that was lost; false when it does already.
        """
        with self._connections.begin(of_run=True) as connection:
            same = runs.c.run_id == row.run_id
            columns = (runs.c.state, runs.c.facts, runs.c.started, runs.c.ended, runs.c.error_code, runs.c.template_id)
            known = connection.execute(sa.select(*columns).where(same)).first()
            if known is None:
                connection.execute(runs.insert().values(**vars(row)))
                return True
            is_lost = known.error_code == RUN_LOST and known.state == RunState.FAILED and not known.template_id
            if not (is_lost if resumes else known.state == RunState.QUEUED):
                return False
            kept = {"run_id", "template_id"} | ({"staging_group"} if not row.staging_group else set())
            values = {name: value for name, value in vars(row).items() if name not in kept}
            values["facts"] = {"queued": aware(known.started).isoformat(), **known.facts, **row.facts}
            if known.ended is not None:
                values["facts"]["ended_before"] = aware(known.ended).isoformat()
            connection.execute(runs.update().where(same).values(**values))
            return True

    def last(self, template_ids: Sequence[str]) -> dict[str, RunRow]:
        """The newest run of each of these image templates (ids in lower case) that ever ran."""
        newest = sa.select(runs.c.template_id, sa.func.max(runs.c.started).label("started"))
        newest = newest.where(runs.c.template_id.in_(template_ids)).group_by(runs.c.template_id)
        last = newest.subquery()
        same = sa.and_(runs.c.template_id == last.c.template_id, runs.c.started == last.c.started)
        return {row["template_id"]: run_row(row) for row in self._connections.rows(sa.select(runs).join(last, same))}

    def by_id(self, run_ids: Sequence[str], *, has_template: bool = True) -> dict[str, RunRow]:
        """The runs with exactly these ids, or all of them but their templates; few statements, however many ids."""
        rows = rows_of_runs(self._connections, RUNS_BY_ID if has_template else HEADS_BY_ID, run_ids)
        return {row["run_id"]: run_row({"template": {}, **row}) for row in rows}

    def given(self, run_id: str, *, incarnation: str, attempt: int) -> RunRow | None:
        """A run without its template, as long as a host has it for this attempt and it has not ended."""
        rows = self._connections.rows(GIVEN, {"of_run": run_id, "incarnation": incarnation, "attempt": attempt})
        return run_row({"template": {}, **rows[0]}) if rows else None

    def of_template(self, template_id: str, *, limit: int | None = None) -> list[RunRow]:
        """The runs of an image template, the newest first."""
        query = sa.select(runs).where(runs.c.template_id == template_id.lower())
        return [run_row(row) for row in self._connections.rows(query.order_by(runs.c.started.desc()).limit(limit))]

    def successes(self, template_ids: Sequence[str], *, limit: int) -> dict[str, dict[str, datetime | None]]:
        """When the last runs ended that succeeded, by their ids, `limit` at most of each of these image templates.

        Ids of templates are in lower case. One statement, unless there are thousands.
        """
        found: dict[str, dict[str, datetime | None]] = {template_id: {} for template_id in template_ids}
        for first in range(0, len(template_ids), MOST_IDS):
            values = {"template_ids": list(template_ids[first : first + MOST_IDS]), "most": limit}
            for row in self._connections.rows(LAST_SUCCESSES, values):
                found[row["template_id"]][row["run_id"]] = maybe_aware(row["ended"])
        return found

    def forget_template(self, template_id: str) -> None:
        """Part a deleted template (id in lower case) from its runs, which stay on record."""
        self._connections.change(runs.update().where(runs.c.template_id == template_id).values(template_id=""))

    def move(
        self, run_id: str, *, expected: Sequence[RunState], state: RunState, message: str = "", code: str = ""
    ) -> bool:
        """Move a run from one of the expected states; false (and nothing changed) when it is in another.

        The phase that is on ends with the run.
        """
        ended = self._connections.now() if state in TERMINAL_STATES else None
        change = (
            runs.update()
            .where(runs.c.run_id == run_id, runs.c.state.in_(expected))
            .values(state=state, sub_state="", message=message, error_code=code, ended=ended)
        )
        with self._connections.begin(of_run=True) as connection:
            is_moved = connection.execute(change).rowcount == 1
            if is_moved and ended is not None:
                connection.execute(PHASE_ENDED, {"of_run": run_id, "now": ended})
            return is_moved

    def requeue(self, run_id: str, *, most_attempts: int) -> bool:
        """Let a run that was interrupted start anew; false when it does not go on, or was begun often enough."""
        with self._connections.begin() as connection:
            same = sa.and_(runs.c.run_id == run_id, runs.c.state == RunState.RUNNING, runs.c.template_id != "")
            facts = connection.execute(sa.select(runs.c.facts).where(same)).scalar()
            attempt = 1 + attempt_of(facts)
            if facts is None or attempt > most_attempts:
                return False
            values: dict[str, Any] = {"state": RunState.QUEUED, "sub_state": "", "facts": {**facts, "attempt": attempt}}
            values |= asked_for_at(facts)
            connection.execute(runs.update().where(same).values(**values))
            self._end_phase(connection, run_id)
            return True

    def end_lost(self, row: RunRow, *, most_attempts: int) -> str:
        """What becomes of a run whose process died (`host_table.end_lost`), with the room that was kept for it.

        `row` is the run as it was seen: nothing changes, and '' is returned, when it goes on as another attempt now.
        """
        run_id = row.run_id
        with self._connections.begin() as connection:
            facts = connection.execute(sa.select(runs.c.facts).where(runs.c.run_id == run_id)).scalar()
            if any((facts or {}).get(name) != row.facts.get(name) for name in ("attempt", "host_id")):
                return ""
            connection.execute(reservations.delete().where(reservations.c.run_id == run_id))
            return end_lost(connection, run_id, most_attempts=most_attempts, now=self._connections.now())

    def ended_since(self, moment: datetime) -> list[RunRow]:
        """Runs that ended after a moment, the first one first."""
        query = sa.select(runs).where(runs.c.ended > moment).order_by(runs.c.ended)
        return [run_row(row) for row in self._connections.rows(query)]

    def ask_to_cancel(self, run_id: str) -> bool:
        """Record that a run that goes on is to end Canceled; false when it does not go on."""
        going_on = sa.and_(runs.c.run_id == run_id, runs.c.state == RunState.RUNNING)
        return self._connections.change(runs.update().where(going_on).values(state=RunState.CANCELING)) == 1

    def forget(self, run_id: str) -> bool:
        """Delete an ended run of no image template, with all rows that are of it; false when there is none such."""
        with self._connections.begin() as connection:
            same = sa.and_(runs.c.run_id == run_id, runs.c.ended.is_not(None), runs.c.template_id == "")
            if connection.execute(sa.select(runs.c.run_id).where(same).with_for_update()).first() is None:
                return False
            for table in (*OF_RUNS, runs):
                connection.execute(table.delete().where(table.c.run_id == run_id))
            return True

    def add_facts(self, run_id: str, **facts: Unpack[RunFacts]) -> None:
        """Add to what was decided for a run."""
        with self._connections.begin(of_run=True) as connection:
            known = connection.execute(FACTS, {"of_run": run_id}).scalar_one()
            connection.execute(NEW_FACTS, {"of_run": run_id, "new_facts": {**known, **facts}})

    def change_lease(self, run_id: str, known: LeaseFact, new: LeaseFact | None) -> bool:
        """Put this on record in place of the known lease; false (and nothing changed) when another one is there."""
        with self._connections.begin(of_run=True) as connection:
            facts = connection.execute(FACTS, {"of_run": run_id}).scalar_one_or_none()
            if facts is None or facts.get("lease") != known:
                return False
            connection.execute(NEW_FACTS, {"of_run": run_id, "new_facts": {**facts, "lease": new}})
        return True

    def begin_phase(self, run_id: str, name: str) -> None:
        """End the current phase and begin the next one."""
        with self._connections.begin(of_run=True) as connection:
            self._end_phase(connection, run_id)
            connection.execute(PHASE_BEGUN, {"of_run": run_id, "phase": name, "now": self._connections.now()})
            connection.execute(RUN_IN_PHASE, {"of_run": run_id, "phase": name})

    def _end_phase(self, connection: Connection, run_id: str) -> None:
        connection.execute(PHASE_ENDED, {"of_run": run_id, "now": self._connections.now()})

    def phases_of(self, run_id: str) -> list[PhaseRow]:
        """A run's phases in order."""
        return self.phases_of_all([run_id])[run_id]

    def phases_of_all(self, run_ids: Sequence[str]) -> dict[str, list[PhaseRow]]:
        """The phases of each of these runs, in order; few statements, however many runs."""
        found: dict[str, list[PhaseRow]] = {run_id: [] for run_id in run_ids}
        for row in rows_of_runs(self._connections, PHASES, run_ids):
            phase = PhaseRow(row["name"], aware(row["started"]), maybe_aware(row["ended"]))
            found[row["run_id"]].append(phase)
        return found

    def list(
        self,
        *,
        limit: int | None = 100,
        states: Sequence[RunState] = (),
        template: str = "",
        has_template: bool = True,
    ) -> list[RunRow]:
        """Runs, the newest first, with their templates or without.

        Only those in `states`, when any are given, and of the `template` of this name, in any case.
        """
        columns = tuple(runs.c) if has_template else WITHOUT_TEMPLATE
        query = sa.select(*columns).order_by(runs.c.started.desc()).limit(limit)
        if template:
            query = query.where(sa.func.lower(runs.c.template_name) == template.lower())
        rows = self._connections.rows(query.where(runs.c.state.in_(states)) if states else query)
        return [run_row({"template": {}, **row}) for row in rows]

    def template_names(self) -> "Sequence[str]":
        """The names of the templates of which there are runs, of the one that ran last first."""
        query = sa.select(runs.c.template_name).group_by(runs.c.template_name)
        found = self._connections.rows(query.order_by(sa.func.max(runs.c.started).desc()))
        return [str(row["template_name"]) for row in found]

    def older(
        self, before: tuple[datetime, str] | None, *, states: Sequence[RunState] = (), limit: int
    ) -> "Sequence[RunRow]":
        """Runs that started before a moment and run id (None: all), the newest first; only those in `states`.

        Their templates, which may have megabytes each, are left out: `{}`.
        """
        query = sa.select(*WITHOUT_TEMPLATE).order_by(runs.c.started.desc(), runs.c.run_id.desc()).limit(limit)
        if before is not None:
            moment, run_id = before
            is_same = sa.and_(runs.c.started == moment, runs.c.run_id < run_id)
            query = query.where(sa.or_(runs.c.started < moment, is_same))
        if states:
            query = query.where(runs.c.state.in_(states))
        return [run_row({**row, "template": {}}) for row in self._connections.rows(query)]
