"""Whether what was temporary is gone: looked for on the machine, not only believed of the code that deletes.

The VMs, network interfaces, networks and rules of a run are processes and namespaces; its disks are files of its
folder. They are gone when no process has the folder in sight, when the run's control group is gone, and when the folder
is. The looking is done at the end of each attempt, and by who cleans up after a process that died.
"""

import logging

from vmkiln.host.confinement import run_group
from vmkiln.host.usage import left_processes
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.staging_resource_group import lies_in_group
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceState, RunRow, StagingResourceRow
from vmkiln.store.run_facts import RunFacts

log = logging.getLogger(__name__)


def verify(settings: Settings, store: Store, run_id: str) -> list[str]:
    """Look for what the last attempt of a run made here; records what is gone, and returns what is still there.

    What an earlier attempt made is left as it is: it may have been on another host.
    """
    rows, facts = store.staging.unverified(run_id)
    kept = _kept(settings, facts)
    awaited = [row for row in rows if row.number not in kept and is_awaited(row)]
    if not awaited:
        return []
    left = what_is_left(settings, run_id)
    if left:
        log.warning("run %s: no receipt, for something is still there: %s", run_id[:8], ", ".join(left))
        return left
    store.staging.resources_gone([row.number for row in awaited])
    return []


def kept_resources(settings: Settings, run: RunRow) -> frozenset[int]:
    """The numbers of a run's disks that are kept here for a later attempt; who deletes them gives their receipts."""
    return _kept(settings, run.facts)


def _kept(settings: Settings, facts: RunFacts) -> frozenset[int]:
    finished = facts.get("finished")
    if not finished or not (run_directory.kept(settings.runs) / finished["disk"]["folder"]).exists():
        return frozenset()
    return frozenset(finished["disk"]["resources"])


def is_awaited(row: StagingResourceRow) -> bool:
    """Whether a resource was deleted with the run, and nobody has looked for it yet; pure.

    The storage account outlives the run, as does a failed VM that was kept.
    """
    return row.state == ResourceState.DELETED and row.verified is None and not lies_in_group(row)


def what_is_left(settings: Settings, run_id: str) -> list[str]:
    """What of a run is on this machine: its folders, its control group, processes that see one of the folders."""
    folders = [folder for folder in settings.runs.glob(f"{run_id}*") if folder.is_dir()]
    processes = left_processes.seeing(run_directory.folder_of(settings.runs, run_id))
    return [
        *(f"the folder {folder.name}" for folder in folders),
        *(["its control group"] if run_group.is_there(run_id) else []),
        *(f"process {number}" for number in processes),
    ]
