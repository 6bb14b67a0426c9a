"""Operations say whose they are, and sessions whether their owner still lives."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table of sessions, and the session of operations."""
    op.create_table(
        "vmkiln_session",
        sa.Column("session", sa.String(36), primary_key=True),
        sa.Column("host_id", sa.String(36), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
    op.add_column("vmkiln_operation", sa.Column("session", sa.String(36), nullable=False, server_default=""))
