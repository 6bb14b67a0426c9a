"""Images and run outputs in the database.

Paths of files below the state directory are recorded relative to it, so they are good on every host and when it moves;
absolute ones, of older versions or from elsewhere, are read as they are.
What a run's attempt records of images is refused when the run is not that attempt's any more.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from vmkiln.azure_names import Architecture, ProvisioningState
from vmkiln.errors import ImageConflict, OtherImageKind, RunTakenOver, VmkilnError
from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import definition_row, image_row
from vmkiln.store.rows import ImageDefinitionRow, ImageRow, RunOutputRow, attempt_of
from vmkiln.store.run_table import rows_of_runs
from vmkiln.store.tables import gone_images, image_definitions, image_documents, images, resources, run_outputs, runs

NONE: Mapping[str, str] = {}  # an image without documents
GONE_DAYS = 90  # how long it is remembered that an image was deleted: each host's clean-up has come by then
OUTPUTS = (
    sa.select(run_outputs)
    .where(run_outputs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)))
    .order_by(run_outputs.c.run_id, run_outputs.c.name)
)


def _place(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


class ImageTable:
    """Queries and changes. `home` is the state directory."""

    def __init__(self, connections: Connections, *, home: Path | None) -> None:
        self._connections = connections
        self._home = home

    def add(self, image: ImageRow, *, attempt: int | None = None, documents: Mapping[str, str] = NONE) -> None:
        """Record a published image with its documents by their names, by an attempt of its run when one is given.

        Raises: `ImageConflict` when one of that id exists, `RunTakenOver`.
        """
        values = self._image_values(image)
        try:
            with self._connections.begin() as connection:
                self._check_attempt(connection, image.run_id, attempt)
                self._insert(connection, values)
                self._keep(connection, image.key, documents)
        except sa.exc.IntegrityError as error:
            raise ImageConflict(f"the image {image.artifact_id} exists already") from error

    def add_version(
        self, image: ImageRow, *, definition_id: str, attempt: int | None = None, documents: Mapping[str, str] = NONE
    ) -> None:
        """Record a gallery image version; the first one of an image definition records that too.

        Raises: `ImageConflict` when a version of that id exists, or the definition is of another kind;
        `RunTakenOver`.
        """
        values = self._image_values(image)
        key = definition_id.lower()
        with self._connections.begin() as connection:
            self._check_attempt(connection, image.run_id, attempt)
            query = sa.select(image_definitions).where(image_definitions.c.key == key)
            found = connection.execute(query).mappings().first()
            if found is None:
                kind = {"os_type": image.os_type, "generation": image.generation, "created": self._connections.now()}
                insert = image_definitions.insert().values(key=key, definition_id=definition_id, **kind)
                connection.execute(insert)
            elif (found["os_type"], found["generation"]) != (image.os_type, image.generation):
                cpus = str(image.detail.get("architecture", Architecture.X64))  # which no race changes
                has = (found["os_type"], found["generation"], cpus)
                raise OtherImageKind(definition_id, has=has, image=(image.os_type, image.generation, cpus))
            try:
                self._insert(connection, values)
                self._keep(connection, image.key, documents)
            except sa.exc.IntegrityError as error:
                raise ImageConflict(f"the image version {image.artifact_id} exists already") from error

    def definition(self, definition_id: str) -> ImageDefinitionRow | None:
        """The image definition of this ARM id, or none."""
        query = sa.select(image_definitions).where(image_definitions.c.key == definition_id.lower())
        return next((definition_row(row) for row in self._connections.rows(query)), None)

    def define(self, definition_id: str, *, os_type: str, generation: int) -> None:
        """Record what the versions of an image definition are to be, in place of what was recorded."""
        key = definition_id.lower()
        with self._connections.begin() as connection:
            connection.execute(image_definitions.delete().where(image_definitions.c.key == key))
            kind = {"os_type": os_type, "generation": generation, "created": self._connections.now()}
            connection.execute(image_definitions.insert().values(key=key, definition_id=definition_id, **kind))

    def undefine(self, definition_id: str) -> None:
        """Forget an image definition (id in lower case) that has no versions; content when it is not there."""
        self._connections.change(image_definitions.delete().where(image_definitions.c.key == definition_id))

    def definitions(self) -> list[ImageDefinitionRow]:
        """Image definitions by their id."""
        return [
            definition_row(row)
            for row in self._connections.rows(sa.select(image_definitions).order_by(image_definitions.c.key))
        ]

    def replace(
        self, image: ImageRow, *, attempt: int | None = None, documents: Mapping[str, str] = NONE
    ) -> ImageRow | None:
        """Record an image in place of one of the same id; returns the one it replaced. Raises: `RunTakenOver`."""
        values = self._image_values(image)
        with self._connections.begin() as connection:
            self._check_attempt(connection, image.run_id, attempt)
            found = connection.execute(sa.select(images).where(images.c.key == image.key)).mappings().first()
            connection.execute(images.delete().where(images.c.key == image.key))
            if found is not None:
                self._remember_gone(connection, found["path"])
            self._insert(connection, values)
            self._keep(connection, image.key, documents)
        return self._image(found) if found else None

    def find(self, artifact_id: str) -> ImageRow | None:
        """The image of this ARM id, or none."""
        rows = self._connections.rows(sa.select(images).where(images.c.key == artifact_id.lower()))
        return self._image(rows[0]) if rows else None

    def of_run(self, run_id: str) -> list[ImageRow]:
        """What a run has published."""
        return [self._image(row) for row in self._connections.rows(sa.select(images).where(images.c.run_id == run_id))]

    def remove(self, artifact_id: str) -> None:
        """Forget an image, and with its last version an image definition; content when it is not there."""
        key = artifact_id.lower()
        definition, _, version = key.rpartition("/versions/")
        with self._connections.begin() as connection:
            path = connection.execute(sa.select(images.c.path).where(images.c.key == key)).scalar()
            connection.execute(images.delete().where(images.c.key == key))
            connection.execute(image_documents.delete().where(image_documents.c.key == key))
            if path is not None:
                self._remember_gone(connection, path)
            left = sa.select(images.c.key).where(images.c.key.startswith(f"{definition}/versions/", autoescape=True))
            kept = sa.select(resources.c.key).where(resources.c.key == definition)
            is_last = connection.execute(left.limit(1)).first() is None
            if definition and version and is_last and connection.execute(kept).first() is None:
                connection.execute(image_definitions.delete().where(image_definitions.c.key == definition))

    def documents_of(self, artifact_id: str) -> dict[str, str]:
        """What is kept with an image beside its file, by the names of `vmkiln/provenance/documents.py`."""
        query = sa.select(image_documents).where(image_documents.c.key == artifact_id.lower())
        return {row["name"]: row["content"] for row in self._connections.rows(query)}

    def _keep(self, connection: Connection, key: str, documents: Mapping[str, str]) -> None:
        """Keep the documents of an image in place of those of an image that had its id before."""
        connection.execute(image_documents.delete().where(image_documents.c.key == key))
        for name, content in documents.items():
            connection.execute(image_documents.insert().values(key=key, name=name, content=content))

    def give_up(self, image: ImageRow) -> None:
        """Put on record that the files of an image without a record are to be deleted."""
        with self._connections.begin() as connection:
            self._remember_gone(connection, self._recorded_path(image.path))

    def gone(self, paths: Iterable[Path]) -> set[Path]:
        """Those of some paths whose image was deleted on purpose, in the last 90 days."""
        places = {_place(self._recorded_path(path)): path for path in paths}
        if not places:
            return set()
        query = sa.select(gone_images.c.place).where(gone_images.c.place.in_(sorted(places)))
        return {places[row["place"]] for row in self._connections.rows(query)}

    def _insert(self, connection: Connection, values: Mapping[str, Any]) -> None:
        connection.execute(gone_images.delete().where(gone_images.c.place == _place(values["path"])))
        connection.execute(images.insert().values(**values))

    def _remember_gone(self, connection: Connection, path: str) -> None:
        """With the deletion itself, so that a clean-up which comes after it knows of it."""
        now, place = self._connections.now(), _place(path)
        old = gone_images.c.moment < now - timedelta(days=GONE_DAYS)
        connection.execute(gone_images.delete().where(sa.or_(old, gone_images.c.place == place)))
        connection.execute(gone_images.insert().values(place=place, moment=now))

    def put_output(self, row: RunOutputRow) -> None:
        """Record what a distribute target came to, in place of what was recorded before."""
        with self._connections.begin(of_run=True) as connection:
            same = sa.and_(run_outputs.c.run_id == row.run_id, run_outputs.c.name == row.name)
            connection.execute(run_outputs.delete().where(same))
            values = {**vars(row), "artifact_uri": self._recorded_uri(row.artifact_uri)}
            connection.execute(run_outputs.insert().values(**values))

    def outputs_of(self, run_id: str) -> list[RunOutputRow]:
        """A run's outputs by name."""
        return self.outputs_of_all([run_id])[run_id]

    def outputs_of_all(self, run_ids: Sequence[str]) -> dict[str, list[RunOutputRow]]:
        """The outputs of each of these runs, by name; few statements, however many runs."""
        found: dict[str, list[RunOutputRow]] = {run_id: [] for run_id in run_ids}
        for row in rows_of_runs(self._connections, OUTPUTS, run_ids):
            read = {"state": ProvisioningState(row["state"]), "artifact_uri": self._uri(row["artifact_uri"])}
            found[row["run_id"]].append(RunOutputRow(**{**row, **read}))
        return found

    def _check_attempt(self, connection: Connection, run_id: str, attempt: int | None) -> None:
        """Refuse what an attempt records that lost its run, as one that stood still and goes on again."""
        if attempt is None:
            return
        run = connection.execute(sa.select(runs.c.facts, runs.c.ended).where(runs.c.run_id == run_id)).first()
        if run is not None and (run.ended is not None or attempt_of(run.facts) != attempt):
            raise RunTakenOver(f"attempt {attempt} of the run {run_id} was given up; it records nothing any more")

    def _image_values(self, image: ImageRow) -> dict[str, Any]:
        return {**vars(image), "key": image.key, "path": self._recorded_path(image.path)}

    def _recorded_path(self, path: Path) -> str:
        is_ours = self._home is not None and path.is_relative_to(self._home)
        return str(path.relative_to(self._home)) if is_ours and self._home else str(path)

    def _image(self, row: Mapping[str, Any] | RowMapping) -> ImageRow:
        image = image_row(dict(row))
        if image.path.is_absolute():
            return image
        if self._home is None:
            raise VmkilnError(f"where {image.path} is cannot be said: the database was opened without its home")
        return replace(image, path=self._home / image.path)

    def _recorded_uri(self, uri: str) -> str:
        return uri.removeprefix(f"{self._home.as_uri()}/") if self._home else uri

    def _uri(self, recorded: str) -> str:
        return f"{self._home.as_uri()}/{recorded}" if self._home and recorded and ":" not in recorded else recorded

    def list(self, *, prefix: str = "") -> list[ImageRow]:
        """Images whose ARM id begins with `prefix`, the newest first."""
        query = sa.select(images).order_by(images.c.created.desc(), images.c.key)
        if prefix:
            query = query.where(images.c.key.startswith(prefix.lower(), autoescape=True))
        return [self._image(row) for row in self._connections.rows(query)]

    def count_of(self, subscription_id: str) -> int:
        """How many images and image versions a subscription keeps."""
        mine = images.c.key.startswith(f"/subscriptions/{subscription_id.lower()}/", autoescape=True)
        return int(self._connections.rows(sa.select(sa.func.count().label("count")).where(mine))[0]["count"])
