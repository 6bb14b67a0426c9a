"""Writes a published image to a file of the user's, in the format they want."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.files.durable_file import reported, sync
from vmkiln.files.sparse_file import copy_sparse
from vmkiln.host.disk.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.image_store import to_the_end, verified
from vmkiln.images.vhd_image import add_footer, read_vhd
from vmkiln.store.database import utc_now
from vmkiln.store.rows import ImageRow
from vmkiln.waiting.off_loop import off_loop

FORMATS = ("qcow2", "raw", "vhd")


def format_for(target: Path, wanted: str) -> str:
    """The format to write: the wanted one, else by the file's name. Raises: `InputError` for an unknown one."""
    name = wanted or {".qcow2": "qcow2", ".raw": "raw", ".img": "raw", ".vhd": "vhd"}.get(target.suffix.lower(), "")
    if name not in FORMATS:
        raise InputError(f"`{wanted or target.name}` does not say a format", hint=f"--format {'|'.join(FORMATS)}")
    return name


async def export_image(
    image: ImageRow,
    target: Path,
    *,
    target_format: str,
    may_overwrite: bool,
    progress: Callable[[bytes], None] | None = None,
) -> None:
    """Write the image to `target`, whole or not at all.

    Raises: `InputError` when the file is there and may not be overwritten, or no format is known; `ImageUnsafe` when
    the stored image was changed; `StorageFailed` when it cannot be written.
    """
    name = format_for(target, target_format)
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
            await _write(image, temporary, name, progress)
            await off_loop(_put, temporary, target)
        finally:
            await off_loop(temporary.unlink, missing_ok=True)


def _put(temporary: Path, target: Path) -> None:
    sync(temporary)
    temporary.rename(target)
    sync(target.parent)


async def _write(image: ImageRow, file: Path, name: str, progress: Callable[[bytes], None] | None) -> None:
    if image.format == name:
        await to_the_end(copy_sparse, image.path, file)
        return
    written = "raw" if name == "vhd" else name
    if image.format == "vhd":
        source = file.with_name(f"{file.name}.raw")
        try:
            await to_the_end(_without_footer, image.path, source)
            await convert(Disk(source, "raw"), file, target_format=written, progress=progress)
        finally:
            await off_loop(source.unlink, missing_ok=True)
    else:
        await convert(Disk(image.path, image.format), file, target_format=written, progress=progress)
    if name == "vhd":
        add_footer(file, created=utc_now())


def _without_footer(vhd: Path, raw: Path) -> None:
    size = read_vhd(vhd).size_bytes
    copy_sparse(vhd, raw)
    os.truncate(raw, size)
