"""Data disks of an image: each a file of its own beside the OS disk, under a name that follows from it.

Source: docs/reference/image-template.md (`additionalDataDisks`); the ARM reference of Microsoft.Compute (images:
`storageProfile.dataDisks`; galleries/images/versions: `storageProfile.dataDiskImages`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmkiln.errors import ImageNotFound

if TYPE_CHECKING:  # `validate` asks for the limits here, and has no images
    from vmkiln.store.rows import ImageRow

DETAIL = "data_disks"  # the detail of an image that has them
SHARED_OBJECT = "object"  # the detail of an image that names the object which other hosts get it from
MOST_DATA_DISKS = 16  # of one VM, with those of its source; QEMU's board has a slot for each
LARGEST_DATA_DISK_GB = 32767  # Azure's largest managed disk


@dataclass(frozen=True)
class DataDisk:
    """A data disk: its logical unit number, the SHA-256 and the bytes of its file, the bytes that a guest sees.

    `shared_object` is the object that the hosts of a fleet get it from, or ''.
    """

    lun: int
    digest: str
    size_bytes: int
    virtual_size_bytes: int
    shared_object: str = ""

    def beside(self, os_disk: Path) -> Path:
        """Where its file is when the OS disk is there."""
        return file_beside(os_disk, self.lun)


def file_beside(os_disk: Path, lun: int) -> Path:
    """The file of a data disk that goes with an OS disk's: `disk.qcow2` has `disk-data-0.qcow2`."""
    return os_disk.with_name(f"{os_disk.stem}-data-{lun}{os_disk.suffix}")


def files_beside(os_disk: Path) -> dict[int, Path]:
    """The files of the data disks that lie beside an OS disk's, by their numbers."""
    files = ((lun, file_beside(os_disk, lun)) for lun in range(MOST_DATA_DISKS))
    return {lun: file for lun, file in files if file.exists()}


def described(disks: tuple[DataDisk, ...]) -> dict[str, Any]:
    """What an image's record says of its data disks; nothing when it has none."""
    return {DETAIL: [vars(disk) for disk in disks]} if disks else {}


def data_disks_of(image: "ImageRow") -> tuple[DataDisk, ...]:
    """The data disks of a recorded image, in the order of their numbers."""
    return tuple(DataDisk(**item) for item in image.detail.get(DETAIL, ()))


def parts_of(image: "ImageRow") -> "Iterator[ImageRow]":
    """Every file of an image, each as if it were an image of one disk: the data disks, and the OS disk as the last."""
    detail = {name: value for name, value in image.detail.items() if name != DETAIL}
    for disk in data_disks_of(image):
        yield replace(
            image,
            path=disk.beside(image.path),
            digest=disk.digest,
            size_bytes=disk.size_bytes,
            virtual_size_bytes=disk.virtual_size_bytes,
            detail={**detail, SHARED_OBJECT: disk.shared_object},
        )
    yield replace(image, detail=detail)


def part_of(image: "ImageRow", lun: int) -> "ImageRow":
    """One data disk of an image as if it were an image. Raises: `ImageNotFound` when it has none of that number."""
    disks = data_disks_of(image)
    for disk, part in zip(disks, parts_of(image), strict=False):
        if disk.lun == lun:
            return part
    has = ", ".join(str(disk.lun) for disk in disks) or "none"
    raise ImageNotFound(f"the image {image.artifact_id} has no data disk {lun}", hint=f"its data disks: {has}")
