"""Flattening: each final disk with its chain becomes one file, and is hashed and searched; the chain is read once.

With a VHD among the targets the chain is written as its bytes, and the qcow2 file is made of those, while they are
hashed: what the targets get are further names of these files.

*Leaves behind:* files in the run's folder. *Undone by:* `discard`, and the deletion of the run's folder.
*Safe to repeat:* yes: what an earlier attempt of the run published or shared is found, and not made again.
"""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

from vmkiln.errors import ImageNotFound, ImageUnsafe
from vmkiln.files.durable_file import reported
from vmkiln.host.disk.disk_image import convert, virtual_size
from vmkiln.host.qemu import Disk
from vmkiln.images.data_disk import SHARED_OBJECT, DataDisk, data_disks_of, file_beside
from vmkiln.images.image_store import FinishedVhd, ImageFacts, architecture_of, sealed
from vmkiln.images.vhd_image import finished
from vmkiln.run.finished.finished_work import FinishedWork, recorded
from vmkiln.run.gates import hygiene_gate
from vmkiln.run.run_context import Disks, Staged
from vmkiln.run.run_event import PartEnded, PartStarted
from vmkiln.run_state import PartKind
from vmkiln.store.database import utc_now
from vmkiln.template.distribute_target import VhdTarget
from vmkiln.waiting.beside import beside
from vmkiln.waiting.off_loop import off_loop

FLAT = "flat.qcow2"


@dataclass(frozen=True)
class _Flat:
    """One flattened disk: the SHA-256 of the qcow2 file, and the VHD when one is wanted."""

    digest: str
    vhd: FinishedVhd | None


async def prepared(staged: Staged, disks: Disks, *, is_beside: bool = False) -> ImageFacts:
    """The flattened disks: an earlier attempt's, as far as they were published or shared, else made now.

    `is_beside` says that another part of the run goes on meanwhile. What was made is deleted when that is cancelled,
    or fails. Raises: `GeneralizationIncomplete` when the build's keys are in the bytes; `StorageFailed`.
    """
    before = await _published_before(staged)
    if before is None and (work := await off_loop(work_of, staged)) is not None and work.image is not None:
        before = await _shared_before(staged, work.image)
    if before is not None:
        return before
    part = PartStarted(PartKind.FLATTEN, is_beside=is_beside)
    staged.tell(part)
    try:
        return await flatten(staged, disks)
    except BaseException:
        await off_loop(discard, staged.directory)
        raise
    finally:
        if is_beside:
            staged.tell(PartEnded(part.kind, part.name))


def discard(directory: Path) -> None:
    """Delete what was flattened in a run's folder; finds nothing and is content."""
    for file in (*directory.glob("flat.*"), *directory.glob("flat-data-*")):
        with contextlib.suppress(OSError):  # the folder goes with the run
            file.unlink(missing_ok=True)


async def flatten(staged: Staged, disks: Disks) -> ImageFacts:
    """Write each disk with its chain into one qcow2 file in the run's folder, and into a VHD where one is wanted."""
    flat, data_disks, vhds = staged.directory / FLAT, [], {}
    wants_vhd = any(isinstance(target, VhdTarget) for target in staged.request.template.properties.distribute)
    with reported("flattening the disk"):
        made = await _flattened(staged, disks.os, flat, wants_vhd=wants_vhd)
        if made.vhd is not None:
            vhds[flat] = made.vhd
        for lun, disk in sorted(disks.data.items()):
            file = file_beside(flat, lun)
            data = await _flattened(staged, disk, file, wants_vhd=wants_vhd)
            size = (await off_loop(file.stat)).st_size
            data_disks.append(DataDisk(lun, data.digest, size, await virtual_size(disk)))
            if data.vhd is not None:
                vhds[file] = data.vhd
    await hygiene_gate.searched(staged, [flat, *(disk.beside(flat) for disk in data_disks)], digest=made.digest)
    return ImageFacts(
        flat=flat,
        digest=made.digest,
        virtual_size_bytes=staged.shape.disk_bytes,
        generation=staged.source.generation,
        os_type=staged.source.os_type,
        source_version=staged.source.exact_version,
        run_id=staged.request.run_id,
        attempt=staged.request.attempt,
        architecture=staged.source.architecture,
        data_disks=tuple(data_disks),
        vhds=vhds,
    )


async def _flattened(staged: Staged, disk: Disk, flat: Path, *, wants_vhd: bool) -> _Flat:
    if not wants_vhd:
        await convert(disk, flat, target_format="qcow2")
        return _Flat(await sealed(flat), None)
    raw = flat.with_suffix(".vhd")
    await convert(disk, raw, target_format="raw")
    size = (await off_loop(raw.stat)).st_size  # without the footer, which the qcow2 file must not have

    async with beside() as tasks:
        making_vhd = tasks.create_task(finished(raw, created=staged.host.store.now()))
        await convert(Disk(raw, "raw", size_bytes=size), flat, target_format="qcow2")
        digest = await sealed(flat)
    return _Flat(digest, making_vhd.result())


def work_of(staged: Staged) -> FinishedWork | None:
    """What is on record as finished of this run."""
    run_id = staged.request.run_id
    return recorded(staged.host.store.runs.by_id([run_id])[run_id])


async def _shared_before(staged: Staged, image: ImageFacts) -> ImageFacts:
    """What an earlier attempt, perhaps another host's, gave to all hosts. Raises: `ImageNotFound`, `ImageUnsafe`."""
    flat = staged.directory / FLAT
    row = replace(image, flat=flat).recorded_as("", "", flat, tags={}, created=utc_now(), size_bytes=0)
    await staged.host.local_copy(row)
    return replace(image, flat=flat, attempt=staged.request.attempt)


async def _published_before(staged: Staged) -> ImageFacts | None:
    """What an earlier attempt of this run has published already; every target then gets the very same image."""
    for image in await off_loop(staged.host.store.images.of_run, staged.request.run_id):
        if image.format != "qcow2":
            continue
        with contextlib.suppress(ImageNotFound, ImageUnsafe):  # then it is made anew
            await staged.host.local_copy(image)
        if image.path.exists():
            return ImageFacts(
                flat=image.path,
                digest=image.digest,
                virtual_size_bytes=image.virtual_size_bytes,
                generation=image.generation,
                os_type=image.os_type,
                source_version=image.source_version,
                run_id=image.run_id,
                attempt=staged.request.attempt,
                shared_object=str(image.detail.get(SHARED_OBJECT, "")),
                architecture=architecture_of(image),
                data_disks=data_disks_of(image),
            )
    return None
