"""The image store: published images, each a read-only file in a folder of its own.

Publishing is atomic: the file is complete and on disk (fsync) under a temporary name, gets its final name in one step
(and never one that is taken), the folder is synced, and only then the database records it. A name without a record is
a leftover of a process that died in between; `reconcile` removes it.

*Leaves behind:* the image. *Undone by:* `remove`. *Safe to repeat:* yes, under another run's id.
"""

import asyncio
import contextlib
import errno
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from vmkiln.azure_names import Architecture
from vmkiln.errors import ImageConflict, ImageNotFound, ImageUnsafe, StorageFailed
from vmkiln.files.durable_file import is_part, make_folder, remove_abandoned_part, reported, sync
from vmkiln.files.private_folder import private_folder
from vmkiln.files.sparse_file import copy_sparse, sparse_sha256
from vmkiln.images.data_disk import SHARED_OBJECT, DataDisk, data_disks_of, described, parts_of
from vmkiln.images.image_note import NOTE, note_down, noted
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow
from vmkiln.waiting.off_loop import go_on, until_cancelled

TEMPORARY = ".publishing-"
RUN_ID_LETTERS = 8
ARCHITECTURE = "architecture"  # the detail of an image that is not for x64
_PLACE = re.compile(rf".*-([^-]{{{RUN_ID_LETTERS}}})-\d+")
P = ParamSpec("P")
R = TypeVar("R")


def no_documents(_image: ImageRow) -> Mapping[str, str]:
    """Nothing is kept with the image."""
    return {}


@dataclass(frozen=True)
class FinishedVhd:
    """A sealed fixed VHD: its file, its SHA-256, and the bytes of the disk in it, without its footer."""

    file: Path
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image's content whatever it is published as. Sizes in bytes; SHA-256 of the qcow2 file.

    `attempt` is the run's attempt that made it; `shared_object` is the object that the hosts of a fleet get it from.
    The files of `data_disks` lie beside `flat`. `documents_of` makes of an image's record what is kept with it.
    `vhds` are what was made for VHD targets, by the flattened file of the same disk.
    """

    flat: Path
    digest: str
    virtual_size_bytes: int
    generation: int
    os_type: str
    source_version: str
    run_id: str
    attempt: int = 1
    shared_object: str = ""
    architecture: Architecture = Architecture.X64
    data_disks: tuple[DataDisk, ...] = ()
    documents_of: Callable[[ImageRow], Mapping[str, str]] = no_documents
    vhds: Mapping[Path, FinishedVhd] = field(default_factory=dict)

    @property
    def common_detail(self) -> dict[str, Any]:
        """What an image's record says whatever it is published as: architecture, data disks, where others get it."""
        architecture = {} if self.architecture is Architecture.X64 else {ARCHITECTURE: str(self.architecture)}
        return {**architecture, **described(self.data_disks), **shared_detail(self.shared_object)}

    def recorded_as(
        self,
        artifact_id: str,
        kind: str,
        path: Path,
        *,
        tags: Mapping[str, str],
        created: datetime,
        detail: Mapping[str, Any] | None = None,
        size_bytes: int | None = None,
    ) -> ImageRow:
        """The record of the image as a qcow2 file at `path`; `detail` is what only this kind has.

        `size_bytes` is the size of a file that is not here.
        """
        return ImageRow(
            artifact_id=artifact_id,
            kind=kind,
            path=path,
            format="qcow2",
            digest=self.digest,
            size_bytes=self.flat.stat().st_size if size_bytes is None else size_bytes,
            virtual_size_bytes=self.virtual_size_bytes,
            generation=self.generation,
            os_type=self.os_type,
            source_version=self.source_version,
            run_id=self.run_id,
            tags=dict(tags),
            detail={**(detail or {}), **self.common_detail},
            created=created,
        )

    def data_files(self, os_disk: str) -> dict[str, Path]:
        """The files of the data disks, by the names that they have beside an OS disk of this name."""
        return {disk.beside(Path(os_disk)).name: disk.beside(self.flat) for disk in self.data_disks}


