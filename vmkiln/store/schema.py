"""The database's schema: made when it is missing, brought up to date when it is older, refused when it is newer."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from vmkiln.errors import VmkilnError
from vmkiln.store.tables import metadata, runs, schema_version

SCHEMA_VERSION = 2


def _upgrade(connection: Connection) -> None:
    """Bring the tables of schema 1 up to date: runs did not know their image template yet."""
    if not sa.inspect(connection).has_table(schema_version.name):
        return
    if connection.execute(sa.select(schema_version.c.version)).scalar() != 1:
        return
    column = sa.schema.CreateColumn(runs.c.template_id).compile(connection.engine)
    connection.execute(sa.text(f"ALTER TABLE {runs.name} ADD COLUMN {column}"))
    for index in runs.indexes:
        index.create(connection)
    connection.execute(schema_version.update().values(version=2))


def prepare(engine: Engine, path: Path) -> None:
    """Make or upgrade the tables. Raises: `VmkilnError` when a newer vmkiln wrote them."""
    with engine.begin() as connection:
        _upgrade(connection)
        metadata.create_all(connection)
        version = connection.execute(sa.select(schema_version.c.version)).scalar()
        if version is None:
            connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
        elif version > SCHEMA_VERSION:
            raise VmkilnError(f"{path} was written by a newer vmkiln (schema {version})", hint="upgrade vmkiln")
