"""Cleaning up: what was temporary is deleted, always, however the run ended.

Of a staging resource group the storage account outlives the build, with its logs; the virtual machines, their disks
and network interfaces, the container group and the virtual network do not. Processes, links, addresses and rules end
with the run's namespaces, by the kernel; files end with the run's folder.

With errorHandling `abort` a failed VM is kept. Where it does not lie on disk, sealed, for a time (`run/held`), its disk
moves into the staging resource group. `vmkiln staging boot` starts either, and `vmkiln staging delete` ends it.
"""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vmkiln.azure_names import IMAGE_TEMPLATE, STORAGE_ACCOUNT, VIRTUAL_MACHINE
from vmkiln.errors import VmkilnError
from vmkiln.files.durable_file import is_part, make_folder, remove_abandoned_part, reported, sync
from vmkiln.host.disk.disk_image import convert
from vmkiln.host.host_id import host_id
from vmkiln.host.qemu import Disk
from vmkiln.host.saved import saved_vm
from vmkiln.images import vhd_image
from vmkiln.images.data_disk import file_beside, files_beside
from vmkiln.images.image_note import NOTES, forget_lost, note_down, noted
from vmkiln.images.image_store import reconcile, shared_object_of
from vmkiln.images.quarantine import not_on_record
from vmkiln.inspecting import source_contents
from vmkiln.platform_images import image_cache
from vmkiln.receipts.verification import verify
from vmkiln.run.finished import kept_disk
from vmkiln.run.held import lease
from vmkiln.run.run_context import Disks, Staged
from vmkiln.run.run_event import Notice
from vmkiln.run.starts import beside_runs
from vmkiln.run_state import GOING_ON, RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.staging_resource_group import StagingResourceGroup, lies_in_group
from vmkiln.staging.storage_account import VHDS
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceState
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm import checkpoint

KEPT_DISK = "kept-vm.qcow2"
log = logging.getLogger(__name__)


async def keep_failed_vm(staged: Staged, before: Sequence[str], *, vm_name: str) -> None:
    """Keep a failed VM, as errorHandling asks; its overlays lie on those of the names before it."""
    disks = staged.source.disks
    for name in dict.fromkeys((*before, vm_name)):
        disks = await off_loop(_upon, disks, staged.directory / f"{name}.qcow2")
    await keep_vm(staged, disks, vm_name=vm_name)
    staged.tell(Notice(f"the {vm_name} is kept in {staged.group.name}, as errorHandling asks", is_warning=True))


def _upon(below: Disks, os_disk: Path) -> Disks:
    """The disks of a VM whose overlays lie on these, and its additional ones; the same where it never was."""
    if not os_disk.exists():
        return below
    data = dict(below.data)
    for lun, file in files_beside(os_disk).items():
        data[lun] = Disk(file, "qcow2", backing=below.data.get(lun))
    return Disks(Disk(os_disk, "qcow2", backing=below.os), data)


async def keep_vm(staged: Staged, disks: Disks, *, vm_name: str) -> None:
    """Keep a failed VM: its disks, whole and on their own, in the staging resource group."""
    os_disk = staged.host.settings.staging / staged.group.name / KEPT_DISK
    kept = {file_beside(os_disk, lun): disk for lun, disk in disks.data.items()} | {os_disk: disks.os}
    for file, disk in kept.items():
        await convert(disk, _unnamed(file), target_format="qcow2")
    await off_loop(_record_kept, staged, list(kept), os_disk, vm_name)


def _unnamed(file: Path) -> Path:
    return file.with_name(f".{file.name}")


def _record_kept(staged: Staged, files: Sequence[Path], disk: Path, vm_name: str) -> None:
    with reported(f"keeping the disk of the {vm_name}"):
        for file in files:
            sync(_unnamed(file))
            _unnamed(file).rename(file)
        sync(disk.parent)
    detail = {"path": str(disk), "state": "Stopped", "generation": staged.source.generation}
    detail["architecture"] = str(staged.source.architecture)
    staging, run_id = staged.host.store.staging, staged.request.run_id
    number = staging.add_resource(
        staged.group.name, run_id=run_id, type=VIRTUAL_MACHINE, name=f"{vm_name}-kept", detail=detail
    )
    staging.resource_exists(number)