def architecture_of(image: ImageRow) -> Architecture:
    """What CPUs a recorded image is for."""
    return Architecture(image.detail.get(ARCHITECTURE, Architecture.X64))


def shared_object_of(image: ImageRow) -> str:
    """The object that other hosts get a recorded image from; '' when there is none."""
    return str(image.detail.get(SHARED_OBJECT, ""))


def shared_detail(shared_object: str) -> dict[str, Any]:
    """What an image's record says of the object that other hosts get it from; nothing when there is none."""
    return {SHARED_OBJECT: shared_object} if shared_object else {}


@dataclass(frozen=True)
class Artifact:
    """A published image: its ARM id or its address (the other is empty)."""

    artifact_id: str
    artifact_uri: str
    path: Path


def safe_name(text: str) -> str:
    """A short file name that tells a person what it is for; different texts may share one."""
    return re.sub(r"[^a-z0-9._-]", "_", text.lower().rsplit("/", 1)[-1])[:60].lstrip("._-") or "image"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal; ends when nobody waits for it any more (`until_cancelled`)."""
    return sparse_sha256(path, between=go_on)


def folder_for(store_directory: Path, artifact_id: str, run_id: str, *, attempt: int = 1) -> Path:
    """The folder for an image: unique to the image's id and the attempt of the run that made it."""
    key = hashlib.sha256(artifact_id.lower().encode()).hexdigest()[:12]
    return store_directory / f"{safe_name(artifact_id)}-{key}-{run_id[:RUN_ID_LETTERS]}-{attempt}"


def publish_linked(flat: Path, place: Path, names: Sequence[str], *, others: Mapping[str, Path] | None = None) -> None:
    """Give a finished file its place, under each name (`disk.qcow2`, `replicas/westeurope.qcow2`), in one step.

    `others` are files that come with it, by their names there. The names are hard links: no byte is copied, unless the
    place is on another file system.

    Raises: `ImageConflict` when the place is taken; `StorageFailed` when it cannot be written.
    """
    with reported(f"publishing {place.name}"):
        _publish_linked(flat, place, names, others or {})


