"""Dynamic VHD files of somebody else, read byte by byte before any QEMU tool opens one; pure but for the reading.

Taken are files of type 3 whose two footers are the same, with a header and a table of blocks within the file, where
no block lies on another, and without a parent. Differencing disks (type 4) and what names a parent are refused.
Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, sections "Dynamic Disk Header Format" and
"Block Allocation Table and Data Blocks".
"""

import array
import struct
import sys

from vmkiln.errors import ImageUnsafe
from vmkiln.images.byte_ranges import ReadAt, Span, check_apart
from vmkiln.images.vhd import COOKIE, FOOTER_BYTES, SECTOR_BYTES, checksum_of, read_footer

DYNAMIC = 3
HEADER_BYTES = 1024
HEADER_COOKIE = b"cxsparse"
HEADER_VERSION = 0x00010000
CHECKSUM_AT = 36
UNUSED = 0xFFFFFFFF
LEAST_BLOCK, MOST_BLOCK = 512 * 1024, 64 * 1024**2
MOST_BYTES = 2040 * 1024**3  # the format's own end, below the most that we take
_HEADER = struct.Struct(">8sQQIIII16sII")
_PARENT_NAME, _LOCATORS = slice(64, 576), slice(576, 768)


def check_dynamic(read_at: ReadAt, size_bytes: int) -> int:
    """The virtual size in bytes of a harmless dynamic VHD of `size_bytes`.

    Raises: `ImageUnsafe` saying what was found; of the header every reason there is.
    """
    last = read_at(size_bytes - FOOTER_BYTES, FOOTER_BYTES)
    first = read_at(0, FOOTER_BYTES)
    footer = read_footer(last)
    header_at = int.from_bytes(last[16:24])
    _refuse(
        {
            "no copy of its footer at its start": first[:8] != COOKIE,
            "a copy of its footer that is another": first[:8] == COOKIE and first != last,
            f"type {footer.disk_type}, which is not dynamic ({DYNAMIC})": footer.disk_type != DYNAMIC,
            f"a disk of {footer.size_bytes} bytes": not 0 < footer.size_bytes <= MOST_BYTES
            or footer.size_bytes % SECTOR_BYTES != 0,
            "a header out of place": header_at < FOOTER_BYTES
            or header_at % SECTOR_BYTES != 0
            or header_at + HEADER_BYTES > size_bytes - FOOTER_BYTES,
        }
    )
    table_at, entries, block_bytes = _check_header(read_at(header_at, HEADER_BYTES), footer.size_bytes)
    table = Span(table_at, -(-entries * 4 // SECTOR_BYTES) * SECTOR_BYTES, "the table of blocks")
    bitmap_bytes = -(-block_bytes // SECTOR_BYTES // 8 // SECTOR_BYTES) * SECTOR_BYTES
    fixed = [
        Span(0, FOOTER_BYTES, "the copy of the footer"),
        Span(header_at, HEADER_BYTES, "the header"),
        table,
        Span(size_bytes - FOOTER_BYTES, FOOTER_BYTES, "the footer"),
    ]
    check_apart(fixed, (), 0, size_bytes, what="VHD")
    blocks = array.array("I", read_at(table_at, entries * 4))
    if sys.byteorder == "little":
        blocks.byteswap()
    used = [sector * SECTOR_BYTES for sector in blocks if sector != UNUSED]
    check_apart(fixed, used, bitmap_bytes + block_bytes, size_bytes, what="VHD")
    return footer.size_bytes


def _check_header(header: bytes, disk_bytes: int) -> tuple[int, int, int]:
    """Where the table of blocks is, how many entries it has, and how large a block is in bytes."""
    cookie, _next, table_at, version, entries, block_bytes, checksum, parent, _time, _reserved = _HEADER.unpack(
        header[: _HEADER.size]
    )
    if cookie != HEADER_COOKIE or len(header) < HEADER_BYTES:
        raise ImageUnsafe("the VHD file has no header of a dynamic disk")
    blank = header[:CHECKSUM_AT] + bytes(4) + header[CHECKSUM_AT + 4 :]
    is_a_size = LEAST_BLOCK <= block_bytes <= MOST_BLOCK and block_bytes & (block_bytes - 1) == 0
    _refuse(
        {
            "a header whose checksum is wrong": checksum != checksum_of(blank),
            f"a header of version {version:#x}": version != HEADER_VERSION,
            f"blocks of {block_bytes} bytes": not is_a_size,
            "a parent": any(parent) or any(header[_PARENT_NAME]) or any(header[_LOCATORS]),
            f"a table of {entries} blocks": is_a_size
            and not -(-disk_bytes // block_bytes) <= entries <= MOST_BYTES // block_bytes,
            "a table of blocks out of place": table_at % SECTOR_BYTES != 0,
        }
    )
    return table_at, entries, block_bytes


def _refuse(problems: dict[str, bool]) -> None:
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise ImageUnsafe(f"the VHD file has {', '.join(found)}")