def end_leftovers(settings: Settings, store: Store, tell: Callable[[str], None]) -> None:
    """Clean up after runs of this host whose process died, by `kill -9` or a pulled plug; every command does this.

    Their processes are gone already (the kernel ended them). What is left are files and rows. Runs of other hosts, and
    runs that this one has a place for and did not begin, are not judged here (`fleet/hosting.py`).

    Raises: what went wrong first, after all the rest was cleaned up; what went wrong besides is in the log.
    """
    problems: list[Exception] = []
    # looked at before the locks: a run holds its lock from before it is recorded until its end is
    here = host_id(settings)
    unended = [run for run in store.runs.list(limit=None, states=GOING_ON) if run.facts.get("host_id", here) == here]
    for directory in run_directory.abandoned(settings.runs):
        tell(f"cleaning up after run {directory.name}, whose process died")
        with contextlib.suppress(VmkilnError):
            run_directory.remove(directory)
    for row in unended:
        if run_directory.is_live(settings.runs, row.run_id):
            continue
        with _going_on(problems):
            if store.runs.end_lost(row, most_attempts=settings.most_run_attempts) == RunState.QUEUED:
                tell(f"run {row.run_id[:8]} of {row.template_name} waits again: its process died")
        with _going_on(problems):
            verify(settings, store, row.run_id)
    with _going_on(problems):
        for what in beside_runs.give_back_left(settings, store):
            tell(f"room of this host is given back that was taken for {what}: its process died")
    with _going_on(problems):
        kept_disk.forget_unwanted(settings, store)
    with _going_on(problems):
        run_directory.forget_locks(settings.runs)
    with _going_on(problems):
        reconcile(settings.image_store, store, live_run_ids=lambda: run_directory.live_runs(settings.runs))
    with _going_on(problems):
        _end_lost_vhds(settings, store)
    with _going_on(problems):
        image_cache.remove_leftovers(settings.image_cache)
    with _going_on(problems):
        source_contents.remove_left(settings.source_contents)
    with _going_on(problems):
        for run_id, reason in lease.remove_over(settings, store).items():
            tell(f"the failed VM of run {run_id[:8]} is not held any more: {reason}")
    with _going_on(problems):
        saved_vm.remove_left(settings.saved_vms)
        checkpoint.remove_old(settings.saved_vms, live_templates=lambda: _template_ids(store))
    if problems:
        raise problems[0]


def _template_ids(store: Store) -> frozenset[str]:
    """The ids of all template resources, in small letters."""
    return frozenset(row.id.lower() for row in store.resources.list(type=IMAGE_TEMPLATE))


@contextlib.contextmanager
def _going_on(problems: list[Exception]) -> Iterator[None]:
    """Note an error of the block, and go on behind it: what cannot be deleted keeps nothing else from it."""
    try:
        yield
    except Exception as error:
        if problems:
            log.warning("a clean-up failed, too: %s", error, exc_info=error)
        problems.append(error)


def _end_lost_vhds(settings: Settings, store: Store) -> None:
    """Delete the VHDs that no record names: their run died between giving them their name and recording them.

    One that is being fetched from another host has a record, and no name yet; its maker holds its lock. One that has a
    note was on record once: it stays (`images/quarantine.py`).
    """
    # in this order: what gets its name later is not looked at, and a run that is over has recorded what it made
    found = sorted(settings.staging.glob(f"*/*/{VHDS}/*"))
    vhds = [path for path in found if not is_part(path)]
    for part in found:
        if is_part(part):
            remove_abandoned_part(part)
    notes = sorted(settings.staging.glob(f"*/{NOTES}/*.json"))
    if not vhds and not notes:
        return
    live = store.runs.by_id(run_directory.live_runs(settings.runs)).values()
    groups = {run.staging_group for run in live}
    recorded = {image.path: image for image in store.images.list() if image.kind == vhd_image.KIND}
    note_down(
        (recorded[path] for path in vhds if path in recorded and not shared_object_of(recorded[path])), settings.home
    )
    forget_lost(notes, vhds)
    kept = not_on_record((image for note in notes if (image := noted(note, settings.home)) is not None), store)
    kept_paths = {image.path for image in kept}
    lost = [path for path in vhds if path not in recorded and path.relative_to(settings.staging).parts[0] not in groups]
    lost = [path for path in lost if path not in kept_paths]
    if lost:
        store.confirm_undone()  # no record of them can come back
    for path in lost:
        path.unlink(missing_ok=True)


def forget_unmade(store: Store, run_id: str) -> None:
    """Record what a run meant to make as gone, when all that it made is: a database may fail in having recorded it."""
    rows = store.staging.resources_of(store.runs.find(run_id).staging_group)
    left = [row for row in rows if row.run_id == run_id and row.state != ResourceState.DELETED]
    store.staging.resources_deleted([row.number for row in left if not lies_in_group(row)])


def remains(settings: Settings) -> int:
    """How many folders of dead runs are still there: what could not be deleted."""
    return len(run_directory.abandoned(settings.runs))


def leftovers(store: Store, group: StagingResourceGroup) -> list[str]:
    """What is recorded as still there beside the storage account: empty after every build that was not aborted."""
    return [
        f"{resource.type}/{resource.name}"
        for resource in store.staging.resources_of(group.name)
        if resource.state != ResourceState.DELETED and resource.type != STORAGE_ACCOUNT
    ]


def free_bytes(settings: Settings) -> int:
    """Free bytes where state lies."""
    make_folder(settings.home)
    return shutil.disk_usage(settings.home).free
