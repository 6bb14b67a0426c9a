"""Files of foreign disk formats, made byte by byte, and the same with bytes changed."""

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vmkiln.images.vhd import SECTOR_BYTES, checksum_of
from vmkiln.images.vhdx import (
    BLOCKS_REGION,
    DISK_ID,
    DISK_SIZE,
    FILE_PARAMETERS,
    HEADERS_AT,
    LOGICAL_SECTOR,
    METADATA_REGION,
    PHYSICAL_SECTOR,
    PRESENT,
    REGIONS_AT,
    crc32c,
)

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True)
class ForeignFile:
    """A file by its parts at their offsets; what is between them is zeros."""

    parts: Mapping[int, bytes]
    size_bytes: int
    changed: Mapping[int, int] = field(default_factory=dict)

    def read_at(self, offset: int, length: int) -> bytes:
        """What a file of these bytes gives."""
        start = max(0, offset)
        found = bytearray(max(0, min(length, self.size_bytes - start)))
        for place, content in self.parts.items():
            first, last = max(start, place), min(start + len(found), place + len(content))
            if first < last:
                found[first - start : last - start] = content[first - place : last - place]
        for place, value in self.changed.items():
            if start <= place < start + len(found):
                found[place - start] = value
        return bytes(found)

    def with_bytes(self, changed: Mapping[int, int]) -> "ForeignFile":
        """The same with single bytes changed."""
        return replace(self, changed={**self.changed, **changed})


def footer(*, disk_bytes: int = GIB, header_at: int = 512, kind: int = 3) -> bytes:
    """The footer of a VHD."""
    blank = struct.pack(
        ">8sIIQI4sI4sQQHBBII16sB", b"conectix", 2, 0x10000, header_at, 0, b"win ", 0xA0000, b"Wi2k",
        disk_bytes, disk_bytes, 1000, 16, 63, kind, 0, bytes(15) + b"\1", 0,
    ).ljust(512, b"\0")  # fmt: skip
    return with_sum(blank, 64)


def with_sum(content: bytes, at: int) -> bytes:
    """The content with VHD's sum in its place."""
    blank = content[:at] + bytes(4) + content[at + 4 :]
    return blank[:at] + checksum_of(blank).to_bytes(4) + blank[at + 4 :]


def vhd_header(
    *, table_at: int = 1536, entries: int = 512, block_bytes: int = 2 * MIB, version: int = 0x10000,
    parent: bytes = b"", name: bytes = b"", locator: bytes = b"", cookie: bytes = b"cxsparse",
) -> bytes:  # fmt: skip
    """The header of a dynamic VHD."""
    head = struct.pack(">8sQQIIII16s", cookie, 2**64 - 1, table_at, version, entries, block_bytes, 0, parent)
    return with_sum(head.ljust(64, b"\0") + name.ljust(512, b"\0") + locator.ljust(448, b"\0"), 36)


def dynamic_vhd(
    *, blocks: tuple[int, ...] = (8,), header: bytes | None = None, first: bytes | None = None,
    last: bytes | None = None, size_bytes: int = 8 * MIB,
) -> ForeignFile:  # fmt: skip
    """A dynamic VHD of 1 GiB; `blocks` are the sectors of its first blocks."""
    table = b"".join(sector.to_bytes(4) for sector in blocks).ljust(512 * 4, b"\xff")
    last = footer() if last is None else last
    parts = {0: last if first is None else first, 512: vhd_header() if header is None else header, 1536: table}
    return ForeignFile({**parts, size_bytes - SECTOR_BYTES: last}, size_bytes)


def with_crc(content: bytes) -> bytes:
    """The content with CRC-32C in its place."""
    blank = content[:4] + bytes(4) + content[8:]
    return blank[:4] + crc32c(blank).to_bytes(4, "little") + blank[8:]


def vhdx_header(
    number: int, *, log_id: bytes = b"", log_version: int = 0, version: int = 1, log_bytes: int = MIB, log_at: int = MIB
) -> bytes:
    """One of the two headers."""
    head = b"head" + bytes(4) + number.to_bytes(8, "little") + bytes(32) + log_id.ljust(16, b"\0")
    return with_crc((head + struct.pack("<HHIQ", log_version, version, log_bytes, log_at)).ljust(4 * KIB, b"\0"))


Region = tuple[uuid.UUID, int, int, int]
REGIONS: tuple[Region, ...] = ((BLOCKS_REGION, 2 * MIB, MIB, 1), (METADATA_REGION, 3 * MIB, MIB, 1))


def regions(found: tuple[Region, ...] = REGIONS) -> bytes:
    """A table of regions."""
    entries = b"".join(struct.pack("<16sQII", kind.bytes_le, *rest) for kind, *rest in found)
    head = b"regi" + bytes(4) + len(found).to_bytes(4, "little") + bytes(4)
    return with_crc((head + entries).ljust(64 * KIB, b"\0"))


Item = tuple[uuid.UUID, bytes, int]


def items(
    *,
    disk_bytes: int = GIB,
    block_bytes: int = 32 * MIB,
    flags: int = 0,
    logical: int = 512,
    more: tuple[Item, ...] = (),
) -> tuple[Item, ...]:
    """The metadata of a VHDX file."""
    return (
        (FILE_PARAMETERS, struct.pack("<II", block_bytes, flags), 4),
        (DISK_SIZE, disk_bytes.to_bytes(8, "little"), 6),
        (DISK_ID, bytes(16), 6),
        (LOGICAL_SECTOR, logical.to_bytes(4, "little"), 6),
        (PHYSICAL_SECTOR, (4096).to_bytes(4, "little"), 6),
        *more,
    )


def metadata(found: tuple[Item, ...]) -> bytes:
    """The region of metadata with these items one behind the other."""
    entries, body = b"", b""
    for kind, content, flags in found:
        entries += struct.pack("<16sIIII", kind.bytes_le, 64 * KIB + len(body), len(content), flags, 0)
        body += content
    head = b"metadata" + bytes(2) + len(found).to_bytes(2, "little")
    return (head.ljust(32, b"\0") + entries).ljust(64 * KIB, b"\0") + body


def vhdx(
    *, first: bytes | None = None, second: bytes | None = None, table: bytes | None = None, copy: bytes | None = None,
    found: tuple[Item, ...] | None = None, blocks: tuple[int, ...] = (4 * MIB | PRESENT,), size_bytes: int = 36 * MIB,
) -> ForeignFile:  # fmt: skip
    """A VHDX file of 1 GiB; `blocks` are the first entries of its table of blocks."""
    table = regions() if table is None else table
    return ForeignFile(
        {
            0: b"vhdxfile",
            HEADERS_AT[0]: vhdx_header(7) if first is None else first,
            HEADERS_AT[1]: vhdx_header(8) if second is None else second,
            REGIONS_AT[0]: table,
            REGIONS_AT[1]: table if copy is None else copy,
            2 * MIB: b"".join(entry.to_bytes(8, "little") for entry in blocks),
            3 * MIB: metadata(items() if found is None else found),
        },
        size_bytes,
    )
