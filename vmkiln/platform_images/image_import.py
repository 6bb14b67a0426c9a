"""The user's own image under a name of Azure's: a file, or what an address gives, checked and taken into the cache.

Nothing of somebody else's making is opened by a QEMU tool before its header was looked at, and what builds start from
is a file of our own making. An imported image is never stale: it is there until it is deleted.

*Leaves behind:* the image in the cache. *Undone by:* `image_cache.remove`. *Safe to repeat:* yes; the same bytes under
the same version are taken once.
"""

import asyncio
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vmkiln.azure_names import Architecture
from vmkiln.errors import DownloadFailed, HostUnfit, ImageConflict, InputError
from vmkiln.fetching.http_fetch import Patience, connected
from vmkiln.fetching.server_rule import NamedBy, ServerRule
from vmkiln.fetching.way_out import STRAIGHT, WayOut
from vmkiln.files.durable_file import make_folder
from vmkiln.files.sparse_file import copy_sparse
from vmkiln.host.disk.disk_image import copy_start, is_same, virtual_size
from vmkiln.host.making import work_group
from vmkiln.host.qemu import Disk
from vmkiln.images.gallery import parse_version
from vmkiln.images.image_header import HEAD_BYTES, check_start, format_of
from vmkiln.inspecting.windows_facts import WindowsFacts, check_startable
from vmkiln.platform_images import making_folder
from vmkiln.platform_images.boot_disk import BIOS_BOOT_TYPE, BOOT_CODE_BYTES, ESP_TYPE, SECTOR
from vmkiln.platform_images.catalogue_entry import Plan
from vmkiln.platform_images.checksum_file import BY_LENGTH, PublishedChecksum
from vmkiln.platform_images.image_cache import SourceImage, cached_images
from vmkiln.platform_images.image_download import fetch_checked
from vmkiln.platform_images.image_reference import IMPORTED
from vmkiln.platform_images.inspection import inspected
from vmkiln.platform_images.platform_image import take_in
from vmkiln.platform_images.resumed_download import MOST_IMAGE_BYTES, Download, Progress
from vmkiln.template.source import os_type_of_platform_image
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop

LOOKING_MIB = 2048  # of the VM that looks at a Windows, and a little
SPARE_BYTES = 512 * 1024 * 1024
PARTITION_TABLE_BYTES = 34 * SECTOR
MOST_NAME_LETTERS = 80
LookAtWindows = Callable[[Disk, Path], Awaitable[WindowsFacts]]  # a disk, and a private folder for sockets
OF_THE_USER = ServerRule(NamedBy.USER)  # there is no import by a service
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
_PACKED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class ImportedName:
    """The name an image gets: `publisher:offer:sku`, and a version of three numbers, by the date when it is ''."""

    publisher: str
    offer: str
    sku: str
    version: str = ""

    @property
    def title(self) -> str:
        """`publisher:offer:sku` as it was given."""
        return f"{self.publisher}:{self.offer}:{self.sku}"


@dataclass(frozen=True)
class ImportedFacts:
    """What the user says of the image; what is empty is found out: the format and the generation by what it is."""

    image_format: str = ""
    generation: int = 0
    os_type: str = ""
    architecture: str = Architecture.X64
    plan: Plan | None = None
    checksum: PublishedChecksum | None = None


def parse_name(text: str) -> ImportedName:
    """`RedHat:RHEL:9-lvm-gen2` or the same with `:9.4.2026`; pure. Raises: `InputError` naming every mistake."""
    parts = text.split(":")
    if len(parts) not in {3, 4}:
        raise InputError(f"--as: `{text}` is not PUBLISHER:OFFER:SKU[:VERSION]", hint="such as RedHat:RHEL:9-lvm-gen2")
    mistakes = [
        f"the {what} `{part}` is not 1 to {MOST_NAME_LETTERS} letters, digits and `._-`"
        for what, part in zip(("publisher", "offer", "SKU"), parts[:3], strict=True)
        if not _PART.fullmatch(part) or len(part) > MOST_NAME_LETTERS
    ]
    if len(parts) == 4 and parse_version(parts[3]) is None:
        mistakes.append(f"the version `{parts[3]}` is not three numbers with points")
    if mistakes:
        raise InputError(f"--as: {'; '.join(mistakes)}", hint="such as RedHat:RHEL:9-lvm-gen2:9.4.2026")
    return ImportedName(*parts)


