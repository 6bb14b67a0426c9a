"""What is recorded of each request and each run, and would grow for ever: what may go, and how it goes.

Nothing that goes on is among it, and the newest run of each image template stays, for that is its `lastRunStatus`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vmkiln.azure_names import OperationStatus, ProvisioningState
from vmkiln.store.bounded.quota import DEPLOYMENTS
from vmkiln.store.engine import Connections
from vmkiln.store.rows import ResourceState
from vmkiln.store.run_table import OF_RUNS
from vmkiln.store.tables import SUBSCRIPTION_OF_RUN, operations, resources, runs, staging_groups, staging_resources

MOST_OPERATIONS = 50_000  # of a subscription
MOST_AT_ONCE = 500  # rows in one transaction, so that nobody waits long for the write lock
MOST_DEPLOYMENTS = 775  # of a group, as on Azure, which then deletes its oldest until 750 are left
DEPLOYMENTS_LEFT = 750
_is_over = sa.or_(
    sa.and_(operations.c.run_id == "", operations.c.status != OperationStatus.IN_PROGRESS),
    sa.and_(
        operations.c.run_id != "",
        ~sa.exists().where(runs.c.run_id == operations.c.run_id, runs.c.ended.is_(None)),
    ),
)


@dataclass(frozen=True)
class OldRun:
    """A run that may go, and the staging resource group it worked in."""

    run_id: str
    staging_group: str


class OldRecords:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def forget_operations(self, *, older_than: datetime, most: int = MOST_OPERATIONS) -> int:
        """Delete some operations that are over and too old, or too many of their subscription; returns how many.

        One of a run is over when that is, and as old as its start.
        """
        place = sa.func.row_number().over(
            partition_by=operations.c.subscription_id,
            order_by=(operations.c.started.desc(), operations.c.operation_id),
        )
        when = sa.func.coalesce(operations.c.ended, operations.c.started)
        places = sa.select(operations.c.operation_id, place.label("place")).where(_is_over).subquery()
        too_many = sa.select(places.c.operation_id).where(places.c.place > most)
        too_old = sa.select(operations.c.operation_id).where(
            operations.c.started < older_than, when < older_than, _is_over
        )
        with self._connections.reading() as connection:
            found = set(connection.execute(too_old.limit(MOST_AT_ONCE)).scalars())
            found |= set(connection.execute(too_many.limit(MOST_AT_ONCE - len(found))).scalars())
        if not found:
            return 0
        ids = operations.c.operation_id.in_(sorted(found))
        return self._connections.change(operations.delete().where(ids, _is_over))

    def old_deployments(self, *, most: int = MOST_DEPLOYMENTS, left: int = DEPLOYMENTS_LEFT) -> Sequence[str]:
        """The ids of deployments that are over and too many of their group or subscription, the oldest first."""
        same = (resources.c.subscription_id, resources.c.resource_group)
        crowded = sa.select(*same).where(resources.c.type == DEPLOYMENTS).group_by(*same)
        state = resources.c.properties["provisioningState"].as_string()
        found: list[str] = []
        with self._connections.reading() as connection:
            for row in connection.execute(crowded.having(sa.func.count() > most)).all():
                here = sa.and_(*(column == value for column, value in zip(same, row, strict=True)))
                its = sa.and_(here, resources.c.type == DEPLOYMENTS)
                count = connection.execute(sa.select(sa.func.count()).where(its)).scalar() or 0
                over = sa.select(resources.c.id).where(its, state != ProvisioningState.RUNNING)
                found += connection.execute(over.order_by(resources.c.changed).limit(count - left)).scalars()
        return found

    def old_runs(self, *, older_than: datetime, most: int, most_bytes: int) -> Sequence[OldRun]:
        """Some runs that ended too long ago, or are too many or too much of their subscription, the oldest first."""
        subscription: sa.ColumnElement[str] = sa.literal_column(SUBSCRIPTION_OF_RUN)
        newest_first = (runs.c.ended.desc(), runs.c.run_id)
        size = sa.func.length(sa.cast(runs.c.template, sa.Text)) + sa.func.length(sa.cast(runs.c.facts, sa.Text))
        places = (
            sa.select(
                runs.c.run_id,
                runs.c.staging_group,
                runs.c.template_id,
                runs.c.ended,
                sa.func.row_number().over(partition_by=subscription, order_by=newest_first).label("place"),
                sa.func.sum(size).over(partition_by=subscription, order_by=newest_first).label("total"),
                sa.func.row_number().over(partition_by=runs.c.template_id, order_by=newest_first).label("of_template"),
            )
            .where(runs.c.ended.is_not(None))
            .subquery()
        )
        is_old = sa.or_(places.c.ended < older_than, places.c.place > most, places.c.total > most_bytes)
        may_go = sa.or_(places.c.template_id == "", places.c.of_template > 1)
        query = sa.select(places.c.run_id, places.c.staging_group).where(is_old, may_go)
        with self._connections.reading() as connection:
            found = connection.execute(query.order_by(places.c.ended).limit(MOST_AT_ONCE))
            return [OldRun(row.run_id, row.staging_group) for row in found]

    def forget_run(self, run_id: str) -> bool:
        """Delete an ended run with all rows that are of it, and what is gone of its staging resource group.

        False (and nothing changed) when it goes on, or there is none.
        """
        with self._connections.begin() as connection:
            same = sa.and_(runs.c.run_id == run_id, runs.c.ended.is_not(None))
            found = connection.execute(sa.select(runs.c.staging_group).where(same).with_for_update()).first()
            if found is None:
                return False
            for table in (*OF_RUNS, runs):
                connection.execute(table.delete().where(table.c.run_id == run_id))
            gone = sa.and_(staging_resources.c.run_id == run_id, staging_resources.c.state == ResourceState.DELETED)
            connection.execute(staging_resources.delete().where(gone))
            _forget_group(connection, found.staging_group)
            return True


def _forget_group(connection: Connection, name: str) -> None:
    """Delete the record of a staging resource group that is gone, when nothing is of it any more."""
    inside = sa.exists().where(
        staging_resources.c.group_name == name, staging_resources.c.state != ResourceState.DELETED
    )
    used = sa.exists().where(runs.c.staging_group == name)
    gone = sa.and_(staging_groups.c.name == name, staging_groups.c.deleted.is_not(None), ~inside, ~used)
    if connection.execute(sa.select(staging_groups.c.name).where(gone)).first() is not None:
        connection.execute(staging_resources.delete().where(staging_resources.c.group_name == name))
        connection.execute(staging_groups.delete().where(staging_groups.c.name == name))
