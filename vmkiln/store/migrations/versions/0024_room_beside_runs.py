"""What is made beside runs has its room of a host, too."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Add the table of the room that is taken beside runs."""
    op.create_table(
        "vmkiln_taken_room",
        sa.Column("room_id", sa.String(36), primary_key=True),
        sa.Column("host_id", sa.String(64), nullable=False),
        sa.Column("what", sa.String(200), nullable=False),
        sa.Column("cpus", sa.Integer, nullable=False),
        sa.Column("memory_mib", sa.BigInteger, nullable=False),
        sa.Column("disk_mib", sa.BigInteger, nullable=False),
    )
