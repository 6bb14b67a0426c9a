"""Images that were deleted on purpose are remembered, so that what is left of them is told from what was lost."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table of images that are gone."""
    op.create_table(
        "vmkiln_gone_image",
        sa.Column("place", sa.String(64), primary_key=True),
        sa.Column("moment", sa.DateTime(timezone=True), nullable=False, index=True),
    )
