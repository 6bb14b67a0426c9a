"""What tells one revision of a resource from another: its etag, who changed it, and when."""

from datetime import datetime
from typing import Any

from vmkiln.api.protocol.route import Call
from vmkiln.azure_names import utc_text
from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow


def check_etag(call: Call, row: ResourceRow | None) -> None:
    """If-Match and If-None-Match (RFC 9110, section 13). Raises: `ArmError` 412."""
    wanted, unwanted = call.headers.get("if-match", ""), call.headers.get("if-none-match", "")
    current = etag_of(row) if row else ""
    failed = (wanted and (row is None or (wanted != "*" and current not in wanted.split(", ")))) or (
        unwanted and row is not None and (unwanted == "*" or current in unwanted.split(", "))
    )
    if failed:
        raise ArmError(
            412, "PreconditionFailed", "The resource is not in the state that If-Match or If-None-Match asks"
        )


def system_data(row: ResourceRow) -> dict[str, Any]:
    """Who made and who changed a resource, and when."""
    return {
        "createdBy": row.created_by,
        "createdByType": "Application",
        "createdAt": time_text(row.created),
        "lastModifiedBy": row.changed_by,
        "lastModifiedByType": "Application",
        "lastModifiedAt": time_text(row.changed),
    }


def etag_of(row: ResourceRow) -> str:
    """The value of the ETag header."""
    return f'"{row.etag}"'


def time_text(moment: datetime | None) -> str | None:
    """A moment (UTC) as ARM writes it: ISO 8601 with a Z."""
    return None if moment is None else utc_text(moment, timespec="microseconds")
