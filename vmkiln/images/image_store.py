"""The image store: published images, each a read-only file in a folder of its own.

Publishing is atomic: the file is complete and on disk (fsync) under a temporary name, gets its final name in one step,
the folder is synced, and only then the database records it. A name without a record is a leftover of a process that
died in between; `reconcile` removes it.

*Leaves behind:* the image. *Undone by:* `remove`. *Safe to repeat:* yes, under another run's id.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import ImageNotFound, ImageUnsafe
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow

TEMPORARY = ".publishing-"
BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image's content whatever it is published as. Sizes in bytes; SHA-256 of the qcow2 file."""

    flat: Path
    digest: str
    virtual_size_bytes: int
    generation: int
    os_type: str
    source_version: str
    run_id: str


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
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_for(store_directory: Path, artifact_id: str, run_id: str) -> Path:
    """The folder for an image: unique to the image's id and the run that made it."""
    key = hashlib.sha256(artifact_id.lower().encode()).hexdigest()[:12]
    return store_directory / f"{safe_name(artifact_id)}-{key}-{run_id[:8]}"


def publish_linked(flat: Path, place: Path, names: Sequence[str]) -> None:
    """Give a finished file its place, under each name (`disk.qcow2`, `replicas/westeurope.qcow2`), in one step.

    The names are hard links: no byte is copied.
    """
    temporary = place.with_name(TEMPORARY + place.name)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True, mode=0o700)
    try:
        for name in names:
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(flat, target)
        for folder in {temporary, *(path.parent for path in temporary.rglob("*"))}:
            sync(folder)
        temporary.rename(place)
        sync(place.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal(path: Path) -> None:
    """Make a finished file read-only and wait until it is on disk."""
    path.chmod(0o444)
    sync(path)


@contextlib.contextmanager
def removed_on_error(place: Path) -> Iterator[None]:
    """Delete a published folder when recording it fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def reconcile(store_directory: Path, store: Store) -> list[str]:
    """Remove folders that no record names; returns their names. Call it only when no run is publishing."""
    if not store_directory.is_dir():
        return []
    known = {image.path.relative_to(store_directory).parts[0] for image in _inside(store, store_directory)}
    leftovers = [entry for entry in store_directory.iterdir() if entry.name not in known]
    for entry in leftovers:
        shutil.rmtree(entry, ignore_errors=True)
    return [entry.name for entry in leftovers]


def _inside(store: Store, store_directory: Path) -> list[ImageRow]:
    return [image for image in store.list_images() if image.path.is_relative_to(store_directory)]


async def verified(image: ImageRow) -> ImageRow:
    """The image after its content was read and matched.

    Raises: `ImageNotFound` when its file is gone, `ImageUnsafe` when its content is not what was published.
    """
    if not image.path.is_file():
        raise ImageNotFound(f"the file of the image {image.artifact_id} is gone: {image.path}")
    if await asyncio.to_thread(sha256_of, image.path) != image.digest:
        raise ImageUnsafe(f"the file of the image {image.artifact_id} is not what was published: {image.path}")
    return image


def remove(image: ImageRow, store: Store) -> None:
    """Delete an image: its record first, then its files."""
    store.remove_image(image.artifact_id)
    if image.kind == "VHD":
        image.path.unlink(missing_ok=True)
    else:
        shutil.rmtree(image.path.parent, ignore_errors=True)
