"""VHDX files of somebody else, read byte by byte before any QEMU tool opens one; pure but for the reading.

Taken are files that were shut down cleanly (no log to replay), with both headers and both tables of regions whole,
known regions and items only, no parent, and blocks within the file of which none lies on another.
Source: Microsoft, [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format", sections 2.2 (headers), 2.2.3 (regions),
2.5 (block allocation table), 2.6 (metadata).
"""

import struct
import uuid
from dataclasses import dataclass
from functools import lru_cache

from vmkiln.errors import ImageUnsafe
from vmkiln.images.byte_ranges import MOST_VIRTUAL_BYTES, ReadAt, Span, check_apart

IDENTIFIER = b"vhdxfile"
KIB, MIB = 1024, 1024**2
HEADERS_AT, HEADER_BYTES = (64 * KIB, 128 * KIB), 4 * KIB
REGIONS_AT, REGIONS_BYTES = (192 * KIB, 256 * KIB), 64 * KIB
METADATA_HEAD_BYTES = 64 * KIB
MOST_ENTRIES = 2047
LEAST_BLOCK, MOST_BLOCK = 1024**2, 256 * 1024**2
BLOCKS_REGION = uuid.UUID("2DC27766-F623-4200-9D64-115E9BFD4A08")
METADATA_REGION = uuid.UUID("8B7CA206-4790-4B9A-B8FE-575F050F886E")
FILE_PARAMETERS = uuid.UUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
DISK_SIZE = uuid.UUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
DISK_ID = uuid.UUID("BECA12AB-B2E6-4523-93EF-C309E000C746")
LOGICAL_SECTOR = uuid.UUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
PHYSICAL_SECTOR = uuid.UUID("CDA348C7-445D-4471-9CC9-E9885251C556")
PARENT_LOCATOR = uuid.UUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
ITEM_BYTES = {FILE_PARAMETERS: 8, DISK_SIZE: 8, DISK_ID: 16, LOGICAL_SECTOR: 4, PHYSICAL_SECTOR: 4}
# states of a block in the table
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, PRESENT = 0, 1, 2, 3, 6
UNCLEAN = "open the file in Hyper-V once and shut it down there (Mount-VHD, Dismount-VHD), and import it then"
_REVERSED_CASTAGNOLI = 0x82F63B78


@dataclass(frozen=True)
class _Shape:
    """What the metadata says: the disk's size, a block's and a sector's, in bytes."""

    disk_bytes: int
    block_bytes: int
    sector_bytes: int


def check_vhdx(read_at: ReadAt, size_bytes: int) -> int:
    """The virtual size in bytes of a harmless VHDX file of `size_bytes`. Raises: `ImageUnsafe`."""
    if read_at(0, len(IDENTIFIER)) != IDENTIFIER:
        raise ImageUnsafe("this is not a VHDX file")
    log = _check_headers(read_at)
    blocks_region, metadata_region = _regions(read_at)
    fixed = [Span(0, MIB, "its headers"), log, blocks_region, metadata_region]
    check_apart([span for span in fixed if span.length], (), 0, size_bytes, what="VHDX")
    shape = _shape(read_at, metadata_region)
    offsets = _offsets(read_at, blocks_region, shape)
    check_apart([span for span in fixed if span.length], offsets, shape.block_bytes, size_bytes, what="VHDX")
    return shape.disk_bytes


def _check_headers(read_at: ReadAt) -> Span:
    """Where the log lies, of which nothing is to be replayed."""
    headers = [read_at(place, HEADER_BYTES) for place in HEADERS_AT]
    for number, header in enumerate(headers, 1):
        if len(header) < HEADER_BYTES or header[:4] != b"head" or not _has_right_sum(header):
            raise ImageUnsafe(f"header {number} of the VHDX file is damaged", hint=UNCLEAN)
    first, second = (int.from_bytes(header[8:16], "little") for header in headers)
    if first == second and headers[0] != headers[1]:
        raise ImageUnsafe("the VHDX file has two headers of the same number")
    current = headers[0] if first >= second else headers[1]
    log_id = current[48:64]
    log_version, version, log_bytes, log_at = struct.unpack_from("<HHIQ", current, 64)
    if any(log_id):
        raise ImageUnsafe("the VHDX file was not shut down cleanly: it has a log to be replayed", hint=UNCLEAN)
    _refuse(
        {
            f"version {version}": version != 1,
            f"a log of version {log_version}": log_version != 0,
            "a log out of place": log_at % MIB != 0 or log_bytes % MIB != 0 or (log_bytes != 0 and log_at < MIB),
        }
    )
    return Span(log_at, log_bytes, "the log")


def _regions(read_at: ReadAt) -> tuple[Span, Span]:
    """The table of blocks and the metadata."""
    first, second = (read_at(place, REGIONS_BYTES) for place in REGIONS_AT)
    if len(first) < REGIONS_BYTES or first[:4] != b"regi" or not _has_right_sum(first) or first != second:
        raise ImageUnsafe("a table of regions of the VHDX file is damaged", hint=UNCLEAN)
    count = int.from_bytes(first[8:12], "little")
    if count > MOST_ENTRIES:
        raise ImageUnsafe(f"the VHDX file has a table of {count} regions")
    found: dict[uuid.UUID, Span] = {}
    names = {BLOCKS_REGION: "the table of blocks", METADATA_REGION: "the metadata"}
    for number in range(count):
        name, start, length, is_required = struct.unpack_from("<16sQII", first, 16 + 32 * number)
        kind = uuid.UUID(bytes_le=name)
        _refuse(
            {
                f"a region we do not know ({kind})": kind not in names and bool(is_required & 1),
                "a region twice": kind in found,
                "a region out of place": start % MIB != 0 or length % MIB != 0 or start < MIB or length == 0,
            }
        )
        found[kind] = Span(start, length, names.get(kind, "a region"))
    if missing := [name for kind, name in names.items() if kind not in found]:
        raise ImageUnsafe(f"the VHDX file has not {' and '.join(missing)}")
    return found[BLOCKS_REGION], found[METADATA_REGION]


