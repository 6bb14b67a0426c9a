"""Writes a published image to a file of the user's, in the format they want."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.files.durable_file import reported, sync, write_whole
from vmkiln.files.sparse_file import copy_sparse
from vmkiln.host.disk.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.image_store import sha256_of, to_the_end, verified
from vmkiln.images.vhd_image import add_footer, read_vhd
from vmkiln.store.database import utc_now
from vmkiln.store.rows import ImageRow
from vmkiln.waiting.off_loop import off_loop

FORMATS = ("qcow2", "raw", "vhd", "vmdk", "vhdx")
COMPRESSED = ("qcow2", "vmdk")  # what has a compressed form
ENDINGS = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw", ".vhd": "vhd", ".vmdk": "vmdk", ".vhdx": "vhdx"}
CHECKSUM_SUFFIX = ".sha256"


def format_for(target: Path, wanted: str) -> str:
    """The format to write: the wanted one, else by the file's name. Raises: `InputError` for an unknown one."""
    name = wanted or ENDINGS.get(target.suffix.lower(), "")
    if name not in FORMATS:
        raise InputError(f"`{wanted or target.name}` does not say a format", hint=f"--format {'|'.join(FORMATS)}|oci")
    return name


async def export_image(
    image: ImageRow,
    target: Path,
    *,
    target_format: str,
    may_overwrite: bool,
    progress: Callable[[bytes], None] | None = None,
    is_compressed: bool = False,
) -> None:
    """Write the image to `target`, whole or not at all.

    Raises: `InputError` when the file is there and may not be overwritten, or no format is known; `ImageUnsafe` when
    the stored image was changed; `StorageFailed` when it cannot be written.
    """
    name = format_for(target, target_format)
    if is_compressed and name not in COMPRESSED:
        raise InputError(f"{name} has no compressed form", hint=f"those that have are {', '.join(COMPRESSED)}")
    if target.is_dir():
        raise InputError(f"{target} is a folder", hint="name the file to write")
    if target.exists() and not may_overwrite:
        raise InputError(f"{target} exists", hint="--force overwrites it")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}")
    await verified(image)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    with reported(f"writing {target}"):
        try:
            await _write(image, temporary, name, progress, is_compressed=is_compressed)
            await off_loop(_put, temporary, target)
        finally:
            await off_loop(temporary.unlink, missing_ok=True)


def _put(temporary: Path, target: Path) -> None:
    sync(temporary)
    temporary.rename(target)
    sync(target.parent)


async def write_checksum(target: Path) -> Path:
    """Put the SHA-256 of an exported file beside it, as `sha256sum --check` reads it; gives the file of the checksum.

    Raises: `StorageFailed`.
    """
    file = target.with_name(target.name + CHECKSUM_SUFFIX)
    with reported(f"writing {file}"):
        line = f"{(await off_loop(sha256_of, target)).removeprefix('sha256:')}  {target.name}\n"
        await off_loop(write_whole, file.absolute(), line.encode(), mode=0o644)
    return file


async def _write(
    image: ImageRow,
    file: Path,
    name: str,
    progress: Callable[[bytes], None] | None,
    *,
    is_compressed: bool,
) -> None:
    if image.format == name and not is_compressed:
        await to_the_end(copy_sparse, image.path, file)
        return
    written = "raw" if name == "vhd" else name
    if image.format == "vhd":
        source = file.with_name(f"{file.name}.raw")
        try:
            await to_the_end(_without_footer, image.path, source)
            await convert(
                Disk(source, "raw"), file, target_format=written, progress=progress, is_compressed=is_compressed
            )
        finally:
            await off_loop(source.unlink, missing_ok=True)
    else:
        await convert(
            Disk(image.path, image.format), file, target_format=written, progress=progress, is_compressed=is_compressed
        )
    if name == "vhd":
        add_footer(file, created=utc_now())


def _without_footer(vhd: Path, raw: Path) -> None:
    size = read_vhd(vhd).size_bytes
    copy_sparse(vhd, raw)
    os.truncate(raw, size)
