"""VHD targets: a fixed VHD file in the storage account, or at the address the template names."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from vmkiln.errors import ImageConflict
from vmkiln.files.durable_file import make_folder, reported, sync
from vmkiln.host.disk.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.data_disk import SHARED_OBJECT
from vmkiln.images.image_store import (
    RUN_ID_LETTERS,
    TEMPORARY,
    Artifact,
    FinishedVhd,
    ImageFacts,
    link_or_copy,
    removed_on_error,
    sealed,
    to_the_end,
)
from vmkiln.images.vhd import FOOTER_BYTES, Footer, aligned, check_uploadable, footer
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow
from vmkiln.waiting.off_loop import off_loop

KIND = "VHD"
Share = Callable[[Path, str], Awaitable[str]]


async def shared_by_none(_file: Path, _digest: str) -> str:
    """There is one host."""
    return ""


def add_footer(raw: Path, *, created: datetime) -> int:
    """Make a raw disk a fixed VHD in place, its size rounded up to whole MiB; returns that size in bytes."""
    size = aligned(raw.stat().st_size)
    with raw.open("r+b") as target:
        target.truncate(size)
        target.seek(size)
        target.write(footer(size, identifier=uuid.uuid4(), created=created))
    return size


def read_vhd(file: Path) -> Footer:
    """What the footer of a fixed VHD says. Raises: `ImageUnsafe` when the file is none, or not as it says."""
    with file.open("rb") as content:
        length = content.seek(0, 2)
        content.seek(max(0, length - FOOTER_BYTES))
        return check_uploadable(content.read(), file_bytes=length)


async def finished(raw: Path, *, created: datetime) -> FinishedVhd:
    """Make a raw disk a sealed fixed VHD in place, and take its SHA-256."""
    size = await off_loop(add_footer, raw, created=created)
    digest = await sealed(raw)
    await off_loop(read_vhd, raw)
    return FinishedVhd(raw, digest, size)


async def publish(
    file: Path,
    store: Store,
    facts: ImageFacts,
    *,
    artifact_id: str,
    tags: Mapping[str, str],
    share: Share = shared_by_none,
) -> Artifact:
    """Publish the disk as a fixed VHD at `file`, whole or not at all; its virtual size is rounded up to whole MiB.

    Each data disk becomes a VHD of its own beside it, first: `web.vhd` has `web-data-0.vhd`, with an id of its own.
    Those of `facts.vhds` get their name, and no byte is copied; where there is none it is made of the flattened disk,
    beside it, in the folder of the run, and ends with it. Finds what the same run has published before and is content.
    `share` gives the finished file, with its SHA-256, to the other hosts and returns the object they get it from.

    Raises: `ImageConflict` when another run's VHD is there; `StorageFailed` when it cannot be written; `RunTakenOver`.
    """
    with reported(f"publishing {file.name}"):
        alone = replace(facts, data_disks=())
        for disk in facts.data_disks:
            await _publish(
                disk.beside(file),
                store,
                replace(alone, flat=disk.beside(facts.flat), virtual_size_bytes=disk.virtual_size_bytes),
                artifact_id=str(disk.beside(Path(artifact_id))),
                tags=tags,
                share=share,
            )
        return await _publish(file, store, alone, artifact_id=artifact_id, tags=tags, share=share)


async def _publish(
    file: Path, store: Store, facts: ImageFacts, *, artifact_id: str, tags: Mapping[str, str], share: Share
) -> Artifact:
    existing = await off_loop(store.images.find, artifact_id)
    if existing is not None and existing.run_id == facts.run_id and existing.path == file and _is_there(existing):
        return Artifact("", file.as_uri(), file)
    async with _at_hand(file, facts, created=store.now()) as vhd:
        shared_object = await share(vhd.file, vhd.digest)
        image = ImageRow(
            artifact_id=artifact_id,
            kind=KIND,
            path=file,
            format="vhd",
            digest=vhd.digest,
            size_bytes=vhd.size_bytes + FOOTER_BYTES,
            virtual_size_bytes=vhd.size_bytes,
            generation=facts.generation,
            os_type=facts.os_type,
            source_version=facts.source_version,
            run_id=facts.run_id,
            tags=dict(tags),
            detail=replace(facts, shared_object=shared_object).common_detail,
            created=store.now(),
        )
        await to_the_end(_name_and_record, vhd.file, image, store, facts)
    return Artifact("", file.as_uri(), file)


@contextlib.asynccontextmanager
async def _at_hand(file: Path, facts: ImageFacts, *, created: datetime) -> AsyncIterator[FinishedVhd]:
    """The VHD that was made with the flattened disk; else one of its own, for as long as the block lasts."""
    ready = facts.vhds.get(facts.flat)
    if ready is not None:
        yield ready
        return
    temporary = facts.flat.with_name(f"{TEMPORARY}{file.name}-{facts.run_id[:RUN_ID_LETTERS]}")
    await off_loop(temporary.unlink, missing_ok=True)  # an earlier attempt's, which may be sealed already
    try:
        await convert(Disk(facts.flat, "qcow2"), temporary, target_format="raw")
        yield await finished(temporary, created=created)
    finally:
        with contextlib.suppress(OSError):  # it ends with the run's folder all the same
            await off_loop(temporary.unlink, missing_ok=True)


def _is_there(image: ImageRow) -> bool:
    """Whether a recorded VHD can be had: here, or from the object that the hosts share."""
    return image.path.is_file() or bool(image.detail.get(SHARED_OBJECT))


def _name_and_record(temporary: Path, image: ImageRow, store: Store, facts: ImageFacts) -> None:
    """Give the finished file its name, if that is free, wait until the name is on disk, and record it."""
    make_folder(image.path.parent)
    if store.images.find(image.artifact_id) is None:
        image.path.unlink(missing_ok=True)  # of an earlier attempt that died before it was recorded
    try:
        link_or_copy(temporary, image.path)
    except FileExistsError as error:
        raise ImageConflict(f"the VHD {image.path.name} exists already", hint="give it another `uri`") from error
    with removed_on_error(image.path, store):
        sync(image.path.parent)
        store.images.add(image, attempt=facts.attempt, documents=facts.documents_of(image))
