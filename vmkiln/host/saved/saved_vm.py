"""What is kept of a VM that had booted and was stopped, for others to go on from: a folder each, named by its key.

The key is the digest of all that has to be the same for another VM to go on from there, so what fits no longer is never
found. The folder has the RAM, the state of the devices, the disk that it had written if it had one, and a record with
a digest of each, which is written last.

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
from vmkiln.files.durable_file import name_folder, reported
from vmkiln.files.private_folder import private_folder
from vmkiln.files.sparse_file import taken_bytes
from vmkiln.host.qemu import SavedVm
from vmkiln.host.saved import memory_file
from vmkiln.run_failures import VirtualMachineLost

MEMORY, DEVICES, DISK, RECORD = "memory", "devices", "disk", "record.json"
BEING_MADE, REFUSED = ".making-", ".refused"
REFUSED_SECONDS = 86_400
CLOCK_SECONDS = 60  # a note from further ahead was made while the clock was wrong, and is over
BUSY_SECONDS = 900  # what took too long is the machine's fault of an hour, more often than that of what is saved
LOCK_SECONDS = 3600  # or a build would make its lock's file anew each time
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
        disk = str(record.get("disk", ""))
        os.utime(place)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return _saved_in(place, *digests, disk)


def _saved_in(place: Path, memory: str, devices: str, disk: str) -> SavedVm:
    return SavedVm(place / MEMORY, memory, place / DEVICES, devices, place / DISK if disk else None, disk)


def refuse(folder: Path, key: str, reason: str, *, seconds: float = REFUSED_SECONDS) -> None:
    """Note for so long, a day at most, that what has this key could not be made here, or did not go on."""
    path, until = folder / f"{key}{REFUSED}", time.time() + seconds
    path.write_text(f"{reason}\n")
    os.utime(path, (until - REFUSED_SECONDS, until - REFUSED_SECONDS))


def is_refused(folder: Path, key: str) -> bool:
    """Whether that is noted and not over."""
    return bool(refusal(folder, key))


def refusal(folder: Path, key: str) -> str:
    """The reason that is noted and not over; '' when none is."""
    path = folder / f"{key}{REFUSED}"
    try:
        if -CLOCK_SECONDS < time.time() - path.stat().st_mtime < REFUSED_SECONDS:
            return path.read_text(errors="replace").strip() or "it could not be made"
    except FileNotFoundError:
        pass
    return ""


def begun(folder: Path, key: str) -> Path:
    """An empty folder to make it in, by whoever has the lock of the key; what makers left that died is thrown away."""
    remove_left(folder, own=key)
    place = folder / f"{BEING_MADE}{key}"
    private_folder(place.parent)
    place.mkdir(mode=0o700)
    return place


def remove_left(folder: Path, *, own: str = "") -> None:
    """Delete what makers left that died, of the key `own` whoever has its lock, and refusals that are over.

    Files of locks go, too, when nobody has them: one is made for each key, and a key is of no use for long.
    """
    for left in folder.glob(f"{BEING_MADE}*"):
        key = left.name.removeprefix(BEING_MADE).partition(".")[0]
        if key == own:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with locks.tried(locks.file_of(folder, key)) as is_ours:
            if is_ours:  # and kept meanwhile: another may begin to make the same
                shutil.rmtree(left, ignore_errors=True)
    for note in folder.glob(f"*{REFUSED}"):
        if not refusal(folder, note.name.removesuffix(REFUSED)):
            note.unlink(missing_ok=True)
    now = time.time()
    for lock in folder.glob(f"{locks.LOCK}*"):
        with contextlib.suppress(FileNotFoundError):
            if now - lock.stat().st_mtime > LOCK_SECONDS:
                locks.remove_free(lock)


def finished(
    workplace: Path,
    devices: bytes,
    memory_digest: str,
    *,
    source: str = "",
    disk_digest: str = "",
    about: Mapping[str, object] | None = None,
) -> SavedVm:
    """Write what is still missing beside the RAM in the folder that it was made in, for a first try.

    Its disk is there by then, if it has one, with this digest, or one that is taken now. `source` is the digest of the
    image that it booted, to be deleted with it. `about` is what its maker notes besides.
    """
    (workplace / DEVICES).write_bytes(devices)
    digest = hashlib.sha256(devices).hexdigest()
    disk = disk_digest or _disk_digest(workplace / DISK)
    digests = {"memory": memory_digest, "devices": digest} | ({"disk": disk} if disk else {})
    noted = digests | ({"source": source} if source else {}) | ({"about": dict(about)} if about else {})
    (workplace / RECORD).write_text(json.dumps(noted))
    return _saved_in(workplace, memory_digest, digest, disk)


def _disk_digest(disk: Path) -> str:
    """'' where there is none."""
    try:
        return memory_file.digest_of_file(disk)
    except FileNotFoundError:
        return ""


def devices_of(saved: SavedVm) -> bytes:
    """The state of the devices of a saved VM; that one goes on from it is noted.

    Raises: `VirtualMachineLost` when that is not what was saved, or was deleted meanwhile.
    """
    try:
        os.utime(saved.memory.parent)
        state = saved.devices.read_bytes()
    except OSError as error:
        raise VirtualMachineLost(f"the saved state of the devices cannot be read: {error.strerror}") from error
    if hashlib.sha256(state).hexdigest() != saved.devices_digest:
        raise VirtualMachineLost("the saved state of the devices is not what was saved")
    return state


def copy_disk(saved: SavedVm, target: Path) -> None:
    """A new file, for its owner, that has what a VM had written when it was saved.

    Raises: `VirtualMachineLost` when that is not what was saved, `StorageFull` when there is no room for it here, which
    says nothing of what was saved, `StorageFailed`; there is no file then.
    """
    if saved.disk is None:
        raise VirtualMachineLost("no disk was saved with it")
    try:
        with reported("copying the saved disk"):
            digest = copied_file(saved.disk, target)
        if digest != saved.disk_digest:
            raise VirtualMachineLost("the saved disk is not what was saved")
    except BaseException:
        target.unlink(missing_ok=True)
        raise


def copied_file(source: Path, target: Path) -> str:
    """Copy a file with holes to a new one, for its owner; returns the digest of what was copied. Raises: `OSError`."""
    with source.open("rb") as file, open(target, "xb", opener=_private) as copy:
        return memory_file.copied(file.fileno(), copy.fileno())


def copy_file(source: Path, target: Path) -> None:
    """The same without a digest, which is taken of the copy (`memory_file.digest_of_file`). Raises: `OSError`."""
    with source.open("rb") as file, open(target, "xb", opener=_private) as copy:
        memory_file.copy(file.fileno(), copy.fileno())


def is_whole(saved: SavedVm) -> bool:
    """Whether all of it is what was saved."""
    try:
        if hashlib.sha256(saved.devices.read_bytes()).hexdigest() != saved.devices_digest:
            return False
        for path, digest in ((saved.memory, saved.memory_digest), (saved.disk, saved.disk_digest)):
            if path is not None and memory_file.digest_of_file(path) != digest:
                return False
    except OSError:
        return False
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def named(workplace: Path) -> None:
    """Give what was made its name, whole and on disk."""
    place = workplace.with_name(workplace.name.removeprefix(BEING_MADE))
    name_folder(workplace, place)  # what has the name is one without a record


def discard(saved: SavedVm) -> None:
    """Delete what was saved, the record first; finds nothing and is content."""
    _delete(saved.memory.parent)


def discard_of(folder: Path, source: str) -> None:
    """Delete what was saved of VMs that had booted the image with this digest."""
    for record in folder.glob(f"*/{RECORD}"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if json.loads(record.read_text()).get("source") == source:
                _delete(record.parent)


def source_of(place: Path) -> str:
    """The digest of the image that a saved VM had booted; '' where its record has none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads((place / RECORD).read_text()).get("source", ""))
    return ""


def sources_of(folder: Path) -> frozenset[str]:
    """The digests of the images that VMs had booted which were saved behind their boot, and no later."""
    found = set()
    for record in folder.glob(f"*/{RECORD}"):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            noted = json.loads(record.read_text())
            if not record.parent.name.startswith(".") and not noted.get("about"):
                found.add(str(noted.get("source", "")))
    return frozenset(found)


def make_room(folder: Path, *, most_bytes: int, keep: str = "") -> None:
    """Delete what was used least lately until no more than that is left; what has the key `keep` stays."""
    used, sizes = {}, {}
    for place in folder.iterdir():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # another may make room at the same time
            if not place.name.startswith(".") and (place / RECORD).exists():
                used[place], sizes[place] = place.stat().st_mtime, bytes_of(place)
    for place in sorted(sizes, key=lambda place: used[place]):
        if sum(sizes.values()) <= most_bytes:
            return
        if place.name != keep:
            _delete(place)
            del sizes[place]


def bytes_of(place: Path) -> int:
    """What a folder of it takes of the disk."""
    return taken_bytes(*place.iterdir())


def _delete(place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (place / RECORD).unlink()
    shutil.rmtree(place, ignore_errors=True)
