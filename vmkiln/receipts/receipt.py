"""Receipts: what was made for a run for a while, and when it was made, deleted, and seen to be gone."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceState, StagingResourceRow


@dataclass(frozen=True)
class Receipt:
    """A temporary thing: Azure's type, its name and group, and three times (UTC).

    `made` is recorded before the thing is there, `deleted` after it is gone as its owner knows; `verified_gone` is when
    somebody looked at the machine for it (`verification.py`), none when nobody could.
    """

    type: str
    name: str
    group: str
    made: datetime
    deleted: datetime | None
    verified_gone: datetime | None

    @property
    def as_data(self) -> dict[str, Any]:
        """As JSON has it; times as ISO 8601."""
        times = {name: value.isoformat() for name, value in asdict(self).items() if isinstance(value, datetime)}
        return {**asdict(self), **times}


def receipts_of(store: Store, run_id: str) -> list[Receipt]:
    """The receipts of a run in the order things were made. Raises: `RunNotFound`."""
    group = store.runs.find(run_id).staging_group
    return [receipt(row) for row in store.staging.resources_of(group) if row.run_id == run_id]


def receipt(row: StagingResourceRow) -> Receipt:
    """The receipt of a staging resource; pure."""
    deleted = row.deleted if row.state == ResourceState.DELETED else None
    return Receipt(row.type, row.name, row.group_name, row.created, deleted, row.verified)
