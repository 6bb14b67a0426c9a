"""Files with holes: where their data lies, and copies and hashes that do not read the holes (lseek(2), SEEK_DATA)."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 4 * 1024 * 1024
HASH_BYTES = 1024 * 1024


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file of `size` bytes holds data: the start and the end of each range, in order."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return  # only a hole is left
        position = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, position


def copy_into(source: BinaryIO, target: BinaryIO, *, offset: int = 0) -> None:
    """Copy what a file holds to `offset` bytes behind the start of another; where it has holes nothing is written."""
    descriptor = source.fileno()
    for start, end in data_ranges(descriptor, os.fstat(descriptor).st_size):
        target.seek(offset + start)
        position = start
        # read at a position: looking for the next range moves the descriptor, of which a buffer knows nothing
        while position < end and (chunk := os.pread(descriptor, min(end - position, BLOCK_BYTES), position)):
            target.write(chunk)
            position += len(chunk)


def sparse_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Holes are hashed as the zeros they are, and not read.

    To read them would fill the page cache with zeros: of a disk of 4 GiB with 0.4 GiB in it that took as long again.
    """
    digest, zeros = hashlib.sha256(), memoryview(bytes(HASH_BYTES))
    block = memoryview(bytearray(HASH_BYTES))

    def skip(size: int) -> None:
        for start in range(0, size, HASH_BYTES):
            digest.update(zeros[: min(HASH_BYTES, size - start)])

    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size, position = os.fstat(descriptor).st_size, 0
        for start, end in data_ranges(descriptor, size):
            skip(start - position)
            position = start
            while position < end and (read := os.preadv(descriptor, [block[: end - position]], position)):
                digest.update(block[:read])
                position += read
        skip(size - position)
    return digest.hexdigest()


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file's content, its holes as holes."""
    with source.open("rb") as reading, target.open("wb") as writing:
        writing.truncate(os.fstat(reading.fileno()).st_size)
        copy_into(reading, writing)
