"""Hosts tell which source images they keep."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the table of the source images that hosts keep."""
    op.create_table(
        "vmkiln_kept_source",
        sa.Column("boot", sa.String(36), primary_key=True),
        sa.Column("source", sa.String(200), primary_key=True),
        sa.Column("is_booted", sa.Boolean, nullable=False),
    )
    op.create_index("ix_vmkiln_kept_source", "vmkiln_kept_source", ["source"])
