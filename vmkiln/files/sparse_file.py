"""Files with holes: where their data lies, and copies that keep the holes (lseek(2), SEEK_DATA and SEEK_HOLE)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 4 * 1024 * 1024


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


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file's content, its holes as holes."""
    with source.open("rb") as reading, target.open("wb") as writing:
        writing.truncate(os.fstat(reading.fileno()).st_size)
        copy_into(reading, writing)
