"""VHDX files: what was shut down cleanly and is plain is taken, all else is refused with its reason."""

import uuid

import pytest
import tiers
from foreign_disks import (
    GIB,
    KIB,
    MIB,
    REGIONS,
    ForeignFile,
    items,
    regions,
    vhdx,
    vhdx_header,
    with_crc,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import ImageUnsafe
from vmkiln.images.image_header import check_file
from vmkiln.images.vhdx import (
    BLOCKS_REGION,
    DISK_SIZE,
    HEADERS_AT,
    METADATA_REGION,
    PARENT_LOCATOR,
    PRESENT,
    REGIONS_AT,
    crc32c,
)

OTHER = uuid.UUID(int=9)
B, M = REGIONS
TEN = 10 * MIB | PRESENT


def checked(file: ForeignFile) -> int:
    found = check_file(file.read_at, size_bytes=file.size_bytes, expected_format="vhdx")
    assert found.driver == "vhdx"
    return found.size_bytes


def test_the_crc_is_the_one_of_iscsi() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, appendix B.4, has others of the same polynomial


@pytest.mark.parametrize(
    "file",
    [
        vhdx(),
        vhdx(blocks=()),
        vhdx(blocks=(0, 1, 2, 3, 4 * MIB | PRESENT)),
        vhdx(found=items(more=((OTHER, b"text", 1),))),
        vhdx(table=regions((*REGIONS, (OTHER, 40 * MIB, MIB, 0))), size_bytes=48 * MIB),
    ],
    ids=["plain", "empty", "states", "a user's metadata", "a region nobody needs"],
)
def test_a_plain_vhdx_is_taken_with_its_virtual_size(file: ForeignFile) -> None:
    assert checked(file) == GIB


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (ForeignFile({0: b"vhdxfilf"}, 36 * MIB), "not a VHDX"),
        (vhdx(first=bytes(4096)), "header 1 .* damaged"),
        (vhdx(second=vhdx_header(8)[:100] + b"\1" + vhdx_header(8)[101:]), "header 2 .* damaged"),
        (vhdx(first=vhdx_header(8, log_at=5 * MIB)), "two headers of the same number"),
        (vhdx(second=vhdx_header(8, log_id=b"\1")), "not shut down cleanly"),
        (vhdx(second=vhdx_header(8, version=2)), "version 2"),
        (vhdx(second=vhdx_header(8, log_version=1)), "a log of version 1"),
        (vhdx(second=vhdx_header(8, log_at=MIB + 1)), "a log out of place"),
        (vhdx(second=vhdx_header(8, log_at=0)), "a log out of place"),
        (vhdx(second=vhdx_header(8, log_at=1 << 60)), "the log outside"),
        (vhdx(second=vhdx_header(8, log_at=2 * MIB)), "on each other"),
        (vhdx(table=regions()[:-1] + b"\1"), "table of regions .* damaged"),
        (vhdx(copy=regions((B,))), "table of regions .* damaged"),
        (vhdx(table=regions((B,))), "has not the metadata"),
        (vhdx(table=regions((*REGIONS, (OTHER, 40 * MIB, MIB, 1)))), "a region we do not know"),
        (vhdx(table=regions((B, B, M))), "a region twice"),
        (vhdx(table=regions(((BLOCKS_REGION, MIB // 2, MIB, 1), M))), "a region out of place"),
        (vhdx(table=regions((B, (METADATA_REGION, 1 << 40, MIB, 1)))), "the metadata outside"),
        (vhdx(table=regions(((BLOCKS_REGION, 3 * MIB, MIB, 1), M))), "on each other"),
        (
            vhdx(table=with_crc(b"regi" + bytes(4) + b"\xff" * 4 + bytes(64 * KIB - 12))),
            "a table of 4294967295 regions",
        ),
        (vhdx(found=items()[:-1]), "lacks an item"),
        (vhdx(found=items(flags=2)), "a parent"),
        (vhdx(found=items(more=((PARENT_LOCATOR, b"x", 4),))), "a parent"),
        (vhdx(found=items(flags=4)), "flags we do not know"),
        (vhdx(found=items(more=((OTHER, b"x", 4),))), "metadata we do not know"),
        (vhdx(found=items(more=((DISK_SIZE, bytes(8), 6),))), "twice"),
        (vhdx(found=(*items()[:1], (DISK_SIZE, bytes(4), 6), *items()[2:])), "of another length"),
        (vhdx(found=items(block_bytes=3 * MIB)), "blocks of"),
        (vhdx(found=items(block_bytes=0)), "blocks of 0"),
        (vhdx(found=items(logical=4096)), "sectors of 4096"),
        (vhdx(found=items(disk_bytes=0)), "a disk of 0"),
        (vhdx(found=items(disk_bytes=1 << 50)), "a disk of"),
        (vhdx(found=items(disk_bytes=1024 * GIB, block_bytes=MIB)), "table of blocks that is too small"),
        (vhdx(blocks=(4 * MIB | 7,)), "a block in state 7"),
        (vhdx(blocks=(PRESENT,)), "lies on its headers"),
        (vhdx(blocks=(2 * MIB | PRESENT,)), "lies on the table of blocks"),
        (vhdx(blocks=(1 << 62 | PRESENT,)), "a block outside"),
        (vhdx(blocks=(TEN, TEN), size_bytes=64 * MIB), "blocks that lie on each other"),
        (vhdx(found=items(disk_bytes=16 * GIB), blocks=(*([0] * 128), TEN)), "a bitmap of sectors"),
    ],
)
def test_a_dangerous_vhdx_is_refused_with_its_reason(file: ForeignFile, reason: str) -> None:
    with pytest.raises(ImageUnsafe, match=reason):
        checked(file)


def test_one_that_was_not_shut_down_says_what_to_do() -> None:
    with pytest.raises(ImageUnsafe) as refused:
        checked(vhdx(second=vhdx_header(8, log_id=b"\1")))
    assert "Dismount-VHD" in refused.value.hint


PLACES = (
    st.integers(0, 8) | st.integers(64 * KIB, 64 * KIB + 90) | st.integers(128 * KIB, 128 * KIB + 90)
    | st.integers(192 * KIB, 192 * KIB + 90) | st.integers(2 * MIB, 2 * MIB + 24)
    | st.integers(3 * MIB, 3 * MIB + 200) | st.integers(3 * MIB + 64 * KIB, 3 * MIB + 64 * KIB + 40)
)  # fmt: skip


@settings(max_examples=tiers.cheap_examples(500))
@given(
    changes=st.dictionaries(PLACES, st.integers(0, 255), max_size=6),
    is_mended=st.booleans(),
    size=st.integers(0, 64 * MIB) | st.just(36 * MIB),
)
def test_no_changed_bytes_crash_or_bring_a_parent_through(changes: dict[int, int], is_mended: bool, size: int) -> None:
    file = vhdx(size_bytes=size).with_bytes(changes)
    if is_mended and any(64 * KIB <= place < MIB for place in changes):
        sums: dict[int, int] = {}
        for at, length in ((HEADERS_AT[0], 4 * KIB), (HEADERS_AT[1], 4 * KIB), (REGIONS_AT[0], 64 * KIB)):
            sums |= dict(enumerate(with_crc(file.read_at(at, length).ljust(length, b"\0"))[4:8], at + 4))
        copied = dict(enumerate(file.with_bytes(sums).read_at(REGIONS_AT[0], 128), REGIONS_AT[1]))
        file = file.with_bytes(sums | copied)
    try:
        found = checked(file)
    except ImageUnsafe:
        return
    assert 0 < found <= 2 * 1024 * GIB
    assert not file.read_at(3 * MIB + 64 * KIB + 4, 1)[0] & 2, "a parent came through"
