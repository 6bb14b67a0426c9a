"""The footer of a fixed VHD."""

import uuid
from datetime import UTC, datetime

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import ImageUnsafe
from vmkiln.images.vhd import FIXED, FOOTER_BYTES, MIB, aligned, check_uploadable, footer, geometry, read_footer

NAME = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SIZES = st.integers(min_value=1, max_value=8 * 1024 * 1024).map(lambda count: count * MIB)


def a_footer(size_bytes: int = 3 * MIB) -> bytes:
    return footer(size_bytes, identifier=NAME, created=NOW)


@settings(max_examples=tiers.cheap_examples())
@given(SIZES)
def test_a_footer_is_512_bytes_and_says_what_was_written(size_bytes: int) -> None:
    content = a_footer(size_bytes)
    assert len(content) == FOOTER_BYTES
    found = check_uploadable(content, file_bytes=size_bytes + FOOTER_BYTES)
    assert (found.size_bytes, found.disk_type) == (size_bytes, FIXED)


@settings(max_examples=tiers.cheap_examples())
@given(st.integers(min_value=0, max_value=FOOTER_BYTES - 1), st.integers(min_value=1, max_value=255))
def test_a_footer_with_one_wrong_byte_is_refused(position: int, difference: int) -> None:
    content = bytearray(a_footer())
    content[position] ^= difference
    with pytest.raises(ImageUnsafe):
        check_uploadable(bytes(content), file_bytes=3 * MIB + FOOTER_BYTES)


def test_the_fields_are_where_the_specification_puts_them() -> None:
    content = a_footer()
    assert content[:8] == b"conectix"
    assert content[8:12] == b"\0\0\0\2"  # reserved bit, always set
    assert content[12:16] == b"\0\1\0\0"  # version 1.0
    assert content[16:24] == b"\xff" * 8  # no dynamic header
    assert int.from_bytes(content[24:28]) == (NOW - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()
    assert int.from_bytes(content[40:48]) == int.from_bytes(content[48:56]) == 3 * MIB
    assert int.from_bytes(content[60:64]) == 2  # fixed
    assert content[68:84] == NAME.bytes
    assert content[84:] == bytes(428)


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (1 * MIB, (30, 4, 17)),
        (127 * MIB, (1019, 15, 17)),
        (1024 * MIB, (2080, 16, 63)),
        (30 * 1024 * MIB, (62415, 16, 63)),
        (127 * 1024 * MIB, (65278, 16, 255)),
        (4096 * 1024 * MIB, (65535, 16, 255)),
    ],
)
def test_geometry_follows_the_appendix(size_bytes: int, expected: tuple[int, int, int]) -> None:
    assert geometry(size_bytes) == expected


@settings(max_examples=tiers.cheap_examples())
@given(SIZES)
def test_geometry_fits_its_fields_and_never_exceeds_the_disk(size_bytes: int) -> None:
    cylinders, heads, sectors = geometry(size_bytes)
    assert 0 < cylinders <= 65535
    assert heads <= 16
    assert sectors in {17, 31, 63, 255}
    assert cylinders * heads * sectors * 512 <= size_bytes


@settings(max_examples=tiers.cheap_examples())
@given(st.integers(min_value=0, max_value=2**50))
def test_aligned_is_the_next_whole_mib(size_bytes: int) -> None:
    found = aligned(size_bytes)
    assert found % MIB == 0
    assert 0 <= found - size_bytes < MIB


@pytest.mark.parametrize("size_bytes", [0, -MIB, MIB + 512])
def test_a_size_that_is_not_whole_mib_has_no_footer(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="MiB"):
        a_footer(size_bytes)


def resealed(content: bytes, *, at: int, value: bytes) -> bytes:
    """A footer with one field changed and a right checksum: what a hostile writer would make."""
    changed = bytearray(content)
    changed[at : at + len(value)] = value
    changed[64:68] = bytes(4)
    changed[64:68] = (~sum(changed) & 0xFFFFFFFF).to_bytes(4)
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "file_bytes", "message"),
    [
        (resealed(a_footer(), at=60, value=b"\0\0\0\3"), 3 * MIB + 512, "type 3"),
        (resealed(a_footer(), at=60, value=b"\0\0\0\4"), 3 * MIB + 512, "type 4"),
        (resealed(a_footer(), at=48, value=(1 << 40).to_bytes(8)), 3 * MIB + 512, "says 1099511627776 bytes"),
        (a_footer(), 3 * MIB, "are there"),
        (resealed(a_footer(), at=48, value=(3 * MIB + 512).to_bytes(8)), 3 * MIB + 1024, "whole number of MiB"),
        (b"", 512, "not a VHD footer"),
        (bytes(512), 512, "not a VHD footer"),
    ],
    ids=["dynamic", "differencing", "a false size", "cut short", "not aligned", "empty", "no cookie"],
)
def test_what_azure_would_not_take_is_refused(content: bytes, file_bytes: int, message: str) -> None:
    with pytest.raises(ImageUnsafe, match=message):
        check_uploadable(content, file_bytes=file_bytes)


def test_a_reseal_without_a_change_is_accepted() -> None:
    assert read_footer(resealed(a_footer(), at=0, value=b"c")).size_bytes == 3 * MIB
