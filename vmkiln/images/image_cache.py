"""The cache of source images: content-addressed, read-only, checked on use.

An image lies in a folder named after the SHA-256 of its file, beside a record of what it is. Before use the whole file
is read and matched. The check is remembered by the file's size, inode and change times (nanoseconds) and done again
when any of them differs: whoever writes to the file, with whatever rights, changes them. What this does not see is a
disk that loses bits by itself. A file that does not match is set aside and never used.

Images are kept as uncompressed qcow2: as fast to boot from as raw (the guest's reads miss only one small table), and
to hash, copy and check them takes the half GiB that is used and not the whole virtual size.

*Leaves behind:* the cached images. *Undone by:* `remove`, or deleting the folder. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkiln.errors import ImageUnsafe
from vmkiln.images.image_store import seal, sha256_of, sync

RECORD = "record.json"
CHECKED = "checked.json"
CORRUPT = ".corrupt-"
TEMPORARY = (".adding-", ".removing-", CORRUPT)
LOCK_PAUSE_SECONDS = 0.2


@dataclass(frozen=True)
class SourceImage:
    """A cached source image. `digest` is the SHA-256 of the file; `created` when it was made or fetched (UTC).

    `recipe` tells by what it was made or from where it was fetched: another recipe of the same name makes another
    image. `published_digest` is the checksum its publisher gave (`sha256:...`), none for an image made here.
    """

    name: str
    exact_version: str
    path: Path
    format: str
    digest: str
    generation: int
    os_type: str
    virtual_size_bytes: int
    origin: str
    created: datetime
    recipe: str = ""
    published_digest: str = ""

    def age_days(self, now: datetime) -> float:
        """Days since it was made or fetched."""
        return (now - self.created).total_seconds() / 86400


def cached_images(directory: Path) -> list[SourceImage]:
    """Every image with a readable record, the newest first; their files are not checked here."""
    found = []
    for record in directory.glob(f"*/{RECORD}"):
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            if not record.parent.name.startswith("."):
                found.append(_read(record))
    return sorted(found, key=lambda image: image.created, reverse=True)


def _read(record: Path) -> SourceImage:
    values = json.loads(record.read_text())
    path = record.parent / values.pop("file")
    return SourceImage(**{**values, "path": path, "created": datetime.fromisoformat(values["created"])})


def add(directory: Path, file: Path, **facts: Any) -> SourceImage:
    """Move a finished image file into the cache; blocks while it is hashed. `facts` are SourceImage's other fields."""
    digest = sha256_of(file)
    place = directory / digest
    image = SourceImage(path=place / f"disk.{facts['format']}", digest=digest, **facts)
    temporary = directory / f".adding-{digest[:16]}-{os.getpid()}"
    temporary.mkdir(mode=0o700)
    try:
        seal(file)
        file.rename(temporary / image.path.name)
        record = {name: value for name, value in asdict(image).items() if name != "path"}
        record |= {"file": image.path.name, "created": image.created.isoformat()}
        (temporary / RECORD).write_text(json.dumps(record, indent=1))
        sync(temporary / RECORD)
        sync(temporary)
        if not place.exists():
            temporary.rename(place)
            sync(directory)
            _remember_check(image.path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return image


async def checked(image: SourceImage) -> SourceImage:
    """The image, after its file was found to be what its name says.

    Raises: `ImageUnsafe` when it is not; the folder is then set aside under a name the cache does not read.
    """
    if await asyncio.to_thread(_is_intact, image):
        return image
    aside = image.path.parent.with_name(CORRUPT + image.path.parent.name)
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        image.path.parent.rename(aside)
    raise ImageUnsafe(
        f"the cached image {image.name} {image.exact_version} is not what was put there; it was set aside as {aside}",
        hint="run the command again: the image is then made or fetched anew",
    )


def _is_intact(image: SourceImage) -> bool:
    try:
        state = _state(image.path)
        marker = image.path.parent / CHECKED
        if marker.exists() and json.loads(marker.read_text()) == state:
            return True
        if sha256_of(image.path) != image.digest:
            return False
    except (OSError, ValueError):
        return False
    _remember_check(image.path)
    return True


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _remember_check(path: Path) -> None:
    marker = path.parent / CHECKED
    temporary = marker.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(_state(path)))
    temporary.rename(marker)


def remove(image: SourceImage) -> None:
    """Delete an image from the cache; finds nothing and is content. A VM that has the file open keeps it."""
    temporary = image.path.parent.with_name(f".removing-{image.digest[:16]}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        image.path.parent.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(directory: Path) -> list[Path]:
    """Delete what a killed process left half made, and what was set aside; returns what was deleted.

    Call it only while nothing is made or fetched, for instance inside `alone`.
    """
    found = [entry for prefix in TEMPORARY for entry in sorted(directory.glob(f"{prefix}*"))]
    for entry in found:
        shutil.rmtree(entry, ignore_errors=True)
    return found


@contextlib.asynccontextmanager
async def alone(directory: Path, name: str, *, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Only one process at a time makes or fetches the image of this name; others wait here.

    `waiting` is called once when there is another.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / f".lock-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                waiting = _nothing
                await asyncio.sleep(LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _nothing() -> None:
    pass
