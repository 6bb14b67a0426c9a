"""The files that this process holds open: databases, folders, logs; no pipes, sockets and devices."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

OURS_NOT = ("/dev/", "/proc/", "/sys/")
IN_MEMORY = "/dev/shm/"
UNNAMED = re.compile(r"/tmp/#\d+ \(deleted\)")  # open(2), O_TMPFILE: nothing of ours is; moto keeps parts of objects so
KEPT_FOR_EVER = "/dev/shm/pym-"  # what multiprocessing shares with processes: mapped as long as this one lives


def open_files() -> Counter[str]:
    """Their names; one that is open twice counts twice."""
    return Counter(filter(_is_a_file, _names()))


def descriptors(*, but: Path | None = None) -> Counter[str]:
    """Everything that is held open, by its kind or name; without the database `but`, of which a pool holds some."""
    kinds = (name.partition("[")[0] for name in _names())
    return Counter(kind for kind in kinds if but is None or not kind.startswith(str(but)))


def _names() -> Iterator[str]:
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own, and those that threads close
            yield str(entry.readlink())


def _is_a_file(name: str) -> bool:
    is_in_memory = name.startswith(IN_MEMORY) and not name.startswith(KEPT_FOR_EVER)
    if UNNAMED.fullmatch(name):
        return False
    return name.startswith("/") and (is_in_memory or not name.startswith(OURS_NOT))
