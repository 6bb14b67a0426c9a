"""Principals have certificates and federated credentials; role assignments say what their principal is."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the table of keys, the kind of an assignment's principal, and room for the GUID of a role."""
    op.create_table(
        "vmkiln_principal_key",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("app_id", sa.String(36), sa.ForeignKey("vmkiln_principal.app_id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_vmkiln_principal_key_app_id", "vmkiln_principal_key", ["app_id"])
    op.add_column(
        "vmkiln_role_assignment", sa.Column("principal_type", sa.String(40), nullable=False, server_default="")
    )
    with op.batch_alter_table("vmkiln_role_assignment") as table:
        table.alter_column("role", type_=sa.String(60), existing_nullable=False)
