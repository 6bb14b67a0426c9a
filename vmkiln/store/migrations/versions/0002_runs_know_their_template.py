"""Runs know their image template."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the template's id to runs, and the tables of the service when they are not there yet."""
    column = sa.Column("template_id", sa.String(600), nullable=False, server_default="")
    op.add_column("vmkiln_run", column)
    op.create_index("ix_vmkiln_run_template_id", "vmkiln_run", ["template_id"])
    present = set(sa.inspect(op.get_bind()).get_table_names())
    for table in _service_tables():
        if table.name not in present:
            table.create(op.get_bind())


def _service_tables() -> list[sa.Table]:
    metadata = sa.MetaData()
    moment = sa.DateTime(timezone=True)
    resources = sa.Table(
        "vmkiln_resource",
        metadata,
        sa.Column("key", sa.String(1100), primary_key=True),
        sa.Column("id", sa.String(1100), nullable=False),
        sa.Column("type", sa.String(200), nullable=False),
        sa.Column("name", sa.String(260), nullable=False),
        sa.Column("parent", sa.String(1100), nullable=False),
        sa.Column("subscription_id", sa.String(260), nullable=False),
        sa.Column("resource_group", sa.String(260), nullable=False),
        sa.Column("location", sa.String(100), nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("identity", sa.JSON(none_as_null=True)),
        sa.Column("properties", sa.JSON, nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("etag", sa.String(36), nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("changed", moment, nullable=False),
        sa.Column("created_by", sa.String(260), nullable=False),
        sa.Column("changed_by", sa.String(260), nullable=False),
        sa.Index("vmkiln_resource_by_group", "subscription_id", "resource_group", "type", "key"),
        sa.Index("vmkiln_resource_by_type", "type", "key"),
        sa.Index("vmkiln_resource_by_parent", "parent", "type", "key"),
    )
    operations = sa.Table(
        "vmkiln_operation",
        metadata,
        sa.Column("operation_id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("subscription_id", sa.String(260), nullable=False),
        sa.Column("location", sa.String(100), nullable=False),
        sa.Column("resource_id", sa.String(1100), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(20), nullable=False, index=True),
        sa.Column("error", sa.JSON, nullable=False),
        sa.Column("started", moment, nullable=False),
        sa.Column("ended", moment),
    )
    principals = sa.Table(
        "vmkiln_principal",
        metadata,
        sa.Column("app_id", sa.String(36), primary_key=True),
        sa.Column("object_id", sa.String(36), nullable=False, unique=True),
        sa.Column("display_name", sa.String(260), nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
    )
    secrets = sa.Table(
        "vmkiln_client_secret",
        metadata,
        sa.Column("secret_id", sa.String(36), primary_key=True),
        sa.Column("app_id", sa.String(36), sa.ForeignKey("vmkiln_principal.app_id"), nullable=False, index=True),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("hash", sa.String(128), nullable=False),
        sa.Column("created", moment, nullable=False),
    )
    tokens = sa.Table(
        "vmkiln_access_token",
        metadata,
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("object_id", sa.String(260), nullable=False, index=True),
        sa.Column("name", sa.String(260), nullable=False),
        sa.Column("created", moment, nullable=False),
    )
    assignments = sa.Table(
        "vmkiln_role_assignment",
        metadata,
        sa.Column("assignment_id", sa.String(36), primary_key=True),
        sa.Column("object_id", sa.String(260), nullable=False, index=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("scope", sa.String(600), nullable=False),
        sa.Column("created", moment, nullable=False),
    )
    return [resources, operations, principals, secrets, tokens, assignments]
