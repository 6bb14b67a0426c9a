"""What is kept with an image beside its file: the signed statement of its provenance, what is in it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the table of documents."""
    op.create_table(
        "vmkiln_image_document",
        sa.Column("key", sa.String(600), primary_key=True),
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
