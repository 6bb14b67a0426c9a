"""What a command did itself, in the database of this machine, as an act of the user who ran it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmkiln.store.database import Store


def audited(store: Store, operation: str, resource_id: str, **detail: str) -> None:
    """Record an act. Raises: `StorageFailed`."""
    from vmkiln.audit.act import audit_row, new_cause, operator
    from vmkiln.audit.audit_log import record_here

    row = audit_row(operation, resource_id, who=operator(), cause=new_cause(), moment=store.now(), detail=detail)
    record_here(store.audit, row)
