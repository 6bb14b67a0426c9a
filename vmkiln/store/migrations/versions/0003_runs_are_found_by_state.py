"""Runs are found by their state and by when they started."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the indexes that the queue needs."""
    op.create_index("vmkiln_run_by_state", "vmkiln_run", ["state", "started"])
    op.create_index("vmkiln_run_by_start", "vmkiln_run", ["started"])