def parse_checksum(text: str) -> PublishedChecksum:
    """A SHA-256 or SHA-512 in hexadecimal, with or without `sha256:` before it; pure. Raises: `InputError`."""
    named, _, digest = text.rpartition(":")
    algorithm = BY_LENGTH.get(len(digest), "")
    if not re.fullmatch(r"[0-9a-fA-F]+", digest) or not algorithm or named.lower() not in {"", algorithm}:
        raise InputError(
            f"--checksum: `{text[:160]}` is no SHA-256 or SHA-512", hint="64 or 128 hexadecimal digits, as sha256sum(1)"
        )
    return PublishedChecksum(algorithm, digest.lower())


def os_type_of(name: ImportedName, facts: ImportedFacts) -> str:
    """`Linux` or `Windows`: as it was said, else by publisher and offer; pure."""
    return facts.os_type or str(os_type_of_platform_image(name.publisher, name.offer) or "Linux")


def version_of_today(now: datetime) -> str:
    """The version of an image that was given none: year, month and day, hour and minute (UTC); pure."""
    return f"{now.year}.{now.month * 100 + now.day}.{now.hour * 100 + now.minute}"


def is_address(source: str) -> bool:
    """Whether it is an address and not a file's name; pure."""
    return urlsplit(source).scheme.lower() in {"http", "https"}


def check_address(source: str, checksum: PublishedChecksum | None) -> None:
    """Refuse an address that nothing vouches for. Raises: `InputError`."""
    if source.lower().startswith("http:") and checksum is None:
        raise InputError(f"{source} is not https, and nothing says what it must give", hint="add --checksum sha256:HEX")


async def import_image(
    source: str,
    name: ImportedName,
    facts: ImportedFacts,
    *,
    cache_directory: Path,
    progress: Progress,
    patience: Patience | None = None,
    rule: ServerRule = OF_THE_USER,
    way_out: WayOut = STRAIGHT,
    look: LookAtWindows | None = None,
) -> SourceImage:
    """Take a file, or what an address gives, into the cache under a name; a Windows only after a `look` at it.

    The file itself is only read. Cancelling ends all that was started and leaves nothing but the part of a download
    that arrived.

    Raises: `InputError` for what cannot be an image here; `ImageUnsafe` for one that is refused; `ImageConflict` when
    another image has this name and version; `DownloadFailed`, `HostUnfit`, `StorageFailed`.
    """
    check_address(source, facts.checksum)
    version = name.version or version_of_today(datetime.now(UTC))
    await off_loop(make_folder, cache_directory)
    await making_folder.remove_abandoned(cache_directory)

    def tell_waiting() -> None:
        progress(f"waiting for another process that is importing {name.title}")

    async with (
        alone(cache_directory, f"import {name.title.lower()}", waiting=tell_waiting),
        making_folder.opened(cache_directory) as folder,
        work_group.held(guests_mib=LOOKING_MIB),
    ):
        taken = folder / "taken"
        if is_address(source):
            async with connected(way_out, rule, notice=progress) as client:
                download = Download(client, progress, patience or Patience())
                await _fetch(source, taken, facts.checksum, download, parts=cache_directory, progress=progress)
        else:
            await _copy(Path(source), taken, facts.checksum)
        image_format = facts.image_format or await off_loop(_format, taken, source)
        progress(f"looking at the {image_format} image, and converting it")
        file = folder / "disk.qcow2"
        await inspected(taken, image_format, file)
        start = folder / "start"
        await copy_start(Disk(file, "qcow2"), start, size_bytes=HEAD_BYTES)
        begins = await off_loop(start.read_bytes)
        check_start(begins)  # of a disk that was packed, too, which is seen only now
        generation = facts.generation or _generation(name, begins)
        os_type = os_type_of(name, facts)
        found = await _windows_facts(file, folder, look, progress) if look and os_type == "Windows" else {}
        if there := await off_loop(_there, cache_directory, name, version):
            if await _is_the_same(Disk(file, "qcow2"), there):
                return there
            raise ImageConflict(
                f"another image is imported as {name.title}:{version}",
                hint=f"name another version, or `vmkiln image delete {name.title}:{version}` first",
            )
        return await take_in(
            cache_directory,
            file,
            name=name.title.lower(),
            title=name.title,
            exact_version=version,
            generation=generation,
            os_type=os_type,
            architecture=facts.architecture,
            plan=(facts.plan.name, facts.plan.product, facts.plan.publisher) if facts.plan else (),
            origin=source if is_address(source) else str(Path(source).resolve()),
            recipe=IMPORTED,
            is_imported=True,
            published_digest=f"{facts.checksum.algorithm}:{facts.checksum.digest}" if facts.checksum else "",
            **found,
        )


