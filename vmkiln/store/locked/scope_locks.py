"""Locks on scopes: which of them stand in the way of a change; the resources of type Microsoft.Authorization/locks.

A lock holds for its scope and all below; a deletion takes with it what lies below, so locks there hold it, too.
Source: Microsoft, "Lock your Azure resources to protect your infrastructure".
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from vmkiln.azure_names import LOCK
from vmkiln.store.resource_table import ResourceTable
from vmkiln.store.rows import ResourceRow

LOCKS = f"/providers/{LOCK}/".lower()


class Level(StrEnum):
    """What a lock keeps from being done."""

    CAN_NOT_DELETE = "CanNotDelete"
    READ_ONLY = "ReadOnly"


def scope_of(lock_id: str) -> str:
    """The id of what a lock is on; pure."""
    return lock_id[: lock_id.lower().rindex(LOCKS)]


def in_the_way(locks: Iterable[ResourceRow], resource_id: str, *, deletes: bool) -> list[str]:
    """The scopes whose locks keep a resource from being deleted, or written; pure."""
    wanted, found = f"{resource_id.lower().rstrip('/')}/", []
    for lock in locks:
        scope = scope_of(lock.id)
        place = f"{scope.lower()}/"
        is_held = deletes or lock.properties.get("level") == Level.READ_ONLY
        if is_held and (wanted.startswith(place) or (deletes and place.startswith(wanted))):
            found.append(scope)
    return sorted(set(found))


def held_by(table: ResourceTable, resource_id: str, *, deletes: bool) -> list[str]:
    """The scopes whose locks keep a resource of a subscription from being deleted, or written.

    Asked for are the locks of its group and those of no group: another group's hold nothing of it, however many.
    """
    _, _, subscription, *rest = resource_id.lower().rstrip("/").split("/")
    if len(rest) < 2:  # the subscription as a whole
        locks: Sequence[ResourceRow] = table.list(type=LOCK, subscription_id=subscription)
    else:
        groups = {"", rest[1] if rest[0] == "resourcegroups" else ""}
        locks = table.of_groups(LOCK, subscription, groups)
    return in_the_way(locks, resource_id, deletes=deletes)


def refusal(resource_id: str, scopes: Iterable[str], *, deletes: bool) -> str:
    """Azure's words for it; pure."""
    what = "delete" if deletes else "write"
    locked = ", ".join(f"'{scope}'" for scope in scopes)
    return (
        f"The scope '{resource_id}' cannot perform {what} operation because following scope(s) are locked: {locked}. "
        "Please remove the lock and try again."
    )
