"""What is kept of a VM that had booted and was stopped, for others to go on from: a folder each, named by its key.

The key is the digest of all that has to be the same for another VM to go on from there, so what fits no longer is never
found. The folder has the RAM, the state of the devices, and a record with a digest of each, which is written last.

*Leaves behind:* the folder. *Undone by:* `discard`, `make_room`. *Safe to repeat:* yes.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from vmkiln.files import locks
from vmkiln.files.durable_file import name_folder
from vmkiln.host.qemu import SavedVm

MEMORY, DEVICES, RECORD = "memory", "devices", "record.json"
BEING_MADE, REFUSED = ".making-", ".refused"
REFUSED_SECONDS = 86_400
MIB = 1024**2


def key_of(facts: Mapping[str, object]) -> str:
    """The key of what was saved under these facts; pure."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def found(folder: Path, key: str) -> SavedVm | None:
    """What was saved under a key, whose use is noted; none when it is not there, or has no record that can be read.

    Whether its content is what was saved is looked at when it is copied.
    """
    place = folder / key
    try:
        record = json.loads((place / RECORD).read_text())
        digests = str(record["memory"]), str(record["devices"])
        os.utime(place)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SavedVm(place / MEMORY, digests[0], place / DEVICES, digests[1])


def refuse(folder: Path, key: str, reason: str) -> None:
    """Note that what has this key could not be made here, or did not go on, so that it is not tried every time."""
    (folder / f"{key}{REFUSED}").write_text(f"{reason}\n")


def is_refused(folder: Path, key: str) -> bool:
    """Whether that was noted within a day."""
    try:
        return time.time() - (folder / f"{key}{REFUSED}").stat().st_mtime < REFUSED_SECONDS
    except FileNotFoundError:
        return False


def begun(folder: Path, key: str) -> Path:
    """An empty folder to make it in, by whoever has the lock of the key; what makers left that died is thrown away."""
    for left in folder.glob(f"{BEING_MADE}*"):
        its_key = left.name.removeprefix(BEING_MADE).partition(".")[0]
        if its_key == key or not locks.is_held(locks.file_of(folder, its_key)):
            shutil.rmtree(left, ignore_errors=True)
    place = folder / f"{BEING_MADE}{key}"
    place.mkdir(mode=0o700, parents=True)
    return place


def finished(workplace: Path, devices: bytes, memory_digest: str) -> SavedVm:
    """Write what is still missing beside the RAM in the folder that it was made in, for a first try."""
    (workplace / DEVICES).write_bytes(devices)
    digest = hashlib.sha256(devices).hexdigest()
    (workplace / RECORD).write_text(json.dumps({"memory": memory_digest, "devices": digest}))
    return SavedVm(workplace / MEMORY, memory_digest, workplace / DEVICES, digest)


def named(workplace: Path) -> None:
    """Give what was made its name, whole and on disk."""
    place = workplace.with_name(workplace.name.removeprefix(BEING_MADE))
    name_folder(workplace, place)  # what has the name is one without a record


def discard(saved: SavedVm) -> None:
    """Delete what was saved, the record first; finds nothing and is content."""
    _delete(saved.memory.parent)


def make_room(folder: Path, *, most_bytes: int, keep: str = "") -> None:
    """Delete what was used least lately until no more than that is left; what has the key `keep` stays."""
    places = sorted(
        (place for place in folder.iterdir() if (place / RECORD).exists() and not place.name.startswith(".")),
        key=lambda place: place.stat().st_mtime,
    )
    sizes = {place: _bytes_of(place) for place in places}
    for place in places:
        if sum(sizes.values()) <= most_bytes:
            return
        if place.name != keep:
            _delete(place)
            del sizes[place]


def _bytes_of(place: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in place.iterdir())


def _delete(place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (place / RECORD).unlink()
    shutil.rmtree(place, ignore_errors=True)
