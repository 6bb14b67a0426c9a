"""A Linux initial file system as one uncompressed cpio archive ("newc"); pure.

Uncompressed because unpacking is then a copy, which matters when every instruction is emulated.
Source: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux kernel.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

DIRECTORY = 0o040755
EXECUTABLE = 0o100755
REGULAR = 0o100644
TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file or folder: its path without a leading slash, its mode with the file type, its content."""

    path: str
    mode: int
    content: bytes = b""


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries as one archive; folders must come before what they hold. All belong to root, dated 1970."""
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*parts, _record(0, Entry(TRAILER, 0))])


def _record(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = [number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(name), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
