"""A sealed copy of a file can be read by who has its key, and only as it was."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vmkiln.host.saved import sealed_copy
from vmkiln.host.saved.memory_file import BLOCK_BYTES

KEY = bytes(range(32))
SIZE = 5 * 1024**2 + 100
FRAME_BYTES = sealed_copy.FRAME.size + BLOCK_BYTES + 16


def copied(copy: Callable[[int, int, bytes], None], source: Path, target: Path, key: bytes = KEY) -> Path:
    with source.open("rb") as reading, target.open("wb") as writing:
        copy(reading.fileno(), writing.fileno(), key)
    return target


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file with holes, two whole blocks one after the other, and an end that is no whole block."""
    path = tmp_path / "plain"
    with path.open("wb") as file:
        file.truncate(SIZE)
        os.pwrite(file.fileno(), b"a secret" * (BLOCK_BYTES // 4), BLOCK_BYTES * 3)
        os.pwrite(file.fileno(), b"the end", SIZE - 7)
    return path


@pytest.fixture
def sealed(plain: Path, tmp_path: Path) -> Path:
    return copied(sealed_copy.sealed, plain, tmp_path / "sealed")


def test_a_sealed_file_comes_back_as_it_was_with_its_holes(plain: Path, sealed: Path, tmp_path: Path) -> None:
    assert b"secret" not in sealed.read_bytes()
    assert sealed.stat().st_size < SIZE // 4
    back = copied(sealed_copy.opened, sealed, tmp_path / "back")
    assert back.read_bytes() == plain.read_bytes()
    assert back.stat().st_blocks * 512 < SIZE // 2, "its holes are holes"


def test_an_empty_file_and_one_of_zeros_come_back(tmp_path: Path) -> None:
    for size in (0, 1, SIZE):
        zeros = tmp_path / f"zeros-{size}"
        zeros.write_bytes(b"")
        os.truncate(zeros, size)
        sealed = copied(sealed_copy.sealed, zeros, tmp_path / f"sealed-{size}")
        assert copied(sealed_copy.opened, sealed, tmp_path / f"back-{size}").stat().st_size == size


def changed(text: bytes) -> bytes:
    return text[:500] + bytes([text[500] ^ 1]) + text[501:]


def moved(text: bytes) -> bytes:
    return sealed_copy.FRAME.pack(0, BLOCK_BYTES + 16) + text[sealed_copy.FRAME.size :]


def swapped(text: bytes) -> bytes:
    first, second = text[:FRAME_BYTES], text[FRAME_BYTES : 2 * FRAME_BYTES]
    return second + first + text[2 * FRAME_BYTES :]


def without_the_first(text: bytes) -> bytes:
    return text[FRAME_BYTES:]


def without_an_end(text: bytes) -> bytes:
    return text[: -sealed_copy.FRAME.size - 16]


def resized(text: bytes) -> bytes:
    return text[: -sealed_copy.FRAME.size - 16] + sealed_copy.FRAME.pack(SIZE + 1, 16) + text[-16:]


def endless(text: bytes) -> bytes:
    return sealed_copy.FRAME.pack(0, 2**32 - 1) + text


@pytest.mark.parametrize("spoil", [changed, moved, swapped, without_the_first, without_an_end, resized, endless])
def test_what_was_changed_after_it_was_sealed_is_found(
    sealed: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    sealed.write_bytes(spoil(sealed.read_bytes()))
    with pytest.raises(ValueError, match="a sealed file"):
        copied(sealed_copy.opened, sealed, tmp_path / "back")


def test_another_key_opens_nothing(sealed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not what was sealed"):
        copied(sealed_copy.opened, sealed, tmp_path / "back", sealed_copy.new_key())
    assert b"secret" not in (tmp_path / "back").read_bytes()
