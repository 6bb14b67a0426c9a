"""Dynamic VHDs: what is plain is taken, what could make a tool read elsewhere or a small file a large disk is not."""

import struct

import pytest
import tiers
from foreign_disks import GIB, MIB, ForeignFile, dynamic_vhd, footer, vhd_header, with_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import ImageUnsafe
from vmkiln.images.image_header import check_file


def checked(file: ForeignFile) -> int:
    found = check_file(file.read_at, size_bytes=file.size_bytes, expected_format="vhd")
    assert found.driver == "vpc"
    return found.size_bytes


@pytest.mark.parametrize("blocks", [(), (8,), (4200, 8), (8, 0xFFFFFFFF, 4200)], ids=str)
def test_a_plain_dynamic_vhd_is_taken_with_its_virtual_size(blocks: tuple[int, ...]) -> None:
    assert checked(dynamic_vhd(blocks=blocks)) == GIB


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (dynamic_vhd(first=bytes(512)), "no copy of its footer"),
        (dynamic_vhd(first=footer(disk_bytes=2 * GIB)), "another"),
        (dynamic_vhd(last=footer(kind=4)), "of type 4"),
        (dynamic_vhd(last=footer(disk_bytes=0)), "a disk of 0 bytes"),
        (dynamic_vhd(last=footer(disk_bytes=4 * 1024 * GIB)), "a disk of"),
        (dynamic_vhd(last=footer(disk_bytes=GIB + 1)), "a disk of"),
        (dynamic_vhd(last=footer(header_at=0)), "header out of place"),
        (dynamic_vhd(last=footer(header_at=2**64 - 512)), "header out of place"),
        (dynamic_vhd(header=vhd_header(cookie=b"cxspars2")), "no header"),
        (dynamic_vhd(header=vhd_header()[:40] + b"\1" + vhd_header()[41:]), "checksum is wrong"),
        (dynamic_vhd(header=vhd_header(version=2)), "version 0x2"),
        (dynamic_vhd(header=vhd_header(block_bytes=0)), "blocks of 0 bytes"),
        (dynamic_vhd(header=vhd_header(block_bytes=3 * MIB)), "blocks of"),
        (dynamic_vhd(header=vhd_header(block_bytes=1 << 31)), "blocks of"),
        (dynamic_vhd(header=vhd_header(parent=b"\1" * 16)), "a parent"),
        (dynamic_vhd(header=vhd_header(name="c:\\x".encode("utf-16-be"))), "a parent"),
        (dynamic_vhd(header=vhd_header(locator=b"W2ku")), "a parent"),
        (dynamic_vhd(header=vhd_header(entries=511)), "a table of 511 blocks"),
        (dynamic_vhd(header=vhd_header(entries=0xFFFFFFFF)), "a table of"),
        (dynamic_vhd(header=vhd_header(table_at=1537)), "table of blocks out of place"),
        (dynamic_vhd(header=vhd_header(table_at=1 << 50)), "table of blocks outside of it"),
        (dynamic_vhd(header=vhd_header(table_at=512)), "on each other"),
        (dynamic_vhd(blocks=(8, 8)), "blocks that lie on each other"),
        (dynamic_vhd(blocks=(8, 9)), "blocks that lie on each other"),
        (dynamic_vhd(blocks=(0,)), "lies on the copy of the footer"),
        (dynamic_vhd(blocks=(4,)), "lies on the table of blocks"),
        (dynamic_vhd(blocks=(0xFFFFFFFE,)), "a block outside of it"),
        (dynamic_vhd(blocks=(8 * MIB // 512 - 4097,)), "lies on the footer"),
    ],
)
def test_a_dangerous_dynamic_vhd_is_refused_with_its_reason(file: ForeignFile, reason: str) -> None:
    with pytest.raises(ImageUnsafe, match=reason):
        checked(file)


@settings(max_examples=tiers.cheap_examples(500))
@given(data=st.data(), size=st.integers(0, 9 * MIB) | st.just(8 * MIB))
def test_no_changed_bytes_crash_or_bring_a_parent_through(data: st.DataObject, size: int) -> None:
    changes = st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=6)
    header, last = bytearray(vhd_header()), bytearray(footer())
    for place, value in data.draw(changes):
        header[place] = value
    for place, value in data.draw(changes):
        last[place % 512] = value
    if data.draw(st.booleans()):
        header, last = bytearray(with_sum(bytes(header), 36)), bytearray(with_sum(bytes(last), 64))
    sectors = tuple(data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=3)))
    file = dynamic_vhd(blocks=sectors, header=bytes(header), last=bytes(last), size_bytes=max(4096, size))
    try:
        found = check_file(file.read_at, size_bytes=size, expected_format="vhd")
    except ImageUnsafe:
        return
    if found.driver == "vpc":
        assert 0 < found.size_bytes <= 2 * 1024 * GIB
        assert not any(header[40:56]), "a parent came through"
        assert struct.unpack_from(">I", last, 60) == (3,)
