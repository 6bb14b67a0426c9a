"""The header inspector: what someone else wrote is read by us, byte by byte, before any QEMU tool opens it.

Accepted are plain qcow2 (version 2 or 3, no backing file, no external data file, nothing encrypted, no snapshot, no
feature we do not know, tables within the file), raw disks that do not also look like something else, fixed VHDs of
such, dynamic VHDs and VHDX files (`dynamic_vhd.py`, `vhdx.py`). Everything else is refused: VMDK, VDI, QED, Parallels,
Bochs, cloop, LUKS.
Sources: docs/interop/qcow2.rst in QEMU; UEFI specification 5.3; docs/reference/hostile-input.md#disk-images.
"""

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import ImageUnsafe
from vmkiln.images.byte_ranges import MOST_VIRTUAL_BYTES, ReadAt
from vmkiln.images.dynamic_vhd import DYNAMIC, check_dynamic
from vmkiln.images.vhd import FIXED, FOOTER_BYTES, read_footer
from vmkiln.images.vhdx import IDENTIFIER, check_vhdx

HEAD_BYTES = 64 * 1024
QCOW2 = b"QFI\xfb"
MAGICS = {
    QCOW2: "qcow2",
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK descriptor",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"QED\0": "QED",
    b"LUKS\xba\xbe": "LUKS",
    b"OFVD": "Parallels",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
    b"Bochs Virtual HD Image": "Bochs",
    b"#!/bin/sh\n#V2.0 Format": "cloop",
}
DIRTY = 1
CORRUPT = 2
COMPRESSION_TYPE = 8
MOST_COMPRESSION_TYPE = 1  # 0 is zlib, 1 is zstd
ALLOWED_INCOMPATIBLE = DIRTY | COMPRESSION_TYPE
BACKING_FORMAT = 0xE2792ACA
EXTERNAL_DATA_FILE = 0x44415441
ENCRYPTION = 0x0537BE77
SECTOR_BYTES = 512
MOST_L1_BYTES = 32 * 1024 * 1024
MOST_REFERENCE_TABLE_BYTES = 8 * 1024 * 1024
VHD_MAGIC = b"conectix"
VDI_MAGIC = b"\x7f\x10\xda\xbe"
BOOT_SIGNATURE = b"\x55\xaa"
DISC, DISC_AT = b"CD001", 32769  # ISO 9660; one that a BIOS starts from a stick has a boot signature, too
TAR, TAR_AT = b"ustar", 257
OTHER_FORM = "where you trust it, `qemu-img convert -O qcow2 FILE COPY` makes a plain qcow2 of it"
CUT_OFF = "is the file whole? copy or fetch it once more"


@dataclass(frozen=True)
class Inspected:
    """A harmless image: its virtual size in bytes, and what QEMU calls its form: `qcow2`, `raw`, `vpc` or `vhdx`.

    A fixed VHD is `raw`: its disk is what comes before the footer.
    """

    size_bytes: int
    driver: str


def inspect_image(path: Path, *, expected_format: str) -> int:
    """The virtual size in bytes of a harmless image of the expected format, as `look_at` does it."""
    return look_at(path, expected_format=expected_format).size_bytes


