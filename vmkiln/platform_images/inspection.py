"""A file of somebody else, made an image of our own: its header is looked at, then it is measured, then converted.

Measured, for a small file can be a large disk: of clusters that are compressed, or one cluster named a million times.
"""

import shutil
from pathlib import Path

from vmkiln.errors import CommandFailed, ImageUnsafe, StorageFull
from vmkiln.host.disk.disk_image import convert, measure
from vmkiln.host.qemu import Disk
from vmkiln.images.image_header import look_at
from vmkiln.waiting.off_loop import off_loop

MOST_TIMES = 50  # a disk of its own file; packed operating systems are five to ten times as large
HARMLESS_BYTES = 1024**3  # a disk of so many is taken, however small its file is
SPARE_BYTES = 512 * 1024**2  # that stay free for what else is done here


async def inspected(fetched: Path, image_format: str, target: Path) -> None:
    """A file of somebody else, looked at before any QEMU tool opens it, as an uncompressed qcow2 file of our own.

    The file is deleted. Raises: `ImageUnsafe`; `StorageFull` when there is no room for it.
    """
    driver = await off_loop(_inspect, fetched, image_format)
    file_bytes = (await off_loop(fetched.stat)).st_size
    disk = Disk(fetched, driver)
    try:
        measured = await measure(disk)
    except CommandFailed as error:
        raise ImageUnsafe(f"the image cannot be measured: {error}") from error
    await off_loop(_check_size, file_bytes, measured.needed_bytes, target.parent)
    await convert(disk, target, target_format="qcow2")
    await off_loop(fetched.unlink)


def _inspect(fetched: Path, image_format: str) -> str:
    """What QEMU calls its form."""
    found = look_at(fetched, expected_format=image_format)
    if image_format == "vhd" and found.driver == "raw":  # what comes before the footer is the raw disk
        with fetched.open("r+b") as file:
            file.truncate(found.size_bytes)
    return found.driver


def _check_size(file_bytes: int, needed_bytes: int, folder: Path) -> None:
    if needed_bytes > HARMLESS_BYTES and needed_bytes > MOST_TIMES * file_bytes:
        raise ImageUnsafe(
            f"the image has {file_bytes} bytes, and unpacked {needed_bytes}: more than {MOST_TIMES} times as many"
        )
    free = shutil.disk_usage(folder).free
    if needed_bytes + SPARE_BYTES > free:
        raise StorageFull(
            f"the image needs {needed_bytes + SPARE_BYTES >> 20} MiB unpacked, and {free >> 20} MiB are free",
            hint="make room, or set VMKILN_HOME to a folder on another disk",
        )