def _shape(read_at: ReadAt, region: Span) -> _Shape:
    head = read_at(region.start, METADATA_HEAD_BYTES)
    if len(head) < METADATA_HEAD_BYTES or head[:8] != b"metadata":
        raise ImageUnsafe("the VHDX file has no table of metadata")
    count = int.from_bytes(head[10:12], "little")
    if count > MOST_ENTRIES:
        raise ImageUnsafe(f"the VHDX file has a table of {count} items of metadata")
    items: dict[uuid.UUID, bytes] = {}
    for number in range(count):
        name, start, length, flags = struct.unpack_from("<16sIII", head, 32 + 32 * number)
        kind, is_of_a_user, is_required = uuid.UUID(bytes_le=name), bool(flags & 1), bool(flags & 4)
        is_known = kind in ITEM_BYTES and not is_of_a_user
        _refuse(
            {
                "a parent": kind == PARENT_LOCATOR,
                f"metadata we do not know ({kind})": not is_known and is_required and kind != PARENT_LOCATOR,
                "an item of metadata twice": kind in items,
                "an item of metadata of another length": is_known and length != ITEM_BYTES[kind],
                "an item of metadata out of place": length > 0
                and (start < METADATA_HEAD_BYTES or start + length > region.length),
            }
        )
        if is_known:
            items[kind] = read_at(region.start + start, length)
    if len(items) != len(ITEM_BYTES):
        raise ImageUnsafe("the VHDX file lacks an item of metadata")
    block_bytes, flags = struct.unpack("<II", items[FILE_PARAMETERS])
    disk_bytes, logical, physical = (
        int.from_bytes(items[kind], "little") for kind in (DISK_SIZE, LOGICAL_SECTOR, PHYSICAL_SECTOR)
    )
    _refuse(
        {
            "a parent": bool(flags & 2),
            f"flags we do not know ({flags:#x})": bool(flags & ~3),
            f"blocks of {block_bytes} bytes": not LEAST_BLOCK <= block_bytes <= MOST_BLOCK
            or block_bytes & (block_bytes - 1) != 0,
            # a partition table for sectors of 4096 bytes is none for the disks of our VMs
            f"sectors of {logical} and {physical} bytes": logical != 512 or physical not in {512, 4096},
            f"a disk of {disk_bytes} bytes": not 0 < disk_bytes <= MOST_VIRTUAL_BYTES or disk_bytes % 512 != 0,
        }
    )
    return _Shape(disk_bytes, block_bytes, logical)


def _offsets(read_at: ReadAt, region: Span, shape: _Shape) -> list[int]:
    """Where the blocks lie that are there; after every `ratio` blocks the table has an entry for a bitmap."""
    blocks = -(-shape.disk_bytes // shape.block_bytes)
    ratio = 2**23 * shape.sector_bytes // shape.block_bytes
    entries = blocks + (blocks - 1) // ratio
    if entries * 8 > region.length:
        raise ImageUnsafe("the VHDX file has a table of blocks that is too small")
    found = []
    table = read_at(region.start, entries * 8)
    if len(table) < entries * 8:
        raise ImageUnsafe("the VHDX file is cut off")
    for number, (entry,) in enumerate(struct.iter_unpack("<Q", table)):
        state, offset = entry & 7, entry >> 20 << 20
        if number % (ratio + 1) == ratio:
            if state != NOT_PRESENT:
                raise ImageUnsafe("the VHDX file has a bitmap of sectors, as only one with a parent has")
        elif state == PRESENT:
            found.append(offset)
        elif state not in {NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED}:
            raise ImageUnsafe(f"the VHDX file has a block in state {state}")
    if found and min(found) < MIB:
        raise ImageUnsafe("the VHDX file has a block that lies on its headers")
    return found


def _has_right_sum(content: bytes) -> bool:
    """Whether the CRC-32C at the fifth byte is right, which is taken as if that were zero."""
    return int.from_bytes(content[4:8], "little") == crc32c(content[:4] + bytes(4) + content[8:])


@lru_cache(maxsize=8)
def crc32c(content: bytes) -> int:
    """The CRC of iSCSI (Castagnoli's polynomial), which Python's library does not have; 64 KiB take 5 ms."""
    table, value = _table(), 0xFFFFFFFF
    for byte in content:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _table() -> tuple[int, ...]:
    found = []
    for number in range(256):
        value = number
        for _ in range(8):
            value = (value >> 1) ^ (_REVERSED_CASTAGNOLI if value & 1 else 0)
        found.append(value)
    return tuple(found)


def _refuse(problems: dict[str, bool]) -> None:
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise ImageUnsafe(f"the VHDX file has {', '.join(found)}")