async def _windows_facts(file: Path, folder: Path, look: LookAtWindows, progress: Progress) -> dict[str, Any]:
    """What is recorded of a Windows. Raises: `ImageUnsafe` for one that no build can start from."""
    progress("looking at the Windows in it, in a VM without a network")
    sockets = folder / "look"
    await off_loop(make_folder, sockets)
    found = await look(Disk(file, "qcow2"), sockets)
    progress(f"this is {found.title}")
    check_startable(found)
    if found.answers:
        progress(
            f"it has answer files of its own: {', '.join(found.answers)}; those that win over a build's are taken out "
            "of the build's copy of it"
        )
    if found.overrides:
        drivers = ", ".join(found.overrides)
        progress(
            f"drivers that it is told not to start on another machine: {drivers}; their keys StartOverride are taken "
            "out of a build's copy of it"
        )
    return {"system": found.title, "language": found.language, "services": found.services}


async def _is_the_same(disk: Disk, there: SourceImage) -> bool:
    """Whether guests would read the same; the files may differ, for they are written out of order."""
    size = await virtual_size(disk)
    return size == there.virtual_size_bytes and await is_same(disk, Disk(there.path, there.format))


def _there(directory: Path, name: ImportedName, version: str) -> SourceImage | None:
    """The image that was imported under this name and version."""
    for image in cached_images(directory):
        if image.is_imported and (image.name, image.exact_version) == (name.title.lower(), version):
            return image
    return None


async def _fetch(
    source: str,
    target: Path,
    checksum: PublishedChecksum | None,
    download: Download,
    *,
    parts: Path,
    progress: Progress,
) -> None:
    if checksum is not None:
        await fetch_checked(download, source, checksum, target, parts=parts)
        return
    progress(f"{source} is checked against no checksum; who serves it is trusted (--checksum names one)")
    part = parts / f".part-{hashlib.sha256(source.encode()).hexdigest()[:32]}"
    await download.whole_file(source, part)
    await off_loop(part.rename, target)


async def _copy(source: Path, target: Path, checksum: PublishedChecksum | None) -> None:
    await off_loop(_check_file, source, target.parent)
    await asyncio.to_thread(copy_sparse, source, target)
    if checksum is not None:
        actual = await asyncio.to_thread(_digest, target, checksum.algorithm)
        if actual != checksum.digest:
            raise DownloadFailed(f"{source} has {checksum.algorithm} {actual}, and not {checksum.digest}")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _check_file(source: Path, folder: Path) -> None:
    """Raises: `InputError` for what is no file that can be an image; `HostUnfit` where there is no room for it."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{source} is not a regular file")
    if status.st_size > MOST_IMAGE_BYTES:
        raise InputError(f"{source} has {status.st_size} bytes; at most {MOST_IMAGE_BYTES} are taken")
    needed, free = status.st_blocks * 512 * 2 + SPARE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        raise HostUnfit(
            f"importing {source} needs {needed >> 20} MiB, and {free >> 20} are free under {folder.parent}",
            hint="make room, or set VMKILN_HOME to a folder on another disk",
        )


def _format(taken: Path, source: str) -> str:
    """The format of an image by what it is. Raises: `InputError` for a file that has to be unpacked first."""
    with taken.open("rb") as file:
        start = file.read(8)
    for magic, packer in _PACKED.items():
        if start.startswith(magic):
            raise InputError(f"{source} is packed with {packer}", hint="unpack it, and import the disk that is in it")
    return format_of(taken)


def _generation(name: ImportedName, start: bytes) -> int:
    """The Hyper-V generation: as the SKU says it, else 2 for a disk that starts by UEFI alone, else 1."""
    if said := re.search(r"(?:gen|-g)([12])\b", name.sku.lower()):
        return int(said[1])
    return 2 if starts_by_uefi_alone(start[:PARTITION_TABLE_BYTES]) else 1


def starts_by_uefi_alone(start: bytes) -> bool:
    """Whether a disk, of which this is the start, has an EFI system partition and nothing for a BIOS to start; pure.

    Source: UEFI specification 5.3: the header in the second sector, partition entries of 128 bytes from the third.
    """
    if start[SECTOR : SECTOR + 8] != b"EFI PART":
        return False
    kinds = {start[place : place + 16] for place in range(2 * SECTOR, len(start), 128)}
    has_boot_code = any(start[:BOOT_CODE_BYTES]) and uuid.UUID(BIOS_BOOT_TYPE).bytes_le in kinds
    return uuid.UUID(ESP_TYPE).bytes_le in kinds and not has_boot_code
