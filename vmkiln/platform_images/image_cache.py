"""The cache of source images: content-addressed, read-only, checked on use.

Each image has a folder, named after the SHA-256 of its file; a second image of the same bytes has its own name added.
Beside the file lies a record of what it is. An image that was made here also has its kernel there, with which the
host's QEMU is tried. Before use the whole file is read and matched. The check is remembered by the file's size, inode
and change times (nanoseconds), and done again when any of them differs: every write to the file changes them. It does
not see a disk that loses bits by itself. A file that does not match is set aside and never used.

Images are kept as uncompressed qcow2: as fast to boot from as raw (the guest's reads miss only one small table), and
to hash, copy and check them takes the half GiB that is used and not the whole virtual size.

*Leaves behind:* the cached images. *Undone by:* `remove`, or deleting the folder. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkiln.azure_names import Architecture
from vmkiln.errors import ImageUnsafe, StorageFailed
from vmkiln.files.durable_file import PART, make_folder, remove_abandoned_part, reported, sync, write_whole
from vmkiln.host.doctor.image_kernel import KERNEL, ImageKernel
from vmkiln.images.image_store import link_or_copy, removed_on_error, seal, sha256_of
from vmkiln.waiting.off_loop import off_loop

RECORD = "record.json"
CHECKED = "checked.json"
MOST_KERNELS = 4
CORRUPT = ".corrupt-"
ADDING, REMOVING = ".adding-", ".removing-"


@dataclass(frozen=True)
class SourceImage:
    """A cached source image. `digest` is the SHA-256 of the file; `created` when it was made or fetched (UTC).

    `recipe` is the recipe that made the image, or the address it was fetched from; another recipe of the same name
    makes another image. `published_digest` is the publisher's checksum (`sha256:...`), none for an image made here.
    `is_newest` says whether no newer version was known when it was made or fetched. `is_imported` says whether the user
    imported it; `title` is then the name that the user gave. `plan` is the purchase plan's three names, if it has one.
    Of a Windows that was looked at, `system` is its name with build and edition, `language` its own, and `services`
    those of drivers and agents that matter to a build.
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
    is_newest: bool = True
    is_imported: bool = False
    title: str = ""
    architecture: str = Architecture.X64
    plan: tuple[str, ...] = ()
    system: str = ""
    language: str = ""
    services: tuple[str, ...] = ()

    def age_days(self, now: datetime) -> float:
        """Days since it was made or fetched; none where the clock was set back since."""
        return max(0.0, (now - self.created).total_seconds()) / 86400


def cached_images(directory: Path) -> list[SourceImage]:
    """Every image with a readable record, the newest first; their files are not checked here."""
    found = []
    for record in directory.glob(f"*/{RECORD}"):
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            if not record.parent.name.startswith("."):
                found.append(_read(record))
    return sorted(found, key=lambda image: image.created, reverse=True)


def kernels(images: Sequence[SourceImage], *, most: int = MOST_KERNELS) -> tuple[ImageKernel, ...]:
    """The kernels that lie beside images, given newest first: of each name the newest, each kernel once."""
    names: set[str] = set()
    found: dict[str, ImageKernel] = {}
    for image in images:
        kernel = image.path.with_name(KERNEL)
        if image.name not in names and kernel.is_file():
            names.add(image.name)
            found.setdefault(sha256_of(kernel), ImageKernel(image.name, kernel))
    return tuple(found.values())[:most]


def _is_recorded(place: Path) -> bool:
    try:
        return _read(place / RECORD).path.is_file()
    except (ValueError, KeyError, TypeError, OSError):
        return False


def _read(record: Path) -> SourceImage:
    values = json.loads(record.read_text())
    path = record.parent / values.pop("file")
    created = datetime.fromisoformat(values["created"])
    lists = {name: tuple(values.get(name, ())) for name in ("plan", "services")}
    return SourceImage(**{**values, "path": path, "created": created, **lists})


def add(directory: Path, file: Path, *, kernel: Path | None = None, **facts: Any) -> SourceImage:
    """Move a finished image file into the cache; blocks while it is hashed. `facts` are SourceImage's other fields.

    `kernel` is the image's kernel, where it is at hand; it is moved too.

    Raises: `StorageFailed` when it cannot be written.
    """
    with reported(f"taking {facts['name']} into the cache"):
        seal(file)
        digest = sha256_of(file)
        place = directory / _free_name(directory, digest, facts["name"], facts["exact_version"])
        image = SourceImage(path=place / f"disk.{facts['format']}", digest=digest, **facts)
        _put(directory, file, image, kernel)
    _remember_check(image.path)
    return image


def add_name(directory: Path, twin: SourceImage, **facts: Any) -> SourceImage:
    """Take an image into the cache once more under another name: no byte is copied where the disk can link.

    `facts` are the fields of it that differ. Raises: `StorageFailed` when it cannot be written.
    """
    with reported(f"taking {facts['name']} into the cache"):
        kept = {**asdict(twin), **facts}
        place = directory / _free_name(directory, twin.digest, kept["name"], kept["exact_version"])
        image = SourceImage(**{**kept, "path": place / twin.path.name, "plan": tuple(kept["plan"])})
        file = directory / f"{ADDING}{twin.digest[:16]}-{secrets.token_hex(4)}.file-{os.getpid()}"
        try:
            file.unlink(missing_ok=True)
            link_or_copy(twin.path, file)
            _put(directory, file, image, None)
        finally:
            file.unlink(missing_ok=True)
    return image


