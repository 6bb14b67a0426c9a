"""A Linux initial file system as one uncompressed cpio archive ("newc"); pure.

Uncompressed because unpacking is then a copy, which matters when every instruction is emulated.
Source: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux kernel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

DIRECTORY = 0o040755
EXECUTABLE = 0o100755
REGULAR = 0o100644


@dataclass(frozen=True)
class Entry:
    """One file or folder of the archive: its path without a leading slash, its mode with the file type, its bytes."""

    path: str
    mode: int
    content: bytes = b""


def archive(entries: Sequence[Entry]) -> bytes:
    """The archive's bytes; the same entries give the same bytes."""
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*parts, _record(0, Entry("TRAILER!!!", 0))])


def _record(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if entry.mode & 0o040000 and not entry.mode & 0o100000 else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
