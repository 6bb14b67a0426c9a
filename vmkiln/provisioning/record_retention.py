"""Records that are only ever added are kept for so long, and so many: operations, deployments, ended runs.

*Leaves behind:* nothing of what went. *Undone by:* nothing. *Safe to repeat:* yes; several hosts may do it at once.
"""

import logging
import shutil
from datetime import timedelta

from vmkiln.run.held import lease
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.bounded.old_records import MOST_AT_ONCE, OldRecords, OldRun
from vmkiln.store.database import Store
from vmkiln.store.locked.scope_locks import held_by

MIB = 1024 * 1024
MOST_ROUNDS = 100  # transactions in one look
MOST_RECORDED_MIB = 1024  # templates and facts of the ended runs of a subscription
log = logging.getLogger(__name__)


def forget_requests(settings: Settings, store: Store) -> int:
    """Delete operations that are over and too old or too many, and the oldest deployments of a group that has many.

    As on Azure, a group that is locked against deletion keeps its deployments. Returns how many records went.
    """
    records, count = OldRecords(store.connections), 0
    oldest = store.now() - timedelta(days=settings.operations_kept_days)
    for _ in range(MOST_ROUNDS):
        gone = records.forget_operations(older_than=oldest)
        count += gone
        if gone < MOST_AT_ONCE:
            break
    for deployment_id in records.old_deployments():
        if not held_by(store.resources, deployment_id, deletes=True):
            count += store.resources.delete(deployment_id)
    if count:
        log.info("%d operations and deployments are not kept any longer", count)
    return count


def forget_runs(settings: Settings, store: Store) -> int:
    """Delete the records of runs that ended too long ago or are too many, with their logs; returns how many.

    The newest run of a template stays, and so does one of which more than a record is left: a failed VM that is held,
    a staging resource group of its own, which `vmkiln run prune` deletes.
    """
    records, count = OldRecords(store.connections), 0
    oldest = store.now() - timedelta(days=settings.runs_kept_days)
    for run in records.old_runs(older_than=oldest, most=settings.most_runs, most_bytes=MOST_RECORDED_MIB * MIB):
        if _is_more(settings, store, run):
            continue
        for folder in settings.staging.glob(f"*/*/{LOGS}/{run.run_id}"):
            shutil.rmtree(folder, ignore_errors=True)
        count += records.forget_run(run.run_id)
    if count:
        log.info("%d ended runs are not kept any longer", count)
    return count


def _is_more(settings: Settings, store: Store, run: OldRun) -> bool:
    """Whether something is left of a run that leads to it."""
    group = store.staging.group(run.staging_group) if run.staging_group else None
    if group is not None and group.run_id == run.run_id:
        return True
    found = store.runs.by_id([run.run_id], has_template=False).get(run.run_id)
    return lease.folder_of(settings, run.run_id).exists() or (found is not None and bool(found.held_until))
