"""Resources tell how many bytes they take, so that they can be added up; old operations are found by their start."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0021"
SIZES = sa.text(
    "UPDATE vmkiln_resource SET size_bytes = length(CAST(properties AS TEXT)) + length(CAST(state AS TEXT))"
    " + length(CAST(tags AS TEXT)) + coalesce(length(CAST(identity AS TEXT)), 0)"
)


def upgrade() -> None:
    """Add the column, what adds it up, and the index of operations. Hosts of the release before write 0 into it."""
    op.add_column("vmkiln_resource", sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(SIZES)
    op.create_index("vmkiln_resource_by_size", "vmkiln_resource", ["subscription_id", "size_bytes"])
    op.create_index("vmkiln_operation_by_start", "vmkiln_operation", ["started"])
