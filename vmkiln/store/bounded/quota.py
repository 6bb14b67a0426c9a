"""How many resources a subscription may keep, and how many bytes of them; looked at in the transaction that adds one.

Both databases have one writer at a time, so that two at once never both take the last place.
Source: Azure's numbers for the Resource Manager and for role assignments ("Azure subscription and service limits,
quotas, and constraints"); its words for a group too many ("would exceed the quota of '980'"). Bounds of all that a
subscription keeps are ours: Azure tells none.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.errors import QuotaReached
from vmkiln.store.tables import resources, role_assignments

MIB = 1024 * 1024
SMALL_BYTES = 64 * 1024  # an update to no more than this needs no room: a subscription that is full can be put right
GROUPS = "microsoft.resources/resourcegroups"
DEPLOYMENTS = "microsoft.resources/deployments"
LOCKS = "microsoft.authorization/locks"  # which have bounds of their own, of a scope and of a subscription


@dataclass(frozen=True)
class Quota:
    """What a subscription may keep; the defaults are those of the settings of the same names."""

    most_resources_of_a_type: int = 800
    most_resource_groups: int = 980
    most_resources: int = 20_000
    most_resource_mib: int = 1024
    most_role_assignments: int = 4000

    def check_new(self, connection: Connection, row: dict[str, Any]) -> None:
        """A resource more may be kept; `row` has its columns. Raises: `QuotaReached`."""
        kind, name = row["type"], row["state"]["type"]
        if kind == GROUPS:
            self._check_groups(connection, row)
        elif kind != LOCKS:
            self._check_kind(connection, row, kind, name)
        count, size = _kept(connection, row["subscription_id"])
        if count >= self.most_resources:
            raise _reached("ResourceQuotaExceeded", f"the resource of type '{name}'", self.most_resources, "resources")
        self._check_bytes(size + row["size_bytes"], name)

    def check_changed(self, connection: Connection, row: dict[str, Any], *, before: int) -> None:
        """A resource that has `before` bytes may become that of `row`. Raises: `QuotaReached`."""
        if row["size_bytes"] > max(before, SMALL_BYTES):
            _, size = _kept(connection, row["subscription_id"])
            self._check_bytes(size - before + row["size_bytes"], row["state"]["type"])

    def check_room(self, connection: Connection, subscription_id: str, name: str) -> None:
        """There is room for what a resource that is there will grow by. Raises: `QuotaReached`."""
        self._check_bytes(_kept(connection, subscription_id.lower())[1], name)

    def check_role(self, connection: Connection, scope: str) -> None:
        """A role more may be given in a subscription, or above all of them. Raises: `QuotaReached`."""
        inside = scope.lower().split("/")[:3]  # '', 'subscriptions', its id
        same = role_assignments.c.scope == scope
        if len(inside) > 2:
            place = sa.func.lower(role_assignments.c.scope)
            same = sa.or_(place == "/".join(inside), place.startswith("/".join(inside) + "/", autoescape=True))
        if _count(connection, sa.select(sa.func.count()).where(same)) >= self.most_role_assignments:
            most = self.most_role_assignments
            raise _reached("RoleAssignmentLimitExceeded", "the role assignment", most, "role assignments")

    def _check_groups(self, connection: Connection, row: dict[str, Any]) -> None:
        most, same = self.most_resource_groups, resources.c.subscription_id == row["subscription_id"]
        if _count(connection, sa.select(sa.func.count()).where(resources.c.type == GROUPS, same)) >= most:
            raise _reached("ResourceGroupQuotaExceeded", f"the resource group '{row['name']}'", most, "resource groups")

    def _check_kind(self, connection: Connection, row: dict[str, Any], kind: str, name: str) -> None:
        """Of one type in one resource group or, nested, in one parent."""
        if row["parent"]:
            where, same = "of its parent", [resources.c.parent == row["parent"]]
        else:
            where = "per resource group" if row["resource_group"] else "per subscription"
            columns = ("subscription_id", "resource_group")
            same = [resources.c[column] == row[column] for column in columns]
        most = self.most_resources_of_a_type
        if _count(connection, sa.select(sa.func.count()).where(resources.c.type == kind, *same)) < most:
            return
        if kind == DEPLOYMENTS:
            raise _reached("DeploymentQuotaExceeded", f"the deployment '{row['name']}'", most, f"deployments {where}")
        named = f"resources of type '{name}' {where}"
        raise _reached("ResourceQuotaExceeded", f"the resource of type '{name}'", most, named)

    def _check_bytes(self, size: int, name: str) -> None:
        if size > self.most_resource_mib * MIB:
            what, kept = f"the resource of type '{name}'", "MiB of all resources of the subscription"
            raise _reached("ResourceQuotaExceeded", what, self.most_resource_mib, kept)


def _kept(connection: Connection, subscription_id: str) -> tuple[int, int]:
    """How many resources a subscription has, and their bytes; by an index that has both."""
    size = sa.func.coalesce(sa.func.sum(resources.c.size_bytes), 0)
    query = sa.select(sa.func.count(), size).where(resources.c.subscription_id == subscription_id)
    count, total = connection.execute(query).one()
    return int(count), int(total)


def _count(connection: Connection, query: "sa.Select[Any]") -> int:
    return int(connection.execute(query).scalar() or 0)


def _reached(code: str, what: str, most: int, of: str) -> QuotaReached:
    message = f"Creating or updating {what} would exceed the quota of '{most}' {of}."
    return QuotaReached(code, message, hint="delete some that nobody needs, or ask the operator for a larger quota")
