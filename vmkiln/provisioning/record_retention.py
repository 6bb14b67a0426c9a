"""Records that are only ever added are kept for so long, and so many: operations, deployments, ended runs.

*Leaves behind:* nothing of what went. *Undone by:* nothing. *Safe to repeat:* yes; several hosts may do it at once.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

from vmkiln.provisioning.watching import LOOKED_AT_RUNS
from vmkiln.run.held import lease
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.bounded.old_records import (
    DEPLOYMENTS_LEFT,
    MOST_AT_ONCE,
    MOST_DEPLOYMENTS,
    OldRecords,
    OldRun,
)
from vmkiln.store.bounded.quota import Quota
from vmkiln.store.database import Store
from vmkiln.store.locked.scope_locks import held_by

T = TypeVar("T")
MIB = 1024 * 1024
MOST_ROUNDS = 100  # transactions in one look
MOST_RECORDED_MIB = 1024  # templates and facts of the ended runs of a subscription
HEARD_HOURS = 1  # after the end of a run or deployment: whoever waited for it has asked by then how it ended
NEARLY_FULL = 0.9  # of what a subscription may keep
GONE_GROUP_DAYS = 7  # as long as a host may be away that has files of a staging resource group which was deleted
log = logging.getLogger(__name__)


def forget_requests(settings: Settings, store: Store) -> int:
    """Delete operations that are over and too old or too many, and the oldest deployments of a group that has many.

    Where a subscription is nearly full, its oldest deployments go, too: a record of what was done is not to keep anyone
    from doing more. As on Azure, a group that is locked against deletion keeps its deployments. Returns how many
    records went.
    """
    records, count = OldRecords(store.connections), 0
    oldest = store.now() - timedelta(days=settings.operations_kept_days)
    for _ in range(MOST_ROUNDS):
        gone = records.forget_operations(older_than=oldest)
        count += gone
        if gone < MOST_AT_ONCE:
            break
    most, left = most_deployments(settings.most_resources_of_a_type)
    crowding = records.crowding_deployments(
        ended_before=store.now() - timedelta(hours=HEARD_HOURS),
        most=int(settings.most_resources * NEARLY_FULL),
        most_bytes=int(settings.most_resource_mib * MIB * NEARLY_FULL),
        left=NEARLY_FULL,
    )
    for deployment in (*records.old_deployments(most=most, left=left), *crowding):
        if not held_by(store.resources, deployment.id, deletes=True):
            count += store.resources.delete(deployment.id, etag=deployment.etag)
    if count:
        log.info("%d operations and deployments are not kept any longer", count)
    return count


def most_deployments(most_of_a_type: int) -> tuple[int, int]:
    """How many deployments a group may have before the oldest go, and how many stay then; pure.

    As on Azure with its quota, and in proportion to a smaller one: else the quota would be reached first, and nothing
    would ever make room.
    """
    whole = Quota().most_resources_of_a_type
    quota = min(most_of_a_type, whole)
    return max(1, MOST_DEPLOYMENTS * quota // whole), max(1, DEPLOYMENTS_LEFT * quota // whole)


def forget_runs(settings: Settings, store: Store) -> int:
    """Delete the records of runs that ended too long ago or are too many, with their logs; returns how many.

    The newest run of a template stays, and so does one of which more than a record is left: a failed VM that is held,
    a staging resource group of its own, which `vmkiln run prune` deletes. Then those of staging resource groups go of
    which nothing is left.
    """
    records, count, now = OldRecords(store.connections), 0, store.now()
    old = records.old_runs(
        older_than=now - timedelta(days=settings.runs_kept_days),
        ended_before=now - timedelta(hours=HEARD_HOURS),
        most=settings.most_runs,
        most_bytes=MOST_RECORDED_MIB * MIB,
        of_triggered=LOOKED_AT_RUNS,
    )
    for some in _pieces(old):
        going = _only_recorded(settings, store, some)
        for run in going:
            for folder in (settings.staging / run.staging_group).glob(f"*/{LOGS}/{run.run_id}"):
                shutil.rmtree(folder, ignore_errors=True)
        count += records.forget_runs([run.run_id for run in going])
    for names in _pieces(records.old_groups(older_than=now - timedelta(days=GONE_GROUP_DAYS))):
        records.forget_groups(names)
    if count:
        log.info("%d ended runs are not kept any longer", count)
    return count


def _only_recorded(settings: Settings, store: Store, runs: Sequence[OldRun]) -> list[OldRun]:
    """Those of these runs of which nothing is left that a run's record leads to."""
    groups = store.staging.groups({run.staging_group for run in runs if run.staging_group})
    own = {run.run_id for run in runs if run.staging_group in groups and groups[run.staging_group].run_id == run.run_id}
    known = store.runs.by_id([run.run_id for run in runs], has_template=False)
    held = {run_id for run_id, run in known.items() if run.held_until or lease.folder_of(settings, run_id).exists()}
    return [run for run in runs if run.run_id not in own | held]


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[first : first + MOST_AT_ONCE] for first in range(0, len(items), MOST_AT_ONCE))
