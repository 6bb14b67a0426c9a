"""The customized disk of a run, kept on its host until the run has ended, so that a later attempt goes on from it.

A build VM's disk is written without a flush, so its bytes are the kernel's until somebody asks for them. The disk
counts when QEMU ended by itself and the whole chain was synced: its overlays, and the source below them, whose names in
the folder are links. Only then the run's record names the folder (`finished_work.py`). A folder that no record names is
a leftover of a process that died before.

*Leaves behind:* a folder in `kept/`. *Undone by:* `forget`, at the end of the run; whatever that misses,
`forget_unwanted`. *Safe to repeat:* yes, under another attempt's number.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

from vmkiln.azure_names import DISK
from vmkiln.errors import CleanUpFailed, StorageFailed, VmkilnError
from vmkiln.files.durable_file import make_folder, reported, sync
from vmkiln.host.host_id import host_id
from vmkiln.images.image_store import link_or_copy, sealed, sha256_of
from vmkiln.run.finished import build_keys
from vmkiln.run.finished.finished_work import (
    BUILD_DISK,
    RESUMABLE,
    FinishedWork,
    is_wanted,
    made_of,
    record,
    recorded,
)
from vmkiln.run.run_context import BuildHost, Disks, RunRequest, Staged
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.store.database import Store, utc_now
from vmkiln.store.run_facts import KeptDiskFacts
from vmkiln.waiting.off_loop import off_loop, off_loop_with

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Which boot of this machine this is; another one after each."""
    return BOOT_ID.read_text().strip()


async def keep(staged: Staged, disks: Disks) -> FinishedWork:
    """Keep the customized disks of a build VM that powered itself off; returns the record, which is in the database.

    Raises: `StorageFailed` when they cannot be brought on disk: then nobody knows what is in them.
    """
    settings, request = staged.host.settings, staged.request
    folder = (
        run_directory.kept(settings.runs)
        / run_directory.folder_of(Path(), request.run_id, attempt=request.attempt).name
    )
    async with off_loop_with(lambda: _made(folder)):
        written = [disks.os.path, *(disk.path for disk in disks.data.values())]
        with reported("keeping the customized disk"):
            digests = {path.name: await sealed(path) for path in written}
            sizes = await off_loop(_linked, staged, written, folder)
            await off_loop(build_keys.keep, staged, folder)
            work = await off_loop(_recorded, staged, folder.name, sizes, digests)
    return work


def _recorded(staged: Staged, folder: str, sizes: dict[str, int], digests: dict[str, str]) -> FinishedWork:
    request = staged.request
    work = FinishedWork(
        attempt=request.attempt,
        made_of=made_of(request),
        source=staged.source,
        disk_bytes=staged.shape.disk_bytes,
        disk=KeptDiskFacts(
            host_id=host_id(staged.host.settings),
            boot_id=boot_id(),
            folder=folder,
            sizes=sizes,
            digests=digests,
            resources=_disks_in_group(staged, list(digests)),
        ),
        until="" if request.template_id else (utc_now() + RESUMABLE).isoformat(),
    )
    record(staged.host.store, request.run_id, work)
    return work


