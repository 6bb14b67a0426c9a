"""Processes that still see a folder which was mounted for them: read from the kernel, for whoever wants to be sure.

Every process of a run has the run's folder mounted in its own mount namespace, also after the folder was deleted.
Source: proc_pid_mountinfo(5): the fourth field is the mounted folder within its file system, with `//deleted` behind
it once it is gone.
"""

import os
import re
from pathlib import Path

PROCESSES = Path("/proc")
ESCAPED = re.compile(rb"\\([0-7]{3})")  # a space, and what else would part the fields
TO_ESCAPE = re.compile(rb"[ \t\n\\#]")


def seeing(folder: Path, *, processes: Path = PROCESSES) -> list[int]:
    """The ids of processes that have the folder mounted, or one whose name begins alike (`<id>.2`), in order.

    A process that has ended, or is none of ours to look at, is none of them.

    Most processes of a machine are in our own mount namespace and see what we see, or less: where we do not see the
    folder, their mounts are not read.
    """
    wanted = os.fsencode(folder)
    named = TO_ESCAPE.sub(lambda found: b"\\%03o" % ord(found[0]), os.fsencode(folder.name))
    ourselves = processes / "self"
    unseeing = None if _is_seen(named, wanted, _mounts(ourselves)) else _namespace(ourselves)
    found = []
    for entry in processes.iterdir():
        if not entry.name.isdecimal() or (unseeing is not None and _namespace(entry) == unseeing):
            continue
        if _is_seen(named, wanted, _mounts(entry)):
            found.append(int(entry.name))
    return sorted(found)


def _namespace(process: Path) -> tuple[int, int] | None:
    """What tells the mount namespace of a process from others; none where it has ended, or is not ours to look at."""
    try:
        found = (process / "ns/mnt").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _mounts(process: Path) -> bytes:
    try:
        return (process / "mountinfo").read_bytes()
    except OSError:
        return b""


def _is_seen(named: bytes, folder: bytes, mounts: bytes) -> bool:
    """Whether one of the mounts is of the folder; most processes see no run's, and theirs are not taken apart."""
    return named in mounts and any(_is_of(line, folder) for line in mounts.splitlines())


def _is_of(line: bytes, folder: bytes) -> bool:
    """Whether a mount shows this folder or something in it; the field begins where the folder's file system does."""
    fields = line.split(b" ")
    if len(fields) < 5:
        return False
    root = ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), fields[3])
    parent, _, name = folder.rpartition(b"/")
    before, is_named, rest = root.partition(b"/" + name)
    return bool(is_named) and parent.endswith(before) and rest[:1] in {b"", b"/", b"."}
