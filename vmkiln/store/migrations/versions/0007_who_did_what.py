"""Who did what: one row for each act."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table of the audit."""
    op.create_table(
        "vmkiln_audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("moment", sa.DateTime(timezone=True), nullable=False),
        sa.Column("caller", sa.String(260), nullable=False),
        sa.Column("caller_id", sa.String(260), nullable=False),
        sa.Column("caller_kind", sa.String(20), nullable=False),
        sa.Column("operation", sa.String(300), nullable=False),
        sa.Column("resource_id", sa.String(1100), nullable=False),
        sa.Column("key", sa.String(1100), nullable=False),
        sa.Column("subscription_id", sa.String(260), nullable=False),
        sa.Column("resource_group", sa.String(260), nullable=False),
        sa.Column("provider", sa.String(260), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("code", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String(120), nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("correlation_id", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("source", sa.String(60), nullable=False),
        sa.Column("is_refused", sa.Boolean, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("vmkiln_audit_by_time", "vmkiln_audit", ["subscription_id", "moment", "number"])
    op.create_index("vmkiln_audit_by_age", "vmkiln_audit", ["moment"])
    op.create_index("vmkiln_audit_by_kind", "vmkiln_audit", ["is_refused", "number"])
    op.create_index("vmkiln_audit_by_correlation", "vmkiln_audit", ["correlation_id"])
