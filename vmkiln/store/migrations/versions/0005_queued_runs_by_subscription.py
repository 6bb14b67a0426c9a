"""Runs that wait are found by their subscription, oldest first."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the index that fairness between subscriptions needs."""
    columns: list[str | sa.TextClause] = ["state", sa.text("substr(template_id, 16, 36)"), "started", "run_id"]
    op.create_index("vmkiln_run_by_turn", "vmkiln_run", columns)
