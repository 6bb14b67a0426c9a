"""What a command did itself, in the database of this machine, as an act of the user who ran it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmkiln.store.database import Store


@dataclass
class Acted:
    """What a block does: its resource, when that is known only afterwards."""

    resource_id: str


@contextlib.contextmanager
def audited(
    store: Store, operation: str, resource_id: str, *, is_first: bool = False, **detail: str
) -> Iterator[Acted]:
    """An act: its first change in the database takes it along, in one transaction.

    `is_first`: the act is recorded before the block, for what is done to files. One that fails before it changed
    anything is none. Raises: `StorageFailed`.
    """
    from vmkiln.audit.act import DONE, Outcome, audit_row, begun, ended, new_cause, operator
    from vmkiln.audit.audit_log import record_here
    from vmkiln.errors import VmkilnError

    who, cause, acted = operator(), new_cause(), Acted(resource_id)

    def record(outcome: Outcome) -> None:
        act = audit_row(
            operation,
            acted.resource_id,
            who=who,
            cause=cause,
            moment=store.now(),
            outcome=outcome,
            detail=detail,
        )
        record_here(store.audit, ended(going_on, act))

    going_on = begun(audit_row(operation, resource_id, who=who, cause=cause, moment=store.now(), detail=detail))
    if is_first:
        store.audit.begin(going_on)
    try:
        with going_on.going_on():
            yield acted
    except VmkilnError as error:
        if going_on.number:
            with contextlib.suppress(VmkilnError):  # the first error counts
                record(Outcome(error_code=error.code))
        raise
    record(DONE)
