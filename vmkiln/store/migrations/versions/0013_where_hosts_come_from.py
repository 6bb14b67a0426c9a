"""Hosts say which machine they are on, and which schema their release knows."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the table of where hosts come from."""
    op.create_table(
        "vmkiln_host_origin",
        sa.Column("boot", sa.String(36), primary_key=True),
        sa.Column("machine", sa.String(400), nullable=False),
        sa.Column("schema", sa.String(32), nullable=False),
        sa.Column("drained_for", sa.String(32), nullable=False),
    )
