"""Files with holes keep them, and their data is found."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from vmkiln.files.sparse_file import copy_into, copy_sparse, data_ranges, sparse_sha256

MIB = 1024**2
EXTENTS: list[list[tuple[int, int]]] = [[], [(0, 1)], [(3 * MIB, 4096)], [(0, 4096), (5 * MIB, 3 * MIB)]]


def with_holes(path: Path, extents: list[tuple[int, int]]) -> Path:
    """A file of 9 MiB that holds random bytes at these offsets and lengths."""
    with path.open("wb") as file:
        file.truncate(9 * MIB)
        for position, length in extents:
            file.seek(position)
            file.write(os.urandom(length))
    return path


@pytest.mark.parametrize("extents", EXTENTS)
def test_a_copy_has_the_same_content_and_as_few_blocks(extents: list[tuple[int, int]], tmp_path: Path) -> None:
    source, target = with_holes(tmp_path / "source", extents), tmp_path / "target"
    copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks


@pytest.mark.parametrize("answer", [errno.EXDEV, errno.ENOSYS, 0])
def test_where_the_kernel_does_not_copy_the_bytes_are_copied(
    answer: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: int) -> int:
        if answer:
            raise OSError(answer, os.strerror(answer))
        return 0

    monkeypatch.setattr(os, "copy_file_range", refusing)
    source, target = with_holes(tmp_path / "source", EXTENTS[3]), tmp_path / "target"
    copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks <= source.stat().st_blocks


@pytest.mark.parametrize("extents", EXTENTS)
@pytest.mark.parametrize("more", [0, 1, 5000])
def test_a_hash_is_that_of_all_bytes_and_holes_are_not_read(
    extents: list[tuple[int, int]], more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_holes(tmp_path / "source", extents)
    os.truncate(path, 9 * MIB + more)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    read, preadv = [0], os.preadv

    def counted(descriptor: int, blocks: list[memoryview], position: int) -> int:
        read[0] += preadv(descriptor, blocks, position)
        return preadv(descriptor, blocks, position)

    monkeypatch.setattr(os, "preadv", counted)
    assert sparse_sha256(path) == expected
    assert read[0] <= path.stat().st_blocks * 512


def test_a_file_without_holes_and_an_empty_one_have_their_hash(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"a", os.urandom(3 * MIB + 7)):
        path.write_bytes(content)
        assert sparse_sha256(path) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("extents", EXTENTS)
def test_all_data_lies_in_the_ranges(extents: list[tuple[int, int]], tmp_path: Path) -> None:
    source = with_holes(tmp_path / "source", extents)
    content = bytearray(source.read_bytes())
    with source.open("rb") as opened:
        for start, end in data_ranges(opened.fileno(), len(content)):
            assert start < end <= len(content)
            content[start:end] = bytes(end - start)
    assert not any(content)


def test_a_copy_into_another_file_leaves_alone_what_lies_around_it(tmp_path: Path) -> None:
    source, target = with_holes(tmp_path / "source", [(4096, 4096)]), tmp_path / "target"
    target.write_bytes(b"x" * 12 * MIB)
    with source.open("rb") as reading, target.open("r+b") as writing:
        copy_into(reading, writing, offset=MIB)
    content = target.read_bytes()
    copied = source.read_bytes()[4096:8192]
    assert content[MIB + 4096 : MIB + 8192] == copied
    assert set(content[: MIB + 4096] + content[MIB + 8192 :]) == set(b"x")


def test_a_buffer_of_the_source_is_no_part_of_it(tmp_path: Path) -> None:
    """Looking for data moves the descriptor beneath a buffer that reaches over a hole."""
    source = with_holes(tmp_path / "source", [(0, 4096), (32 * 1024, 256 * 1024)])
    target = tmp_path / "target"
    target.touch()
    with source.open("rb", buffering=128 * 1024) as reading, target.open("r+b") as writing:
        assert reading.read(1)
        copy_into(reading, writing)
    assert target.read_bytes() == source.read_bytes()[: target.stat().st_size]