def look_at(path: Path, *, expected_format: str) -> Inspected:
    """What a harmless image of the expected format (`qcow2`, `raw`, `vhd`, `vhdx`) is.

    Reads a regular file only, and of that the headers and tables.
    Raises: `ImageUnsafe` saying what was found; every reason there is, not the first.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ImageUnsafe(f"{path} cannot be opened as an image: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageUnsafe(f"{path} is not a regular file")

        def read_at(offset: int, length: int) -> bytes:
            file.seek(max(0, offset))
            return file.read(length)

        return check_file(read_at, size_bytes=status.st_size, expected_format=expected_format)


def check_file(read_at: ReadAt, *, size_bytes: int, expected_format: str) -> Inspected:
    """The same for a file of `size_bytes` that `read_at` reads; pure but for that."""
    if expected_format == "vhdx":
        return Inspected(check_vhdx(read_at, size_bytes), "vhdx")
    tail = read_at(size_bytes - FOOTER_BYTES, FOOTER_BYTES)
    if expected_format == "vhd" and len(tail) == FOOTER_BYTES and read_footer(tail).disk_type == DYNAMIC:
        return Inspected(check_dynamic(read_at, size_bytes), "vpc")
    head = read_at(0, HEAD_BYTES)
    size = check_bytes(head, tail, size_bytes=size_bytes, expected_format=expected_format)
    return Inspected(size, "qcow2" if expected_format == "qcow2" else "raw")


def format_of(path: Path) -> str:
    """Which of the formats a file is to be inspected as, by its start and its end: `qcow2`, `vhdx`, `vhd`, else `raw`.

    Raises: `ImageUnsafe` for a format that is not taken.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, path.stat().st_size - FOOTER_BYTES))
        tail = file.read(FOOTER_BYTES)
    if head.startswith(QCOW2):
        return "qcow2"
    if head.startswith(IDENTIFIER):
        return "vhdx"
    if tail.startswith(VHD_MAGIC):
        return "vhd"
    if found := next((name for magic, name in MAGICS.items() if head.startswith(magic)), ""):
        if found == "VHD":
            raise ImageUnsafe("the VHD file has no footer at its end", hint=CUT_OFF)
        raise ImageUnsafe(f"this is a {found} file; allowed are qcow2, raw, VHD and VHDX", hint=OTHER_FORM)
    return "raw"


def check_bytes(head: bytes, tail: bytes, *, size_bytes: int, expected_format: str) -> int:
    """The same of qcow2, raw and fixed VHD, for the first 64 KiB and the last 512 bytes of a file; pure."""
    match expected_format:
        case "qcow2":
            return _check_qcow2(head, size_bytes)
        case "raw":
            if tail.startswith(VHD_MAGIC):
                raise ImageUnsafe("the raw disk ends like a VHD file")
            return _check_raw(head, size_bytes)
        case "vhd":
            return _check_fixed_vhd(head, tail, size_bytes)
        case _:
            raise ImageUnsafe(f"images of format {expected_format} are not taken; allowed are qcow2, raw, vhd and vhdx")


def _check_raw(head: bytes, size_bytes: int) -> int:
    for magic, name in MAGICS.items():
        if head.startswith(magic):
            raise ImageUnsafe(f"the raw disk begins like a {name} file", hint=OTHER_FORM)
    if head[64:68] == VDI_MAGIC:
        raise ImageUnsafe("the raw disk begins like a VDI file", hint=OTHER_FORM)
    if size_bytes > MOST_VIRTUAL_BYTES:
        raise ImageUnsafe(f"the disk has {size_bytes} bytes; at most {MOST_VIRTUAL_BYTES} are taken")
    check_start(head)
    return size_bytes


def check_start(head: bytes) -> None:
    """Refuse what no machine starts from, by the first 64 KiB that a guest would read; pure. Raises: `ImageUnsafe`."""
    if not head:
        raise ImageUnsafe("the file is empty", hint=CUT_OFF)
    if head[DISC_AT : DISC_AT + len(DISC)] == DISC:
        raise ImageUnsafe(
            "this is an installation disc (ISO 9660), and not the disk of a system that is installed",
            hint="publishers have cloud images beside their discs, as qcow2 or raw",
        )
    if head[510:512] == BOOT_SIGNATURE:
        return
    if head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        raise ImageUnsafe("this is a tar archive, such as an OVA", hint="unpack it, and import the disk that is in it")
    if head.lstrip()[:1] == b"<":
        raise ImageUnsafe("this is a web page or XML, and no disk", hint="fetch the file itself")
    raise ImageUnsafe(
        "the disk has no partition table", hint="a whole disk with its boot loader is needed, not one file system"
    )


def _check_fixed_vhd(head: bytes, tail: bytes, size_bytes: int) -> int:
    footer = read_footer(tail)
    if footer.disk_type != FIXED:
        raise ImageUnsafe(f"the VHD is of type {footer.disk_type}; fixed ({FIXED}) and dynamic ({DYNAMIC}) are taken")
    if footer.size_bytes != size_bytes - FOOTER_BYTES:
        raise ImageUnsafe(f"the VHD's footer says {footer.size_bytes} bytes, and {size_bytes - FOOTER_BYTES} are there")
    return _check_raw(head, footer.size_bytes)


