"""Hosts hold leases and reserve room for runs; ended runs are found by when they ended."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables of hosts and reservations, and an index."""
    op.create_index("vmkiln_run_by_end", "vmkiln_run", ["ended"])
    op.create_table(
        "vmkiln_host",
        sa.Column("boot", sa.String(36), primary_key=True),
        sa.Column("host_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("architecture", sa.String(20), nullable=False),
        sa.Column("isolation_level", sa.String(20), nullable=False),
        sa.Column("region", sa.String(100), nullable=False),
        sa.Column("cpus", sa.Integer, nullable=False),
        sa.Column("memory_mib", sa.BigInteger, nullable=False),
        sa.Column("disk_mib", sa.BigInteger, nullable=False),
        sa.Column("is_draining", sa.Boolean, nullable=False),
        sa.Column("is_dead", sa.Boolean, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
    op.create_index("ix_vmkiln_host_host_id", "vmkiln_host", ["host_id"])
    op.create_table(
        "vmkiln_reservation",
        sa.Column("run_id", sa.String(36), sa.ForeignKey("vmkiln_run.run_id"), primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("boot", sa.String(36), sa.ForeignKey("vmkiln_host.boot"), nullable=False),
        sa.Column("cpus", sa.Integer, nullable=False),
        sa.Column("memory_mib", sa.BigInteger, nullable=False),
        sa.Column("disk_mib", sa.BigInteger, nullable=False),
        sa.Column("placed", sa.Float, nullable=False),
    )
    op.create_index("ix_vmkiln_reservation_boot", "vmkiln_reservation", ["boot"])
