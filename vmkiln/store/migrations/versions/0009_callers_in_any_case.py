"""The audit finds callers however their names are written: databases do not agree on what a small letter is."""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add each act's caller as it is compared."""
    op.add_column("vmkiln_audit", sa.Column("caller_key", sa.String(800), nullable=False, server_default=""))
    table = sa.table("vmkiln_audit", sa.column("caller", sa.String), sa.column("caller_key", sa.String))
    connection = op.get_bind()
    for name in connection.execute(sa.select(table.c.caller).distinct()).scalars().all():
        key = unicodedata.normalize("NFC", name).lower()
        connection.execute(table.update().where(table.c.caller == name).values(caller_key=key))