def _check_qcow2(head: bytes, size_bytes: int) -> int:
    if not head.startswith(QCOW2):
        found = next((name for magic, name in MAGICS.items() if head.startswith(magic)), "something else")
        raise ImageUnsafe(f"this is not a qcow2 file but {found}")
    if len(head) < 104:
        raise ImageUnsafe("the qcow2 header is cut off", hint=CUT_OFF)
    (
        version, backing_offset, backing_size, cluster_bits, size, encryption, l1_entries, l1_offset,
        table_offset, table_clusters, snapshots, _snapshots_offset,
    ) = struct.unpack_from(">IQIIQIIQQIIQ", head, 4)  # fmt: skip
    if version not in (2, 3) or not 9 <= cluster_bits <= 21:
        raise ImageUnsafe(f"the qcow2 file is of version {version} with clusters of 2^{cluster_bits} bytes")
    cluster = 1 << cluster_bits
    table_bytes = table_clusters * cluster
    bytes_of_an_entry = cluster * (cluster // 8)  # what one entry of the first-level table maps
    _refuse(
        {
            "a backing file": backing_offset != 0 or backing_size != 0,
            # a part of a sector would be left out by tools that count in sectors
            f"a virtual size of {size} bytes (at most {MOST_VIRTUAL_BYTES}, in whole sectors)": not 0
            < size
            <= MOST_VIRTUAL_BYTES
            or size % SECTOR_BYTES != 0,
            "encryption": encryption != 0,
            "snapshots": snapshots != 0,
            "a first-level table that is too large": l1_entries * 8 > MOST_L1_BYTES,
            "a first-level table that is too small": l1_entries < -(-size // bytes_of_an_entry),
            "a first-level table out of place": not _is_placed(l1_offset, l1_entries * 8, cluster, size_bytes),
            "a reference count table that is too large": table_bytes > MOST_REFERENCE_TABLE_BYTES,
            "a reference count table out of place": not _is_placed(table_offset, table_bytes, cluster, size_bytes),
        }
    )
    if version == 3:
        _check_version_3(head, cluster)
    else:
        _check_extensions(head, 72, cluster)
    return int(size)


def _is_placed(offset: int, length: int, cluster: int, size_bytes: int) -> bool:
    """Whether a table starts at a cluster after the first and lies within the file."""
    return offset >= cluster and offset % cluster == 0 and offset + length <= size_bytes


def _check_version_3(head: bytes, cluster_bytes: int) -> None:
    incompatible, _compatible, _autoclear, refcount_order, header_length = struct.unpack_from(">QQQII", head, 72)
    compression = int.from_bytes(head[104:105]) if incompatible & COMPRESSION_TYPE and header_length > 104 else 0
    _refuse(
        {
            f"compression of type {compression}": compression > MOST_COMPRESSION_TYPE,
            "an external data file": bool(incompatible & 4),
            "a mark that it is corrupt": bool(incompatible & CORRUPT),
            f"features we do not know ({incompatible:#x})": bool(incompatible & ~(ALLOWED_INCOMPATIBLE | 4 | CORRUPT)),
            f"reference counts of 2^{refcount_order} bits": refcount_order > 6,
            f"a header of {header_length} bytes": not 104 <= header_length <= 4096 or header_length % 8 != 0,
        }
    )
    _check_extensions(head, header_length, cluster_bytes)


def _check_extensions(head: bytes, start: int, cluster_bytes: int) -> None:
    position = start
    limit = min(len(head), cluster_bytes)
    while position + 8 <= limit:
        kind, length = struct.unpack_from(">II", head, position)
        if kind == 0:
            return
        body = position + 8
        _refuse(
            {
                "a backing file's format": kind == BACKING_FORMAT,
                "an external data file's name": kind == EXTERNAL_DATA_FILE,
                "an encryption header": kind == ENCRYPTION,
                "a header extension that is too long": length > limit - body,
            }
        )
        position += 8 + -(-length // 8) * 8
    # QEMU stops where the first cluster ends; more than fits in there is no header of an honest tool
    if position < cluster_bytes:
        raise ImageUnsafe("the qcow2 header's extensions do not end")


def _refuse(problems: dict[str, bool]) -> None:
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        is_cut_off = all(problem.endswith("out of place") for problem in found)
        hint = CUT_OFF if is_cut_off else OTHER_FORM
        raise ImageUnsafe(f"the qcow2 file has {', '.join(found)}", hint=hint)
