"""The tables of the database; one MetaData, so that migrations can take it over."""

import sqlalchemy as sa

metadata = sa.MetaData()
schema_version = sa.Table("vmkiln_schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))
runs = sa.Table(
    "vmkiln_run",
    metadata,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("template_name", sa.String(64), nullable=False),
    sa.Column("resource_group", sa.String(90), nullable=False),
    sa.Column("template", sa.JSON, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("sub_state", sa.String(20), nullable=False, default=""),
    sa.Column("message", sa.Text, nullable=False, default=""),
    sa.Column("error_code", sa.String(64), nullable=False, default=""),
    sa.Column("staging_group", sa.String(120), nullable=False, default=""),
    sa.Column("facts", sa.JSON, nullable=False, default=dict),
    sa.Column("started", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended", sa.DateTime(timezone=True)),
)
phases = sa.Table(
    "vmkiln_phase",
    metadata,
    sa.Column("run_id", sa.ForeignKey("vmkiln_run.run_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(40), nullable=False),
    sa.Column("started", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended", sa.DateTime(timezone=True)),
)
staging_groups = sa.Table(
    "vmkiln_staging_group",
    metadata,
    sa.Column("name", sa.String(120), primary_key=True),
    sa.Column("run_id", sa.String(36), nullable=False),
    sa.Column("storage_account", sa.String(24), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.Column("deleted", sa.DateTime(timezone=True)),
)
staging_resources = sa.Table(
    "vmkiln_staging_resource",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("group_name", sa.ForeignKey("vmkiln_staging_group.name"), nullable=False),
    sa.Column("run_id", sa.String(36), nullable=False),
    sa.Column("type", sa.String(80), nullable=False),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False, default=dict),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    sa.Column("deleted", sa.DateTime(timezone=True)),
)
images = sa.Table(
    "vmkiln_image",
    metadata,
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
    sa.Column("source_version", sa.String(200), nullable=False, default=""),
    sa.Column("run_id", sa.String(36), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False, default=dict),
    sa.Column("detail", sa.JSON, nullable=False, default=dict),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
)
image_definitions = sa.Table(
    "vmkiln_image_definition",
    metadata,
    sa.Column("key", sa.String(600), primary_key=True),
    sa.Column("definition_id", sa.String(600), nullable=False),
    sa.Column("os_type", sa.String(10), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("created", sa.DateTime(timezone=True), nullable=False),
)
run_outputs = sa.Table(
    "vmkiln_run_output",
    metadata,
    sa.Column("run_id", sa.ForeignKey("vmkiln_run.run_id"), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("artifact_id", sa.String(600), nullable=False, default=""),
    sa.Column("artifact_uri", sa.Text, nullable=False, default=""),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("message", sa.Text, nullable=False, default=""),
)
