"""What is recorded of each request and each run, and would grow for ever: what may go, and how it goes.

Nothing that goes on is among it, and the newest run of each image template stays, for that is its `lastRunStatus`. So
do the runs that a trigger counts to see whether its template is suspended, and those that a deployment script tells of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vmkiln.azure_names import DEPLOYMENT_SCRIPT, TRIGGER, OperationStatus, ProvisioningState
from vmkiln.store.bounded.quota import DEPLOYMENTS
from vmkiln.store.engine import Connections
from vmkiln.store.rows import ResourceState
from vmkiln.store.run_table import OF_RUNS
from vmkiln.store.tables import SUBSCRIPTION_OF_RUN, operations, resources, runs, staging_groups, staging_resources

MOST_OPERATIONS = 50_000  # of a subscription
MOST_AT_ONCE = 500  # rows in one transaction, so that nobody waits long for the write lock
MOST_DEPLOYMENTS = 775  # of a group, as on Azure, which then deletes its oldest until 750 are left
DEPLOYMENTS_LEFT = 750
MOST_RUNS_AT_ONCE = 20_000  # in one look
MOST_GONE_GROUPS = 50_000  # of staging resource groups, so long as hosts may still have files of them
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


@dataclass(frozen=True)
class OldDeployment:
    """A deployment that may go as it was seen; it has another `etag` when it was put once more."""

    id: str
    etag: str


class OldRecords:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def forget_operations(self, *, older_than: datetime, most: int = MOST_OPERATIONS) -> int:
        """Delete some operations that are over and too old, or too many of their subscription; returns how many.

        One of a run is over when that is, and as old as the run's end, or as its own start where the run is gone.
        """
        place = sa.func.row_number().over(
            partition_by=operations.c.subscription_id,
            order_by=(operations.c.started.desc(), operations.c.operation_id),
        )
        end_of_run = sa.select(runs.c.ended).where(runs.c.run_id == operations.c.run_id).scalar_subquery()
        when = sa.func.coalesce(end_of_run, operations.c.ended, operations.c.started)
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

    def old_deployments(self, *, most: int = MOST_DEPLOYMENTS, left: int = DEPLOYMENTS_LEFT) -> Sequence[OldDeployment]:
        """The deployments that are over and too many of their group or subscription, the oldest first."""
        same = (resources.c.subscription_id, resources.c.resource_group)
        crowded = sa.select(*same).where(resources.c.type == DEPLOYMENTS).group_by(*same)
        state = resources.c.properties["provisioningState"].as_string()
        found: list[OldDeployment] = []
        with self._connections.reading() as connection:
            for row in connection.execute(crowded.having(sa.func.count() > most)).all():
                here = sa.and_(*(column == value for column, value in zip(same, row, strict=True)))
                its = sa.and_(here, resources.c.type == DEPLOYMENTS)
                count = connection.execute(sa.select(sa.func.count()).where(its)).scalar() or 0
                over = sa.select(resources.c.id, resources.c.etag).where(its, state != ProvisioningState.RUNNING)
                oldest = connection.execute(over.order_by(resources.c.changed).limit(count - left))
                found += [OldDeployment(row.id, row.etag) for row in oldest]
        return found

    def crowding_deployments(
        self, *, ended_before: datetime, most: int, most_bytes: int, left: float
    ) -> Sequence[OldDeployment]:
        """The oldest deployments that are over of each subscription that has more resources, or bytes of them.

        As many as it takes until no more than this part of both is left.
        """
        subscription, count = resources.c.subscription_id, sa.func.count()
        size = sa.func.sum(resources.c.size_bytes)
        full = sa.select(subscription, count, size).where(subscription != "").group_by(subscription)
        state = resources.c.properties["provisioningState"].as_string()
        found: list[OldDeployment] = []
        with self._connections.reading() as connection:
            for name, number, total in connection.execute(full.having(sa.or_(count > most, size > most_bytes))).all():
                over = sa.select(resources.c.id, resources.c.etag, resources.c.size_bytes).where(
                    subscription == name,
                    resources.c.type == DEPLOYMENTS,
                    state != ProvisioningState.RUNNING,
                    resources.c.changed < ended_before,
                )
                numbers, sizes = number - most * left, int(total) - most_bytes * left
                for row in connection.execute(over.order_by(resources.c.changed).limit(MOST_RUNS_AT_ONCE)):
                    if numbers <= 0 and sizes <= 0:
                        break
                    found.append(OldDeployment(row.id, row.etag))
                    numbers, sizes = numbers - 1, sizes - row.size_bytes
        return found

    def old_runs(
        self, *, older_than: datetime, ended_before: datetime, most: int, most_bytes: int, of_triggered: int
    ) -> Sequence[OldRun]:
        """Some runs that ended too long ago, or are too many or too much of their subscription, the oldest first.

        Only of those that ended before a moment, for whoever waited for one asks for its end; and without the newest
        ones of a template, of which one that has a trigger keeps `of_triggered`.
        """
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
        triggered = sa.select(resources.c.parent).where(resources.c.type == TRIGGER.lower())
        newest = sa.case((places.c.template_id.in_(triggered), of_triggered), else_=1)
        may_go = sa.or_(places.c.template_id == "", places.c.of_template > newest)
        query = sa.select(places.c.run_id, places.c.staging_group).where(is_old, may_go, places.c.ended < ended_before)
        told = sa.select(resources.c.state["runs"]).where(resources.c.type == DEPLOYMENT_SCRIPT.lower())
        with self._connections.reading() as connection:
            kept = {run_id for named in connection.execute(told).scalars() for run_id in (named or {}).values()}
            found = connection.execute(query.order_by(places.c.ended).limit(MOST_RUNS_AT_ONCE))
            return [OldRun(row.run_id, row.staging_group) for row in found if row.run_id not in kept]

    def forget_runs(self, run_ids: Sequence[str]) -> int:
        """Delete ended runs with all rows that are of them, in one transaction; returns how many.

        One that goes on is left as it is.
        """
        with self._connections.begin() as connection:
            over = sa.and_(runs.c.run_id.in_(run_ids), runs.c.ended.is_not(None))
            found = list(connection.execute(sa.select(runs.c.run_id).where(over).with_for_update()).scalars())
            for table in (*OF_RUNS, runs):
                connection.execute(table.delete().where(table.c.run_id.in_(found)))
            its = staging_resources.c.run_id.in_(found)
            connection.execute(
                staging_resources.delete().where(its, staging_resources.c.state == ResourceState.DELETED)
            )
            return len(found)

    def old_groups(self, *, older_than: datetime, most: int = MOST_GONE_GROUPS) -> Sequence[str]:
        """Some staging resource groups that were deleted too long ago, or are too many, and of which nothing is left.

        No run on record worked in them. Also such of image templates that never ran.
        """
        place = sa.func.row_number().over(order_by=(staging_groups.c.deleted.desc(), staging_groups.c.name))
        inside = sa.select(staging_resources.c.group_name).where(staging_resources.c.state != ResourceState.DELETED)
        places = (
            sa.select(staging_groups.c.name, staging_groups.c.deleted, place.label("place"))
            .where(
                staging_groups.c.deleted.is_not(None),
                staging_groups.c.name.not_in(inside),
                staging_groups.c.name.not_in(sa.select(runs.c.staging_group)),
            )
            .subquery()
        )
        query = sa.select(places.c.name).where(sa.or_(places.c.deleted < older_than, places.c.place > most))
        with self._connections.reading() as connection:
            return list(connection.execute(query.limit(MOST_RUNS_AT_ONCE)).scalars())

    def forget_groups(self, names: Sequence[str]) -> int:
        """Delete the records of staging resource groups and of what was in them, in one transaction; returns how many.

        One that was made anew meanwhile is left as it is.
        """
        with self._connections.begin() as connection:
            gone = sa.and_(staging_groups.c.name.in_(names), staging_groups.c.deleted.is_not(None))
            found = list(connection.execute(sa.select(staging_groups.c.name).where(gone).with_for_update()).scalars())
            connection.execute(staging_resources.delete().where(staging_resources.c.group_name.in_(found)))
            connection.execute(staging_groups.delete().where(staging_groups.c.name.in_(found)))
            return len(found)
