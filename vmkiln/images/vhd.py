"""Fixed VHD files as Azure takes them: the raw disk, a whole number of MiB, then one footer of 512 bytes.

Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, sections "Hard Disk Footer Format" and
"Appendix: CHS Calculation"; Azure's "Prepare a VHD to upload" (fixed, virtual size a multiple of 1 MiB).
"""

import struct
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from vmkiln.errors import ImageUnsafe

FOOTER_BYTES = 512
MIB = 1024 * 1024
SECTOR_BYTES = 512
FIXED = 2
CHECKSUM_AT = 64
COOKIE = b"conectix"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# qemu-img believes the size field, rather than the older and coarser geometry, only for programs it knows
CREATOR = b"qem2"
_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sB")


@dataclass(frozen=True)
class Footer:
    """What a footer says: the disk's size in bytes and its type (2 = fixed)."""

    size_bytes: int
    disk_type: int


def aligned(size_bytes: int) -> int:
    """The next whole number of MiB."""
    return -(-size_bytes // MIB) * MIB


def geometry(size_bytes: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track for a disk of this size."""
    total = min(size_bytes // SECTOR_BYTES, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        sectors, heads = 255, 16
        cylinder_times_heads = total // sectors
    else:
        sectors = 17
        cylinder_times_heads = total // sectors
        heads = max(4, (cylinder_times_heads + 1023) // 1024)
        if cylinder_times_heads >= heads * 1024 or heads > 16:
            sectors, heads = 31, 16
            cylinder_times_heads = total // sectors
        if cylinder_times_heads >= heads * 1024:
            sectors, heads = 63, 16
            cylinder_times_heads = total // sectors
    return cylinder_times_heads // heads, heads, sectors


def footer(size_bytes: int, *, identifier: uuid.UUID, created: datetime) -> bytes:
    """The footer of a fixed disk of `size_bytes` (a whole number of MiB)."""
    if size_bytes <= 0 or size_bytes % MIB:
        raise ValueError(f"{size_bytes} bytes is not a whole number of MiB")
    seconds = max(0, int((created - EPOCH).total_seconds()))
    cylinders, heads, sectors = geometry(size_bytes)

    def packed(checksum: int) -> bytes:
        fields = (
            COOKIE, 2, 0x00010000, 0xFFFFFFFFFFFFFFFF, seconds, CREATOR, 0x00010000, b"Wi2k",
            size_bytes, size_bytes, cylinders, heads, sectors, FIXED, checksum, identifier.bytes, 0,
        )  # fmt: skip
        return _FOOTER.pack(*fields).ljust(FOOTER_BYTES, b"\0")

    return packed(checksum_of(packed(0)))


def checksum_of(content: bytes) -> int:
    """The sum of a footer or a header whose own field for it is zero."""
    return ~sum(content) & 0xFFFFFFFF


def read_footer(content: bytes) -> Footer:
    """What a footer says. Raises: `ImageUnsafe` when it is not a VHD footer or its checksum is wrong."""
    if len(content) != FOOTER_BYTES or content[:8] != COOKIE:
        raise ImageUnsafe("this is not a VHD footer")
    fields = _FOOTER.unpack(content[: _FOOTER.size])
    blank = content[:CHECKSUM_AT] + bytes(4) + content[CHECKSUM_AT + 4 :]
    if fields[14] != checksum_of(blank):
        raise ImageUnsafe("the VHD footer's checksum is wrong")
    return Footer(size_bytes=fields[9], disk_type=fields[13])


def check_uploadable(content: bytes, *, file_bytes: int) -> Footer:
    """The footer of a file that Azure takes: fixed, whole MiB, and exactly as long as the footer says.

    `content` is the file's last 512 bytes. Raises: `ImageUnsafe` saying which of it is not so.
    """
    found = read_footer(content)
    if found.disk_type != FIXED:
        raise ImageUnsafe(f"the VHD is of type {found.disk_type}, not fixed ({FIXED})")
    if found.size_bytes != file_bytes - FOOTER_BYTES:
        raise ImageUnsafe(f"the VHD's footer says {found.size_bytes} bytes, and {file_bytes - FOOTER_BYTES} are there")
    if found.size_bytes % MIB or not found.size_bytes:
        raise ImageUnsafe(f"the VHD's size of {found.size_bytes} bytes is not a whole number of MiB")
    return found
