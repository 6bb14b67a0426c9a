"""The first tables: runs, staging resource groups, images."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of `vmkiln build`."""
    op.create_table(
        "vmkiln_run",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("template_name", sa.String(64), nullable=False),
        sa.Column("resource_group", sa.String(90), nullable=False),
        sa.Column("template", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("sub_state", sa.String(20), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("error_code", sa.String(64), nullable=False),
        sa.Column("staging_group", sa.String(120), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "vmkiln_phase",
        sa.Column("run_id", sa.String(36), sa.ForeignKey("vmkiln_run.run_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "vmkiln_staging_group",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("storage_account", sa.String(24), nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "vmkiln_staging_resource",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("group_name", sa.String(120), sa.ForeignKey("vmkiln_staging_group.name"), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(80), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "vmkiln_image",
        sa.Column("key", sa.String(600), primary_key=True),
        sa.Column("artifact_id", sa.String(600), nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("format", sa.String(10), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("virtual_size_bytes", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("os_type", sa.String(10), nullable=False),
        sa.Column("source_version", sa.String(200), nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "vmkiln_image_definition",
        sa.Column("key", sa.String(600), primary_key=True),
        sa.Column("definition_id", sa.String(600), nullable=False),
        sa.Column("os_type", sa.String(10), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "vmkiln_run_output",
        sa.Column("run_id", sa.String(36), sa.ForeignKey("vmkiln_run.run_id"), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("artifact_id", sa.String(600), nullable=False),
        sa.Column("artifact_uri", sa.Text, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