def _publish_linked(flat: Path, place: Path, names: Sequence[str], others: Mapping[str, Path]) -> None:
    temporary = place.with_name(TEMPORARY + place.name)
    shutil.rmtree(temporary, ignore_errors=True)
    make_folder(place.parent)
    try:
        temporary.mkdir(mode=0o700)
        source = flat
        for name in names:
            target = temporary / name
            private_folder(target.parent)
            link_or_copy(source, target)
            source = target
        for name, file in others.items():
            link_or_copy(file, temporary / name)
        for folder in {temporary, *(path.parent for path in temporary.rglob("*"))}:
            sync(folder)
        try:
            temporary.rename(place)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                raise ImageConflict(f"this run has published {place.name} already") from error
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    with removed_on_error(place):
        sync(place.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Another name for a file; a whole copy, on disk and read-only, where there can be no link.

    Raises: `FileExistsError`; a file is never replaced.
    """
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK}:
            raise
        temporary = target.with_name(TEMPORARY + target.name)
        temporary.unlink(missing_ok=True)
        try:
            copy_sparse(source, temporary)
            seal(temporary)
            target.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)


def seal(path: Path) -> None:
    """Make a finished file read-only, its owner's alone, and wait until it is on disk."""
    path.chmod(0o400)
    sync(path)


async def sealed(path: Path) -> str:
    """Seal a finished file and take its SHA-256 at the same time; returns it in hexadecimal."""
    _, digest = await asyncio.gather(asyncio.to_thread(seal, path), until_cancelled(sha256_of, path))
    return digest


async def to_the_end(function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R:
    """Call a blocking function in a thread; when we are cancelled, wait for its end before passing that on.

    A thread cannot be stopped: left alone, it would still be publishing when the run is cleaned up. So what it was
    publishing is then there, whole and recorded, or not there.
    """
    task = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, so that it is not reported as lost; being cancelled is what counts
        raise


@contextlib.contextmanager
def removed_on_error(place: Path, store: Store | None = None) -> Iterator[None]:
    """Delete a published folder or file when recording it in `store` fails.

    A commit that failed may still be found on disk after a crash. So a later commit comes first, which ends that. And
    one may have succeeded although its answer was lost with the server; then the files stay. When the database cannot
    be asked, they are left to `reconcile`.
    """
    try:
        yield
    except BaseException as error:
        if store is None or not isinstance(error, StorageFailed) or _is_unrecorded(store, place):
            with contextlib.suppress(OSError):
                _delete(place)
        raise


def _is_unrecorded(store: Store, place: Path) -> bool:
    try:
        store.confirm_undone()
        return not any(image.path.is_relative_to(place) for image in store.images.list())
    except StorageFailed:
        return False


def _delete(place: Path) -> None:
    """Delete a folder or file; finds nothing and is content, and follows no link."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def reconcile(store_directory: Path, store: Store, *, live_run_ids: Callable[[], Iterable[str]] = tuple) -> list[str]:
    """Remove what no record names: temporaries and images of processes that died; returns their names.

    What a live run is publishing is left alone, if `live_run_ids()` names the run; so is what has a note that it was on
    record once, and was not deleted since (`quarantine`).
    """
    if not store_directory.is_dir():
        return []
    # The folder is read before the live runs and the records are. A file that gets its name after that is not judged,
    # and a run that has ended meanwhile has recorded every image it made.
    entries = sorted(store_directory.iterdir())
    live = {run_id[:RUN_ID_LETTERS] for run_id in live_run_ids()}
    recorded = [image for image in store.images.list() if image.path.is_relative_to(store_directory)]
    known = {image.path.relative_to(store_directory).parts[0] for image in recorded}
    home = store_directory.parent
    note_down((image for image in recorded if not shared_object_of(image)), home)
    leftovers = [entry for entry in entries if entry.name not in known and _run_of(entry.name) not in live]
    lost = {entry: image for entry in leftovers if (image := noted(entry / NOTE, home)) is not None}
    gone = store.images.gone(image.path for image in lost.values())
    leftovers = [entry for entry in leftovers if entry not in lost or lost[entry].path in gone]
    if leftovers:
        store.confirm_undone()  # no record of them can come back
    for entry in leftovers:
        _delete(entry)
    for part in store_directory.glob("*/.*"):  # of an image that was being fetched from the other hosts
        if is_part(part) and not part.parent.is_symlink():
            remove_abandoned_part(part)
    return [entry.name for entry in leftovers]


def _run_of(name: str) -> str:
    """The beginning of the id of the run that published under this name, as `folder_for` put it."""
    found = _PLACE.fullmatch(name)
    return found[1] if found else ""


async def verified(image: ImageRow) -> ImageRow:
    """The image after its content was read and matched.

    Raises: `ImageNotFound` when its file is gone, `ImageUnsafe` when its content is not what was published.
    """
    for part in parts_of(image):
        if not part.path.is_file():
            raise ImageNotFound(f"the file of the image {image.artifact_id} is gone: {part.path}")
        if await asyncio.to_thread(sha256_of, part.path) != part.digest:
            raise ImageUnsafe(f"the file of the image {image.artifact_id} is not what was published: {part.path}")
    return image


async def held(image: ImageRow, directory: Path) -> ImageRow:
    """The image under a name of its own in `directory`, then read and matched; it outlives its removal from the store.

    For a run's source: another run may replace the image while this one is building on it.

    Raises: `ImageNotFound`, `ImageUnsafe`.
    """
    own = directory / f"source.{image.format}"
    try:
        for disk in data_disks_of(image):
            await asyncio.to_thread(link_or_copy, disk.beside(image.path), disk.beside(own))
        await asyncio.to_thread(link_or_copy, image.path, own)
    except FileNotFoundError as error:
        raise ImageNotFound(f"the file of the image {image.artifact_id} is gone: {image.path}") from error
    return await verified(replace(image, path=own))


def remove(image: ImageRow, store: Store) -> None:
    """Delete an image: its record first, then its files."""
    store.images.remove(image.artifact_id)
    if image.kind == "VHD":
        image.path.unlink(missing_ok=True)
    else:
        shutil.rmtree(image.path.parent, ignore_errors=True)