def _disks_in_group(staged: Staged, files: list[str]) -> list[int]:
    """The numbers of the disks of this attempt's build VM, of which each has its file: the newest ones."""
    rows = staged.host.store.staging.resources_of(staged.group.name)
    own = [row for row in rows if row.run_id == staged.request.run_id and row.type == DISK]
    return [row.number for row in own if Path(row.detail.get("path", "")).name in files][-len(files) :]


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A new folder; deleted when the block fails."""
    make_folder(folder)
    try:
        yield
    except BaseException:
        run_directory.remove(folder)
        raise


def _linked(staged: Staged, written: list[Path], folder: Path) -> dict[str, int]:
    """Give each file of the chain its name in the folder, on disk; returns their sizes in bytes."""
    source = staged.source
    below = folder / f"source.{source.format}"
    files = {folder / path.name: path for path in written} | {below: source.path}
    files |= {disk.beside(below): disk.beside(source.path) for disk in source.data_disks}
    for name, file in files.items():
        link_or_copy(file, name)
        sync(name)
    sync(folder)
    return {name.name: name.stat().st_size for name in files}


async def finished_before(host: BuildHost, request: RunRequest) -> FinishedWork | None:
    """What an earlier attempt of the run finished, as far as this host can go on from it; else none, and no record.

    A disk of another host's, or of another template, does not count; nor one that is not as it was recorded. An image
    in the object store counts on every host.
    """
    run = (await off_loop(host.store.runs.by_id, [request.run_id])).get(request.run_id)
    work = None if run is None else recorded(run)
    if work is None:
        return None
    if work.made_of == made_of(request) and (
        (work.image is not None and host.shared is not None) or await _is_whole(host.settings, work)
    ):
        return work
    await off_loop(record, host.store, request.run_id, None)
    return None


async def _is_whole(settings: Settings, work: FinishedWork) -> bool:
    """Whether the disk is here, as it was recorded. After a reboot every byte of it is read; before, its sizes do."""
    disk, folder = work.disk, run_directory.kept(settings.runs) / work.disk["folder"]
    if disk["host_id"] != await off_loop(host_id, settings) or not await off_loop(_has_sizes, folder, disk):
        return False
    if disk["boot_id"] == await off_loop(boot_id):
        return True
    below = work.source_in(folder)
    expected = {folder / name: digest for name, digest in disk["digests"].items()} | {below: work.source.digest}
    expected |= {data.beside(below): data.digest for data in work.source.data_disks}
    return all([await asyncio.to_thread(sha256_of, path) == digest for path, digest in expected.items()])


def _has_sizes(folder: Path, disk: KeptDiskFacts) -> bool:
    if not disk["sizes"] or BUILD_DISK not in disk["sizes"]:
        return False
    files = {folder / name: size for name, size in disk["sizes"].items()}
    return all(file.is_file() and file.stat().st_size == size for file, size in files.items())


def lay_out(settings: Settings, work: FinishedWork, directory: Path) -> None:
    """Give the files of a kept disk a name in the run's own folder too, where a build finds its disks."""
    with reported("taking the customized disk up"):
        folder = run_directory.kept(settings.runs) / work.disk["folder"]
        keys = [build_keys.FILE] if (folder / build_keys.FILE).exists() else []
        for name in (*work.disk["sizes"], *keys):
            link_or_copy(folder / name, directory / name)


def forget(settings: Settings, store: Store, run_id: str) -> None:
    """Delete what was kept for a run that has ended; what a run still needs stays.

    Raises: `CleanUpFailed`; the next `forget_unwanted` deletes it then.
    """
    _forget(store, [folder for folder in _folders(settings) if _run_of(folder) == run_id])


def forget_now_or_later(host: BuildHost, run_id: str) -> None:
    """The same; what cannot be deleted now is left to `forget_unwanted`."""
    with contextlib.suppress(StorageFailed, CleanUpFailed):
        forget(host.settings, host.store, run_id)


def forget_unwanted(settings: Settings, store: Store) -> None:
    """Delete what nobody goes on from any more: of runs that ended, began anew elsewhere, or are unknown."""
    # a run that goes on is judged by nobody else: it makes the folder before it records it
    folders = [item for item in _folders(settings) if not run_directory.is_live(settings.runs, _run_of(item))]
    _forget(store, folders)


def _forget(store: Store, folders: list[Path]) -> None:
    runs = store.runs.by_id(sorted({_run_of(folder) for folder in folders})) if folders else {}
    problems: list[VmkilnError] = []
    for folder in folders:
        run = runs.get(_run_of(folder))
        if is_wanted(run, folder.name, now=utc_now()):
            continue
        try:
            run_directory.remove(folder)
        except CleanUpFailed as error:
            problems.append(error)
            continue
        work = None if run is None else recorded(run)
        if work is not None and work.disk["folder"] == folder.name:
            store.staging.resources_gone(work.disk["resources"])
    if problems:
        raise problems[0]


def _folders(settings: Settings) -> list[Path]:
    return sorted(run_directory.kept(settings.runs).iterdir()) if run_directory.kept(settings.runs).is_dir() else []


def _run_of(folder: Path) -> str:
    return folder.name.partition(".")[0]
