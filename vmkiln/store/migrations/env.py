"""Runs the revisions on the connection that asks for them, in its transaction."""

from alembic import context

from vmkiln.store.schema import VERSION_TABLE
from vmkiln.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=False,
)
context.run_migrations()
