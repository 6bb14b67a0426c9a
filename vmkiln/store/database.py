"""The database: what was asked for, what is being done, what came out; in SQLite or PostgreSQL.

Every change is one short transaction, durable when the call returns. Rows come out as frozen values, times are UTC.
The state of a run moves only from an expected state to another, so two processes cannot both end it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import ConnectionPoolEntry

from vmkiln.durable_file import reported, sync
from vmkiln.errors import InputError, VmkilnError
from vmkiln.store.engine import fenced, make_engine
from vmkiln.store.frequent_statements import (
    FACTS,
    NEW_FACTS,
    PHASE_BEGUN,
    PHASE_COUNT,
    PHASE_ENDED,
    RESOURCE_ADDED,
    RESOURCE_DELETED,
    RESOURCE_EXISTS,
    RUN_IN_PHASE,
    RUNS_BY_ID,
)
from vmkiln.store.host_table import HostTable, end_lost
from vmkiln.store.image_table import ImageTable
from vmkiln.store.operation_table import OperationTable
from vmkiln.store.principal_table import PrincipalTable
from vmkiln.store.queue_table import QueueTable
from vmkiln.store.resource_table import ResourceTable
from vmkiln.store.row_reading import aware, maybe_aware, run_row, staging_group_row
from vmkiln.store.rows import (
    PhaseRow,
    RunRow,
    StagingGroupRow,
    StagingResourceRow,
    attempt_of,
)
from vmkiln.store.schema import prepare, settle
from vmkiln.store.tables import (
    phases,
    reservations,
    runs,
    staging_groups,
    staging_resources,
)


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


class Store(ImageTable):
    """Queries and changes; one per process. `clock` gives the time in UTC.

    `home` is the state directory: what is recorded of files in it is good on every host, and when it moves.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now, *, home: Path | None = None) -> None:
        super().__init__(engine, clock, home=home)
        self.resources = ResourceTable(engine, clock)
        self.operations = OperationTable(engine, clock)
        self.principals = PrincipalTable(engine, clock)
        self.queue = QueueTable(engine)
        self.hosts = HostTable(engine, clock)

    def now(self) -> datetime:
        """The time now (UTC), by the clock this store was opened with."""
        return self._clock()

    def fenced(self, run_id: str, *, boot: str) -> "Store":
        """The same database for what a host does for a run: writes raise `RunTakenOver` when it has it no more."""
        return Store(fenced(self._engine, run_id, boot=boot), self._clock, home=self._home)

    def settle(self) -> None:
        """Make sure that a commit which failed stays undone. Raises: `StorageFailed` when that cannot be."""
        settle(self._engine)

    def close(self) -> None:
        """Close every connection; one that a thread still uses is closed when that gives it back."""
        sa.event.listen(self._engine, "checkin", _close_it)
        self._engine.dispose()

    # runs

    def add_run(self, row: RunRow) -> None:
        """Record a run that was accepted."""
        with self._engine.begin() as connection:
            connection.execute(runs.insert().values(**vars(row)))

    def add_runs(self, rows: Sequence[RunRow]) -> None:
        """Record many runs in one transaction."""
        with self._engine.begin() as connection:
            connection.execute(runs.insert(), [vars(row) for row in rows])

    def run(self, run_id: str) -> RunRow:
        """The run whose id is, or begins with, `run_id`. Raises: `InputError` when there is none or more than one."""
        query = sa.select(runs).where(runs.c.run_id.startswith(run_id, autoescape=True)).limit(2)
        rows = self._rows(query)
        if len(rows) != 1 or not run_id:
            problem = "no run has" if not rows else "more than one run has"
            raise InputError(f"{problem} an id that begins with `{run_id}`", hint="`vmkiln run list` shows them")
        return run_row(rows[0])

    def queue_run(self, row: RunRow) -> bool:
        """Record a run that waits; false (and nothing changed) when one of its template waits or goes on."""
        going_on = sa.and_(runs.c.template_id == row.template_id, runs.c.ended.is_(None))
        with self._engine.begin() as connection:
            if connection.execute(sa.select(runs.c.run_id).where(going_on).limit(1)).first() is not None:
                return False
            connection.execute(runs.insert().values(**vars(row)))
        return True

    def start_run(self, row: RunRow) -> bool:
        """Record that a run starts: one that was queued, or a new one; false when it was cancelled while it waited."""
        with self._engine.begin() as connection:
            same = runs.c.run_id == row.run_id
            known = connection.execute(sa.select(runs.c.state, runs.c.facts).where(same)).first()
            if known is None:
                connection.execute(runs.insert().values(**vars(row)))
                return True
            if known.state != "Queued":
                return False
            values = {name: value for name, value in vars(row).items() if name not in {"run_id", "template_id"}}
            values["facts"] = {**known.facts, **row.facts}
            connection.execute(runs.update().where(same).values(**values))
            return True

    def last_runs(self, template_ids: Sequence[str]) -> dict[str, RunRow]:
        """The newest run of each of these image templates (ids in lower case) that ever ran."""
        newest = sa.select(runs.c.template_id, sa.func.max(runs.c.started).label("started"))
        newest = newest.where(runs.c.template_id.in_(template_ids)).group_by(runs.c.template_id)
        last = newest.subquery()
        same = sa.and_(runs.c.template_id == last.c.template_id, runs.c.started == last.c.started)
        return {row["template_id"]: run_row(row) for row in self._rows(sa.select(runs).join(last, same))}

    def runs_by_id(self, run_ids: Sequence[str]) -> dict[str, RunRow]:
        """The runs with exactly these ids."""
        rows = self._rows(RUNS_BY_ID, {"run_ids": list(run_ids)})
        return {row["run_id"]: run_row(row) for row in rows}

    def runs_of_template(self, template_id: str, *, limit: int | None = None) -> list[RunRow]:
        """The runs of an image template, the newest first."""
        query = sa.select(runs).where(runs.c.template_id == template_id.lower())
        return [run_row(row) for row in self._rows(query.order_by(runs.c.started.desc()).limit(limit))]

    def forget_template(self, template_id: str) -> None:
        """Part a deleted template (id in lower case) from its runs, which stay on record."""
        self._change(runs.update().where(runs.c.template_id == template_id).values(template_id=""))

    def list_runs(self, *, limit: int | None = 100, states: Sequence[str] = ()) -> list[RunRow]:
        """Runs, the newest first; only those in `states`, when any are given."""
        query = sa.select(runs).order_by(runs.c.started.desc()).limit(limit)
        return [run_row(row) for row in self._rows(query.where(runs.c.state.in_(states)) if states else query)]

    def move_run(self, run_id: str, *, expected: Sequence[str], state: str, message: str = "", code: str = "") -> bool:
        """Move a run from one of the expected states; false (and nothing changed) when it is in another."""
        ended = self._clock() if state not in {"Queued", "Running", "Canceling"} else None
        change = (
            runs.update()
            .where(runs.c.run_id == run_id, runs.c.state.in_(expected))
            .values(state=state, sub_state="", message=message, error_code=code, ended=ended)
        )
        return self._change(change) == 1

    def requeue_run(self, run_id: str, *, most_attempts: int) -> bool:
        """Let a run that was interrupted start anew; false when it does not go on, or was begun often enough."""
        with self._engine.begin() as connection:
            same = sa.and_(runs.c.run_id == run_id, runs.c.state == "Running", runs.c.template_id != "")
            facts = connection.execute(sa.select(runs.c.facts).where(same)).scalar()
            attempt = 1 + attempt_of(facts)
            if facts is None or attempt > most_attempts:
                return False
            values = {"state": "Queued", "sub_state": "", "facts": {**facts, "attempt": attempt}}
            connection.execute(runs.update().where(same).values(**values))
            self._end_phase(connection, run_id)
            return True

    def end_lost_run(self, row: RunRow, *, most_attempts: int) -> str:
        """What becomes of a run whose process died (`host_table.end_lost`), with the room that was kept for it.

        `row` is the run as it was seen: nothing changes, and '' is returned, when it goes on as another attempt now.
        """
        run_id = row.run_id
        with self._engine.begin() as connection:
            facts = connection.execute(sa.select(runs.c.facts).where(runs.c.run_id == run_id)).scalar()
            if any((facts or {}).get(name) != row.facts.get(name) for name in ("attempt", "host_id")):
                return ""
            connection.execute(reservations.delete().where(reservations.c.run_id == run_id))
            return end_lost(connection, run_id, most_attempts=most_attempts, now=self._clock())

    def runs_ended_since(self, moment: datetime) -> list[RunRow]:
        """Runs that ended after a moment, the first one first."""
        query = sa.select(runs).where(runs.c.ended > moment).order_by(runs.c.ended)
        return [run_row(row) for row in self._rows(query)]

    def ask_to_cancel(self, run_id: str) -> bool:
        """Record that a run that goes on is to end Canceled; false when it does not go on."""
        going_on = sa.and_(runs.c.run_id == run_id, runs.c.state == "Running")
        return self._change(runs.update().where(going_on).values(state="Canceling")) == 1

    def add_facts(self, run_id: str, **facts: Any) -> None:
        """Add to what was decided for a run."""
        with self._engine.begin() as connection:
            known = connection.execute(FACTS, {"of_run": run_id}).scalar_one()
            connection.execute(NEW_FACTS, {"of_run": run_id, "new_facts": {**known, **facts}})

    def begin_phase(self, run_id: str, name: str) -> None:
        """End the current phase and begin the next one."""
        with self._engine.begin() as connection:
            self._end_phase(connection, run_id)
            number = connection.execute(PHASE_COUNT, {"of_run": run_id}).scalar_one()
            begun: dict[str, Any] = {"run_id": run_id, "number": number, "name": name, "started": self._clock()}
            connection.execute(PHASE_BEGUN, begun)
            connection.execute(RUN_IN_PHASE, {"of_run": run_id, "phase": name})

    def end_phase(self, run_id: str) -> None:
        """End the current phase; content when there is none."""
        with self._engine.begin() as connection:
            self._end_phase(connection, run_id)

    def _end_phase(self, connection: Connection, run_id: str) -> None:
        connection.execute(PHASE_ENDED, {"of_run": run_id, "now": self._clock()})

    def list_phases(self, run_id: str) -> list[PhaseRow]:
        """A run's phases in order."""
        query = sa.select(phases).where(phases.c.run_id == run_id).order_by(phases.c.number)
        return [PhaseRow(row["name"], aware(row["started"]), maybe_aware(row["ended"])) for row in self._rows(query)]

    # staging resource groups

    def add_staging_group(self, name: str, *, run_id: str, storage_account: str, tags: dict[str, str]) -> None:
        """Record a staging resource group before it is made."""
        values = {"name": name, "run_id": run_id, "storage_account": storage_account, "tags": tags}
        with self._engine.begin() as connection:
            connection.execute(staging_groups.insert().values(**values, created=self._clock()))
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(staging_group=name))

    def use_staging_group(self, name: str, *, run_id: str) -> None:
        """Record that a run works in a staging resource group that exists already."""
        self._change(runs.update().where(runs.c.run_id == run_id).values(staging_group=name))

    def list_staging_groups(self, *, with_deleted: bool = False) -> list[StagingGroupRow]:
        """Staging resource groups, the newest first."""
        query = sa.select(staging_groups).order_by(staging_groups.c.created.desc())
        if not with_deleted:
            query = query.where(staging_groups.c.deleted.is_(None))
        return [staging_group_row(row) for row in self._rows(query)]

    def staging_group(self, name: str) -> StagingGroupRow | None:
        """The staging resource group of exactly this name; none when there is none, or it was deleted."""
        query = sa.select(staging_groups).where(staging_groups.c.name == name, staging_groups.c.deleted.is_(None))
        rows = self._rows(query)
        return staging_group_row(rows[0]) if rows else None

    def staging_group_deleted(self, name: str) -> None:
        """Record that a group and all in it are gone."""
        now = self._clock()
        with self._engine.begin() as connection:
            connection.execute(staging_groups.update().where(staging_groups.c.name == name).values(deleted=now))
            left = sa.and_(staging_resources.c.group_name == name, staging_resources.c.state != "deleted")
            connection.execute(staging_resources.update().where(left).values(state="deleted", deleted=now))

    def add_resource(self, group: str, *, run_id: str, type: str, name: str, detail: dict[str, Any]) -> int:  # noqa: A002
        """Record the intent to make a resource; returns its number."""
        values: dict[str, Any] = {"group_name": group, "run_id": run_id, "type": type, "name": name, "detail": detail}
        with self._engine.begin() as connection:
            values |= {"state": "creating", "created": self._clock()}
            key = connection.execute(RESOURCE_ADDED, values).inserted_primary_key
        assert key is not None  # the table numbers its rows
        return int(key[0])

    def resource_exists(self, number: int) -> None:
        """Record that a resource was made."""
        self._change(RESOURCE_EXISTS, {"of_number": number})

    def resource_deleted(self, number: int) -> None:
        """Record that a resource is gone."""
        self._change(RESOURCE_DELETED, {"of_number": number, "now": self._clock()})

    def list_resources(self, group: str) -> list[StagingResourceRow]:
        """A group's resources in the order they were made, deleted ones too."""
        query = sa.select(staging_resources).where(staging_resources.c.group_name == group)
        return [
            StagingResourceRow(**{**row, "created": aware(row["created"]), "deleted": maybe_aware(row["deleted"])})
            for row in self._rows(query.order_by(staging_resources.c.number))
        ]


def _close_it(_connection: Any, record: ConnectionPoolEntry) -> None:
    """Instead of keeping a connection for the next who asks."""
    record.invalidate()


@contextlib.contextmanager
def opened(place: Path | str, *, clock: Callable[[], datetime] = utc_now, home: Path | None = None) -> Iterator[Store]:
    """The database: a file of SQLite, made when it is missing (mode 0600), or the URL of one in PostgreSQL.

    `clock` gives the time in UTC; `home` is the state directory (SQLite: where the file is, unless it is given).
    Raises: `VmkilnError` when it was written by a newer vmkiln, is damaged or away; `InputError` for no URL.
    """
    engine = make_engine(place)
    name = engine.url.render_as_string(hide_password=True) if isinstance(place, str) else str(place)
    store = Store(engine, clock, home=home or (place.parent.absolute() if isinstance(place, Path) else None))
    try:
        prepare(engine, name)
        if isinstance(place, Path):
            with reported(f"opening the database {name}"):
                sync(place.parent)  # its write-ahead log is there now; SQLite itself would overlook that this failed
        yield store
    except sa.exc.DatabaseError as error:
        raise VmkilnError(f"the database {name} cannot be used: {error.orig}") from error
    finally:
        store.close()
