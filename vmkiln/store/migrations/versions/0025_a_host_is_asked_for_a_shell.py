"""A host is asked to let somebody into a failed VM that it holds."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add the table of the shells that hosts are asked for."""
    op.create_table(
        "vmkiln_asked_shell",
        sa.Column("shell_id", sa.String(36), primary_key=True),
        sa.Column("host_id", sa.String(64), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("sealed_order", sa.Text, nullable=False),
    )
