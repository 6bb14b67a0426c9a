"""What gates said of disks is kept by the digest of the disk."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the table of the verdicts."""
    op.create_table(
        "vmkiln_gate_verdict",
        sa.Column("gate", sa.String(20), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("made", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_vmkiln_gate_verdict_used", "vmkiln_gate_verdict", ["used"])
