"""Writes a published image to a file of the user's, in the format they want."""

import asyncio
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from vmkiln.errors import ImageUnsafe, InputError
from vmkiln.host.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.image_store import sync, verified
from vmkiln.images.vhd import FIXED, FOOTER_BYTES, aligned, footer, read_footer
from vmkiln.store.database import utc_now
from vmkiln.store.rows import ImageRow

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
    the stored image was changed.
    """
    name = format_for(target, target_format)
    if target.exists() and not may_overwrite:
        raise InputError(f"{target} exists", hint="--force overwrites it")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}")
    await verified(image)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        await _write(image, temporary, name, progress)
        await asyncio.to_thread(sync, temporary)
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)


async def _write(image: ImageRow, file: Path, name: str, progress: Callable[[bytes], None] | None) -> None:
    if image.format == "vhd":
        if name == "vhd":
            await asyncio.to_thread(shutil.copyfile, image.path, file)
            return
        source = await asyncio.to_thread(_without_footer, image.path, file.with_name(file.name + ".raw"))
        try:
            await convert(Disk(source, "raw"), file, target_format=name, progress=progress)
        finally:
            source.unlink(missing_ok=True)
        return
    await convert(
        Disk(image.path, image.format), file, target_format="raw" if name == "vhd" else name, progress=progress
    )
    if name == "vhd":
        size = aligned(file.stat().st_size)
        with file.open("r+b") as disk:
            disk.truncate(size)
            disk.seek(size)
            disk.write(footer(size, identifier=uuid.uuid4(), created=utc_now()))


def _without_footer(vhd: Path, raw: Path) -> Path:
    shutil.copyfile(vhd, raw)
    with raw.open("r+b") as file:
        end = file.seek(-FOOTER_BYTES, 2)
        found = read_footer(file.read())
        if found.disk_type != FIXED or found.size_bytes != end:
            raise ImageUnsafe(f"{vhd} is not a fixed VHD of its own size")
        file.truncate(end)
    return raw
