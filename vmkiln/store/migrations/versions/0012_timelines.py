"""What each run did from when to when, and what that cost."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the table of the timelines' parts."""
    op.create_table(
        "vmkiln_timeline_part",
        sa.Column("run_id", sa.String(36), sa.ForeignKey("vmkiln_run.run_id"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True)),
        sa.Column("cpu_seconds", sa.Float),
        sa.Column("peak_kib", sa.BigInteger),
        sa.Column("start", sa.String(10), nullable=False),
    )
