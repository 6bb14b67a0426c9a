"""The RAM of a VM as a file with holes: copied block by block, and told by a digest of what is not zero.

The digest is the same wherever the holes of a file lie, so a copy in another file system has it too. It also has the
file's size and the place of each block.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from vmkiln.files.sparse_file import data_ranges

BLOCK_BYTES = 64 * 1024
NOTHING = bytes(BLOCK_BYTES)


def copied(source: int, target: int) -> str:
    """Copy an open file into another, empty one, and return the digest of what was copied. Raises: `OSError`."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    return _digest_of(source, size, target)


def copy(source: int, target: int) -> None:
    """The same without a digest, in half of the time: for a source that stands still meanwhile. Raises: `OSError`."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for position, block in blocks(source, size):
        write_all(target, block, position)


def digest_of(source: int) -> str:
    """The digest (SHA-256, as hexadecimal digits) of an open file. Raises: `OSError`."""
    return _digest_of(source, os.fstat(source).st_size, None)


def digest_of_file(file: Path) -> str:
    """The digest of a file by its name. Raises: `OSError`."""
    with file.open("rb") as source:
        return digest_of(source.fileno())


def _digest_of(source: int, size: int, target: int | None) -> str:
    total = hashlib.sha256(size.to_bytes(8))
    for position, block in blocks(source, size):
        total.update(position.to_bytes(8))
        total.update(block)
        if target is not None:
            write_all(target, block, position)
    return total.hexdigest()


def blocks(source: int, size: int) -> Iterator[tuple[int, bytes]]:
    """Each block that is not all zeros, with its place, in order."""
    done = 0
    for start, end in data_ranges(source, size):
        position = max(done, start - start % BLOCK_BYTES)
        while position < end:
            block = os.pread(source, BLOCK_BYTES, position)
            if not block:
                return  # it was made shorter meanwhile; its digest is another one then
            if block != NOTHING[: len(block)]:
                yield position, block
            position += BLOCK_BYTES
        done = position


def write_all(target: int, block: bytes, position: int) -> None:
    """Write all of it at this place. Raises: `OSError`."""
    left = memoryview(block)
    while left:
        count = os.pwrite(target, left, position)
        left, position = left[count:], position + count
