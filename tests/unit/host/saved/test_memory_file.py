"""The RAM of a VM as a file: copied with its holes, told by its digest."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vmkiln.host.saved.memory_file import BLOCK_BYTES, copied, digest_of

SIZE = 64 * BLOCK_BYTES
Change = Callable[[int], object]


def a_file(path: Path, *changes: Change) -> Path:
    """A file of `SIZE` with data in its second and its fortieth block."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    os.ftruncate(descriptor, SIZE)
    os.pwrite(descriptor, b"second", BLOCK_BYTES + 9)
    os.pwrite(descriptor, b"x" * BLOCK_BYTES, 40 * BLOCK_BYTES)
    for change in changes:
        change(descriptor)
    os.close(descriptor)
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return digest_of(file.fileno())


def test_a_copy_is_the_same_with_its_holes(tmp_path: Path) -> None:
    source, target = a_file(tmp_path / "source"), tmp_path / "target"
    with source.open("rb") as reading, target.open("wb") as writing:
        told = copied(reading.fileno(), writing.fileno())
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 <= 4 * BLOCK_BYTES
    assert told == digest(source) == digest(target)


def test_where_the_holes_lie_changes_nothing(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.write_bytes(a_file(tmp_path / "source").read_bytes())
    assert digest(full) == digest(tmp_path / "source")


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.pwrite(file, b"S", BLOCK_BYTES + 9),
        lambda file: os.pwrite(file, b"\1", 0),
        lambda file: os.pwrite(file, b"\1", SIZE - 1),
        lambda file: os.pwrite(file, bytes(BLOCK_BYTES), 40 * BLOCK_BYTES),
        lambda file: (os.pwrite(file, bytes(9), BLOCK_BYTES + 9), os.pwrite(file, b"second", 2 * BLOCK_BYTES + 9)),
        lambda file: os.ftruncate(file, SIZE + 1),
        lambda file: os.ftruncate(file, SIZE - 1),
    ],
    ids=["a byte", "the first", "the last", "a block gone", "a block moved", "longer", "shorter"],
)
def test_whatever_is_changed_changes_the_digest(change: Change, tmp_path: Path) -> None:
    assert digest(a_file(tmp_path / "changed", change)) != digest(a_file(tmp_path / "source"))
