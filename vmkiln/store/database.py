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

from vmkiln.durable_file import reported, sync
from vmkiln.errors import ImageConflict, InputError, VmkilnError
from vmkiln.store.engine import READS, make_engine
from vmkiln.store.operation_table import OperationTable
from vmkiln.store.principal_table import PrincipalTable
from vmkiln.store.queue_table import QueueTable
from vmkiln.store.resource_table import ResourceTable
from vmkiln.store.row_reading import aware, definition_row, image_row, maybe_aware, run_row, staging_group_row
from vmkiln.store.rows import (
    ImageDefinitionRow,
    ImageRow,
    PhaseRow,
    RunOutputRow,
    RunRow,
    StagingGroupRow,
    StagingResourceRow,
)
from vmkiln.store.schema import prepare, settle
from vmkiln.store.tables import (
    image_definitions,
    images,
    phases,
    resources,
    run_outputs,
    runs,
    staging_groups,
    staging_resources,
)


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


class Store:
    """Queries and changes; one per process. `clock` gives the time in UTC."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._reading = engine.execution_options(**{READS: True})
        self._clock = clock
        self.resources = ResourceTable(engine, clock)
        self.operations = OperationTable(engine, clock)
        self.principals = PrincipalTable(engine, clock)
        self.queue = QueueTable(engine)

    def now(self) -> datetime:
        """The time now (UTC), by the clock this store was opened with."""
        return self._clock()

    def settle(self) -> None:
        """Make sure that a commit which failed stays undone. Raises: `StorageFailed` when that cannot be."""
        settle(self._engine)

    def close(self) -> None:
        """Close every connection."""
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
        rows = self._rows(sa.select(runs).where(runs.c.run_id.in_(run_ids)))
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
            attempt = 1 + int((facts or {}).get("attempt", 1))
            if facts is None or attempt > most_attempts:
                return False
            values = {"state": "Queued", "sub_state": "", "facts": {**facts, "attempt": attempt}}
            connection.execute(runs.update().where(same).values(**values))
            self._end_phase(connection, run_id)
            return True

    def ask_to_cancel(self, run_id: str) -> bool:
        """Record that a run that goes on is to end Canceled; false when it does not go on."""
        going_on = sa.and_(runs.c.run_id == run_id, runs.c.state == "Running")
        return self._change(runs.update().where(going_on).values(state="Canceling")) == 1

    def add_facts(self, run_id: str, **facts: Any) -> None:
        """Add to what was decided for a run."""
        with self._engine.begin() as connection:
            known = connection.execute(sa.select(runs.c.facts).where(runs.c.run_id == run_id)).scalar_one()
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(facts={**known, **facts}))

    def begin_phase(self, run_id: str, name: str) -> None:
        """End the current phase and begin the next one."""
        with self._engine.begin() as connection:
            self._end_phase(connection, run_id)
            count = sa.select(sa.func.count()).select_from(phases).where(phases.c.run_id == run_id)
            number = connection.execute(count).scalar_one()
            connection.execute(phases.insert().values(run_id=run_id, number=number, name=name, started=self._clock()))
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(sub_state=name))

    def end_phase(self, run_id: str) -> None:
        """End the current phase; content when there is none."""
        with self._engine.begin() as connection:
            self._end_phase(connection, run_id)

    def _end_phase(self, connection: Connection, run_id: str) -> None:
        current = sa.and_(phases.c.run_id == run_id, phases.c.ended.is_(None))
        connection.execute(phases.update().where(current).values(ended=self._clock()))

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
        values = {"group_name": group, "run_id": run_id, "type": type, "name": name, "detail": detail}
        with self._engine.begin() as connection:
            insert = staging_resources.insert().values(**values, state="creating", created=self._clock())
            key = connection.execute(insert).inserted_primary_key
        assert key is not None  # the table numbers its rows
        return int(key[0])

    def resource_exists(self, number: int) -> None:
        """Record that a resource was made."""
        self._change(staging_resources.update().where(staging_resources.c.number == number).values(state="exists"))

    def resource_deleted(self, number: int) -> None:
        """Record that a resource is gone."""
        change = staging_resources.update().where(staging_resources.c.number == number)
        self._change(change.values(state="deleted", deleted=self._clock()))

    def list_resources(self, group: str) -> list[StagingResourceRow]:
        """A group's resources in the order they were made, deleted ones too."""
        query = sa.select(staging_resources).where(staging_resources.c.group_name == group)
        return [
            StagingResourceRow(**{**row, "created": aware(row["created"]), "deleted": maybe_aware(row["deleted"])})
            for row in self._rows(query.order_by(staging_resources.c.number))
        ]

    # images and run outputs

    def add_image(self, image: ImageRow) -> None:
        """Record a published image. Raises: `ImageConflict` when one of that id exists."""
        values = {**vars(image), "key": image.key, "path": str(image.path)}
        try:
            with self._engine.begin() as connection:
                connection.execute(images.insert().values(**values))
        except sa.exc.IntegrityError as error:
            raise ImageConflict(f"the image {image.artifact_id} exists already") from error

    def add_image_version(self, image: ImageRow, *, definition_id: str) -> None:
        """Record a gallery image version; the first one of an image definition records that too.

        Raises: `ImageConflict` when a version of that id exists, or the definition is of another kind.
        """
        values = {**vars(image), "key": image.key, "path": str(image.path)}
        key = definition_id.lower()
        with self._engine.begin() as connection:
            query = sa.select(image_definitions).where(image_definitions.c.key == key)
            found = connection.execute(query).mappings().first()
            if found is None:
                kind = {"os_type": image.os_type, "generation": image.generation, "created": self._clock()}
                insert = image_definitions.insert().values(key=key, definition_id=definition_id, **kind)
                connection.execute(insert)
            elif (found["os_type"], found["generation"]) != (image.os_type, image.generation):
                raise ImageConflict(
                    f"the image definition {definition_id} is {found['os_type']} generation {found['generation']}, "
                    f"but this image is {image.os_type} generation {image.generation}"
                )
            try:
                connection.execute(images.insert().values(**values))
            except sa.exc.IntegrityError as error:
                raise ImageConflict(f"the image version {image.artifact_id} exists already") from error

    def image_definition(self, definition_id: str) -> ImageDefinitionRow | None:
        """The image definition of this ARM id, or none."""
        query = sa.select(image_definitions).where(image_definitions.c.key == definition_id.lower())
        return next((definition_row(row) for row in self._rows(query)), None)

    def define_image(self, definition_id: str, *, os_type: str, generation: int) -> None:
        """Record what the versions of an image definition are to be, in place of what was recorded."""
        key = definition_id.lower()
        with self._engine.begin() as connection:
            connection.execute(image_definitions.delete().where(image_definitions.c.key == key))
            kind = {"os_type": os_type, "generation": generation, "created": self._clock()}
            connection.execute(image_definitions.insert().values(key=key, definition_id=definition_id, **kind))

    def undefine_image(self, definition_id: str) -> None:
        """Forget an image definition (id in lower case) that has no versions; content when it is not there."""
        self._change(image_definitions.delete().where(image_definitions.c.key == definition_id))

    def list_image_definitions(self) -> list[ImageDefinitionRow]:
        """Image definitions by their id."""
        return [
            definition_row(row) for row in self._rows(sa.select(image_definitions).order_by(image_definitions.c.key))
        ]

    def replace_image(self, image: ImageRow) -> ImageRow | None:
        """Record an image in place of one of the same id; returns the one it replaced."""
        values = {**vars(image), "key": image.key, "path": str(image.path)}
        with self._engine.begin() as connection:
            found = connection.execute(sa.select(images).where(images.c.key == image.key)).mappings().first()
            connection.execute(images.delete().where(images.c.key == image.key))
            connection.execute(images.insert().values(**values))
        return image_row(found) if found else None

    def image(self, artifact_id: str) -> ImageRow | None:
        """The image of this ARM id, or none."""
        rows = self._rows(sa.select(images).where(images.c.key == artifact_id.lower()))
        return image_row(rows[0]) if rows else None

    def list_images(self, *, prefix: str = "") -> list[ImageRow]:
        """Images whose ARM id begins with `prefix`, the newest first."""
        query = sa.select(images).order_by(images.c.created.desc(), images.c.key)
        if prefix:
            query = query.where(images.c.key.startswith(prefix.lower(), autoescape=True))
        return [image_row(row) for row in self._rows(query)]

    def images_of_run(self, run_id: str) -> list[ImageRow]:
        """What a run has published."""
        return [image_row(row) for row in self._rows(sa.select(images).where(images.c.run_id == run_id))]

    def remove_image(self, artifact_id: str) -> None:
        """Forget an image, and with its last version an image definition; content when it is not there."""
        key = artifact_id.lower()
        definition, _, version = key.rpartition("/versions/")
        with self._engine.begin() as connection:
            connection.execute(images.delete().where(images.c.key == key))
            left = sa.select(images.c.key).where(images.c.key.startswith(f"{definition}/versions/", autoescape=True))
            kept = sa.select(resources.c.key).where(resources.c.key == definition)
            is_last = connection.execute(left.limit(1)).first() is None
            if definition and version and is_last and connection.execute(kept).first() is None:
                connection.execute(image_definitions.delete().where(image_definitions.c.key == definition))

    def put_run_output(self, row: RunOutputRow) -> None:
        """Record what a distribute target came to, in place of what was recorded before."""
        with self._engine.begin() as connection:
            same = sa.and_(run_outputs.c.run_id == row.run_id, run_outputs.c.name == row.name)
            connection.execute(run_outputs.delete().where(same))
            connection.execute(run_outputs.insert().values(**vars(row)))

    def list_run_outputs(self, run_id: str) -> list[RunOutputRow]:
        """A run's outputs by name."""
        query = sa.select(run_outputs).where(run_outputs.c.run_id == run_id).order_by(run_outputs.c.name)
        return [RunOutputRow(**row) for row in self._rows(query)]

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._reading.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _change(self, statement: sa.Update | sa.Delete) -> int:
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount


@contextlib.contextmanager
def opened(place: Path | str, *, clock: Callable[[], datetime] = utc_now) -> Iterator[Store]:
    """The database: a file of SQLite, made when it is missing (mode 0600), or the URL of one in PostgreSQL.

    `clock` gives the time in UTC. Raises: `VmkilnError` when it was written by a newer vmkiln, is damaged or away;
    `InputError` for a URL that is none.
    """
    engine = make_engine(place)
    name = engine.url.render_as_string(hide_password=True) if isinstance(place, str) else str(place)
    store = Store(engine, clock)
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
