"""From what the database gives to the frozen values of rows.py."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import RowMapping

from vmkiln.run_state import RunState
from vmkiln.store.rows import ImageDefinitionRow, ImageRow, RunRow, StagingGroupRow


def aware(value: datetime) -> datetime:
    """A time with its zone: SQLite gives UTC without saying so."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def maybe_aware(value: datetime | None) -> datetime | None:
    """The same, for what may not have happened yet."""
    return None if value is None else aware(value)


def run_row(row: dict[str, Any]) -> RunRow:
    """A run."""
    return RunRow(
        **{**row, "state": RunState(row["state"]), "started": aware(row["started"]), "ended": maybe_aware(row["ended"])}
    )


def staging_group_row(row: dict[str, Any]) -> StagingGroupRow:
    """A staging resource group."""
    return StagingGroupRow(**{**row, "created": aware(row["created"]), "deleted": maybe_aware(row["deleted"])})


def definition_row(row: dict[str, Any]) -> ImageDefinitionRow:
    """An image definition."""
    values = {name: value for name, value in row.items() if name != "key"}
    return ImageDefinitionRow(**{**values, "created": aware(row["created"])})


def image_row(row: dict[str, Any] | RowMapping) -> ImageRow:
    """A published image."""
    values = {name: value for name, value in dict(row).items() if name != "key"}
    return ImageRow(**{**values, "path": Path(row["path"]), "created": aware(row["created"])})
