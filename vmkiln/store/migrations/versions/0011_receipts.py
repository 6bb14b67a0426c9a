"""When it was seen that a temporary resource is gone."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the time to the resources of staging resource groups."""
    op.add_column("vmkiln_staging_resource", sa.Column("verified", sa.DateTime(timezone=True)))
