"""The header inspector: what someone else wrote is read by us, byte by byte, before any QEMU tool opens it.

Accepted are plain qcow2 (version 2 or 3, no backing file, no external data file, nothing encrypted, no snapshot, no
feature we do not know) and raw disks that do not also look like something else. Everything else is refused.
Sources: docs/interop/qcow2.rst in QEMU; UEFI specification 5.3; threat model T-IMG-1 to T-IMG-9.
"""

import os
import stat
import struct
from pathlib import Path

from vmkiln.errors import ImageUnsafe

HEAD_BYTES = 64 * 1024
MOST_VIRTUAL_BYTES = 2 * 1024**4
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
ALLOWED_INCOMPATIBLE = DIRTY
BACKING_FORMAT = 0xE2792ACA
EXTERNAL_DATA_FILE = 0x44415441
ENCRYPTION = 0x0537BE77
MOST_L1_BYTES = 32 * 1024 * 1024


def inspect_image(path: Path, *, expected_format: str) -> None:
    """Refuse a file that is not a harmless image of the expected format (`qcow2` or `raw`).

    Reads 64 KiB at the front and 512 bytes at the end. Raises: `ImageUnsafe` saying what was found.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ImageUnsafe(f"{path} is not a regular file")
        head = file.read(HEAD_BYTES)
        file.seek(max(0, status.st_size - 512))
        tail = file.read(512)
    check_bytes(head, tail, size_bytes=status.st_size, expected_format=expected_format)


def check_bytes(head: bytes, tail: bytes, *, size_bytes: int, expected_format: str) -> None:
    """The same for bytes already read; pure."""
    if expected_format == "qcow2":
        _check_qcow2(head)
    elif expected_format == "raw":
        _check_raw(head, tail, size_bytes)
    else:
        raise ImageUnsafe(f"images of format {expected_format} are not taken; allowed are qcow2 and raw")


def _check_raw(head: bytes, tail: bytes, size_bytes: int) -> None:
    for magic, name in MAGICS.items():
        if head.startswith(magic):
            raise ImageUnsafe(f"the raw disk begins like a {name} file")
    if head[64:68] == b"\x7f\x10\xda\xbe":
        raise ImageUnsafe("the raw disk begins like a VDI file")
    if tail.startswith(b"conectix"):
        raise ImageUnsafe("the raw disk ends like a VHD file")
    if size_bytes > MOST_VIRTUAL_BYTES:
        raise ImageUnsafe(f"the disk has {size_bytes} bytes; at most {MOST_VIRTUAL_BYTES} are taken")
    if head[510:512] != b"\x55\xaa":
        raise ImageUnsafe("the raw disk has no partition table")


def _check_qcow2(head: bytes) -> None:
    if not head.startswith(QCOW2):
        found = next((name for magic, name in MAGICS.items() if head.startswith(magic)), "something else")
        raise ImageUnsafe(f"this is not a qcow2 file but {found}")
    if len(head) < 104:
        raise ImageUnsafe("the qcow2 header is cut off")
    (
        version, backing_offset, backing_size, cluster_bits, size, encryption, l1_size, l1_offset,
        table_offset, table_clusters, snapshots, _snapshots_offset,
    ) = struct.unpack_from(">IQIIQIIQQIIQ", head, 4)  # fmt: skip
    problems = {
        f"version {version}": version not in (2, 3),
        "a backing file": backing_offset != 0 or backing_size != 0,
        f"clusters of 2^{cluster_bits} bytes": not 9 <= cluster_bits <= 21,
        f"a virtual size of {size} bytes": not 0 < size <= MOST_VIRTUAL_BYTES,
        "encryption": encryption != 0,
        "snapshots": snapshots != 0,
        "a first-level table that is too large": l1_size * 8 > MOST_L1_BYTES,
        "tables inside the header": min(l1_offset, table_offset) < 512,
        "a reference count table that is too large": table_clusters > 8 * 1024 * 1024,
    }
    _refuse(problems)
    if version == 3:
        _check_version_3(head, 1 << cluster_bits)
    else:
        _check_extensions(head, 72, 1 << cluster_bits)


def _check_version_3(head: bytes, cluster_bytes: int) -> None:
    incompatible, _compatible, _autoclear, refcount_order, header_length = struct.unpack_from(">QQQII", head, 72)
    _refuse(
        {
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
        _refuse(
            {
                "a backing file's format": kind == BACKING_FORMAT,
                "an external data file's name": kind == EXTERNAL_DATA_FILE,
                "an encryption header": kind == ENCRYPTION,
                "a header extension that is too long": length > limit - position,
            }
        )
        position += 8 + -(-length // 8) * 8
    if position < limit:
        raise ImageUnsafe("the qcow2 header's extensions do not end")


def _refuse(problems: dict[str, bool]) -> None:
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise ImageUnsafe(f"the qcow2 file has {', '.join(found)}")
