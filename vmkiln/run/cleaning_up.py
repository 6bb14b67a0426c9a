"""Cleaning up: what was temporary is deleted, always, however the run ended.

Of a staging resource group the storage account outlives the build, with its logs; the virtual machines, their disks
and network interfaces, the container group and the virtual network do not. Processes, links, addresses and rules end
with the run's namespaces, by the kernel; files end with the run's folder.

With errorHandling `abort` the build VM is kept: its disk moves into the staging resource group, where
`vmkiln staging boot` starts it and `vmkiln staging delete` ends it.
"""

import contextlib
import shutil
from collections.abc import Callable

from vmkiln.errors import VmkilnError
from vmkiln.host.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.image_store import reconcile
from vmkiln.run import run_directory
from vmkiln.run.run import GOING_ON, RunState
from vmkiln.run.run_context import Staged
from vmkiln.settings import Settings
from vmkiln.staging.staging_resource_group import STORAGE_ACCOUNT, StagingResourceGroup
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

VIRTUAL_MACHINES = "Microsoft.Compute/virtualMachines"
KEPT_DISK = "kept-vm.qcow2"
MOST_ATTEMPTS = 10  # of one run, when what dies is not the run's own fault


async def keep_vm(staged: Staged, disk: Disk, *, vm_name: str) -> None:
    """Keep a failed VM: its disk, whole and on its own, in the staging resource group."""
    place = staged.host.settings.staging / staged.group.name
    temporary = place / f".{KEPT_DISK}"
    await convert(disk, temporary, target_format="qcow2")
    kept = temporary.rename(place / KEPT_DISK)
    detail = {"path": str(kept), "state": "Stopped", "generation": staged.source.generation}
    number = staged.host.store.add_resource(
        staged.group.name, run_id=staged.request.run_id, type=VIRTUAL_MACHINES, name=f"{vm_name}-kept", detail=detail
    )
    staged.host.store.resource_exists(number)


def end_leftovers(settings: Settings, store: Store, tell: Callable[[str], None]) -> None:
    """Clean up after runs whose process died, by `kill -9` or a pulled plug; every command does this when it starts.

    Their processes are gone already (the kernel ended them). What is left are files and rows.
    """
    # looked at before the locks: a run holds its lock from before it is recorded until its end is
    unended = store.list_runs(limit=None, states=GOING_ON)
    for directory in run_directory.abandoned(settings.runs):
        tell(f"cleaning up after run {directory.name}, whose process died")
        with contextlib.suppress(VmkilnError):
            run_directory.remove(directory)
    for row in unended:
        if not run_directory.is_live(settings.runs, row.run_id) and _end_lost(store, row):
            tell(f"run {row.run_id[:8]} of {row.template_name} waits again: its process died")
    run_directory.forget_locks(settings.runs)
    reconcile(settings.image_store, store, live_run_ids=lambda: run_directory.live_runs(settings.runs))


def _end_lost(store: Store, row: RunRow) -> bool:
    """End a run whose process died: one of a kept template starts anew, unless it was to be cancelled."""
    message, code, state = "the process of this run died before the run ended", "RunLost", RunState.FAILED
    if row.state == RunState.CANCELING:
        message, code, state = "the run was cancelled", "Canceled", RunState.CANCELED
    is_requeued = store.requeue_run(row.run_id, most_attempts=MOST_ATTEMPTS)
    if not is_requeued and not store.move_run(row.run_id, expected=GOING_ON, state=state, message=message, code=code):
        return False  # it ended by itself meanwhile
    store.end_phase(row.run_id)
    for resource in store.list_resources(row.staging_group):
        if resource.run_id == row.run_id and resource.state != "deleted" and resource.type != STORAGE_ACCOUNT:
            store.resource_deleted(resource.number)
    return is_requeued


def forget_unmade(store: Store, run_id: str) -> None:
    """Record what a run meant to make, and never did, as gone: a database may fail in having recorded it."""
    for resource in store.list_resources(store.run(run_id).staging_group):
        if resource.run_id == run_id and resource.state == "creating" and resource.type != STORAGE_ACCOUNT:
            store.resource_deleted(resource.number)


def remains(settings: Settings) -> int:
    """How many folders of dead runs are still there: what could not be deleted."""
    return len(run_directory.abandoned(settings.runs))


def leftovers(store: Store, group: StagingResourceGroup) -> list[str]:
    """What is recorded as still there beside the storage account: empty after every build that was not aborted."""
    return [
        f"{resource.type}/{resource.name}"
        for resource in store.list_resources(group.name)
        if resource.state != "deleted" and resource.type != STORAGE_ACCOUNT
    ]


def free_bytes(settings: Settings) -> int:
    """Free bytes where state lies."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return shutil.disk_usage(settings.home).free
