"""Notices wait in the database until they are sent."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0017"


def upgrade() -> None:
    """Add the table of the notices, and the one of how far runs were told."""
    op.create_table(
        "vmkiln_notice",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("receiver", sa.String(20), primary_key=True),
        sa.Column("event", sa.JSON, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
    )
    op.create_index("ix_vmkiln_notice_due", "vmkiln_notice", ["state", "due"])
    op.create_table(
        "vmkiln_notice_mark",
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
    )
