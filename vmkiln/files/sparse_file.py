"""Files with holes: where their data lies, and copies and hashes that do not read the holes (lseek(2), SEEK_DATA)."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 4 * 1024 * 1024
HASH_BYTES = 1024 * 1024
# what copy_file_range(2) says between file systems, or where it is not known
NOT_BY_THE_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def taken_bytes(*paths: Path) -> int:
    """What files take of the disk together: their blocks, without their holes. Raises: `FileNotFoundError`."""
    return sum(path.stat().st_blocks * 512 for path in paths)  # stat(2): always of 512 bytes


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
    """Copy what a file holds to `offset` bytes behind the start of another; where it has holes nothing is written.

    The kernel copies, so that on a file system which can do that (btrfs, XFS) the copy shares the blocks of the file.
    """
    target.flush()
    descriptor, into = source.fileno(), target.fileno()
    for start, end in data_ranges(descriptor, os.fstat(descriptor).st_size):
        position = start
        while position < end and (
            copied := _copied(descriptor, into, end - position, at=position, to=offset + position)
        ):
            position += copied
        target.seek(offset + position)


def _copied(source: int, target: int, size: int, *, at: int, to: int) -> int:
    """Copy up to `size` bytes from one place to another; returns how many it were, 0 at the file's end."""
    try:
        if copied := os.copy_file_range(source, target, size, at, to):
            return copied
    except OSError as error:
        if error.errno not in NOT_BY_THE_KERNEL:
            raise
    return os.pwrite(target, os.pread(source, min(size, BLOCK_BYTES), at), to)


def sparse_sha256(path: Path, *, between: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Holes are hashed as the zeros they are, and not read.

    `between` is called after each block; what it raises ends the work.

    To read them would fill the page cache with zeros: of a disk of 4 GiB with 0.4 GiB in it that took as long again.
    """
    digest, zeros = hashlib.sha256(), memoryview(bytes(HASH_BYTES))
    block = memoryview(bytearray(HASH_BYTES))

    def skip(size: int) -> None:
        for start in range(0, size, HASH_BYTES):
            digest.update(zeros[: min(HASH_BYTES, size - start)])
            between()

    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size, position = os.fstat(descriptor).st_size, 0
        for start, end in data_ranges(descriptor, size):
            skip(start - position)
            position = start
            while position < end and (read := os.preadv(descriptor, [block[: end - position]], position)):
                digest.update(block[:read])
                position += read
                between()
        skip(size - position)
    return digest.hexdigest()


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file's content, its holes as holes."""
    with source.open("rb") as reading, target.open("wb") as writing:
        writing.truncate(os.fstat(reading.fileno()).st_size)
        copy_into(reading, writing)