def renew(image: SourceImage, *, now: datetime) -> SourceImage:
    """The image as one that was had just now, because its publisher has nothing newer. Raises: `StorageFailed`."""
    renewed = replace(image, created=now, is_newest=True)
    write_whole(image.path.parent / RECORD, _record_of(renewed), mode=0o600)
    return renewed


def _record_of(image: SourceImage) -> bytes:
    record = {name: value for name, value in asdict(image).items() if name != "path"}
    record |= {"file": image.path.name, "created": image.created.isoformat()}
    return json.dumps(record, indent=1).encode()


def _free_name(directory: Path, digest: str, name: str, version: str) -> str:
    """The folder of an image: its digest, and its name too when the same bytes are there under another one."""
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        there = _read(directory / digest / RECORD)
        if (there.name, there.exact_version) != (name, version):
            return f"{digest}-{hashlib.sha256(f'{name}:{version}'.encode()).hexdigest()[:12]}"
    return digest


def _put(directory: Path, file: Path, image: SourceImage, kernel: Path | None) -> None:
    place = image.path.parent
    make_folder(directory)
    # two names may have the same bytes, and be added at once: by threads of this process, or by others
    temporary = directory / f"{ADDING}{image.digest[:16]}-{secrets.token_hex(4)}-{os.getpid()}"
    aside = temporary.with_name(f"{ADDING}{image.digest[:16]}-{secrets.token_hex(4)}.damaged-{os.getpid()}")
    try:
        temporary.mkdir(mode=0o700)
        file.rename(temporary / image.path.name)
        if kernel is not None:
            sync(kernel)
            kernel.rename(temporary / KERNEL)
        write_whole(temporary / RECORD, _record_of(image), mode=0o600)
        if place.exists() and not _is_recorded(place):
            # by one move, for another may do the same, or put a whole one there, at any moment
            _set_aside(place, aside)
        if place.exists():  # the same bytes anew: what is known of them is newer
            write_whole(place / RECORD, (temporary / RECORD).read_bytes(), mode=0o600)
        elif _moved(temporary, place):
            with removed_on_error(place):
                sync(directory)
    finally:
        for left in (temporary, aside):
            shutil.rmtree(left, ignore_errors=True)


def _moved(temporary: Path, place: Path) -> bool:
    """Give a finished folder its name; false when another process was faster."""
    try:
        temporary.rename(place)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not _is_recorded(place):
            raise
        return False
    return True


def _set_aside(place: Path, aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        place.rename(aside)


async def checked(image: SourceImage) -> SourceImage:
    """The image, after its file was found to be what its name says.

    Raises: `ImageUnsafe` when it is not; the folder is then set aside under a name the cache does not read.
    """
    if await asyncio.to_thread(_is_intact, image):
        return image
    aside = image.path.parent.with_name(CORRUPT + image.path.parent.name)
    await off_loop(_set_aside, image.path.parent, aside)
    raise ImageUnsafe(
        f"the cached image {image.name} {image.exact_version} is not what was put there; it was set aside as {aside}",
        hint="run the command again: the image is then made or fetched anew",
    )


def _is_intact(image: SourceImage) -> bool:
    try:
        state = _state(image.path)
        if _last_check(image.path) == state:
            return True
        if sha256_of(image.path) != image.digest:
            return False
    except OSError:
        return False
    _remember_check(image.path)
    return True


def _last_check(path: Path) -> object:
    """The state of the file when it was last checked; None when that is not known, or was not written to its end."""
    try:
        return json.loads((path.parent / CHECKED).read_text())
    except (OSError, ValueError):
        return None


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _remember_check(path: Path) -> None:
    with contextlib.suppress(StorageFailed, OSError):  # the file is then just read once more
        write_whole(path.parent / CHECKED, json.dumps(_state(path)).encode(), mode=0o600)


def remove(image: SourceImage) -> None:
    """Delete an image from the cache; finds nothing and is content. A VM that has the file open keeps it."""
    # two names may have the same bytes, and be removed at once
    temporary = image.path.parent.with_name(f"{REMOVING}{image.digest[:16]}-{secrets.token_hex(4)}-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        image.path.parent.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(directory: Path) -> list[Path]:
    """Delete what processes that are gone left half made; returns what was deleted. What was set aside stays."""
    entries = [entry for prefix in (ADDING, REMOVING) for entry in sorted(directory.glob(f"{prefix}*"))]
    found = [entry for entry in entries if not _lives(entry.name.rpartition("-")[2])]
    for entry in found:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    parts = sorted(directory.glob(f"*/.*{PART}"))
    return [*found, *(part for part in parts if remove_abandoned_part(part))]


def _lives(process_id: str) -> bool:
    return process_id.isdecimal() and Path("/proc", process_id).exists()
