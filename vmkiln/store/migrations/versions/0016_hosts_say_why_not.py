"""A host that cannot build now says why, and one that was stopped in order is told from one that died."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add what a host lacks, and how it ended; hosts of the release before write neither."""
    op.add_column("vmkiln_host", sa.Column("is_stopped", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("vmkiln_host", sa.Column("unready", sa.String(64), nullable=False, server_default=""))
    op.add_column("vmkiln_host", sa.Column("unready_reason", sa.Text, nullable=False, server_default=""))
