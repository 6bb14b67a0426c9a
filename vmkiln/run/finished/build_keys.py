"""The keys of a build, kept sealed beside its customized disk, so that whoever goes on from that searches for them.

They are in the build VM's seed, which ends with the attempt. What is kept opens with the keys of this installation
only, and as what it was kept for only: this run's, or a disk's that later builds take. Where it does not, the bytes are
not searched, and the verdict says so.

*Leaves behind:* a file in the folder of what is kept, or of the run. *Undone by:* the deletion of that folder. *Safe to
repeat:* yes.
"""

from collections.abc import Mapping
from pathlib import Path

from vmkiln.errors import KeyUnavailable
from vmkiln.files.durable_file import write_whole
from vmkiln.inspecting.byte_search import secrets_of_seed
from vmkiln.run.run_context import BUILD_VM, Staged
from vmkiln.run.run_event import Notice

FILE = "build-keys.sealed"
LONGEST_BYTES = 64 * 1024  # of the sealed file; the lines of two keys take a hundredth of it


def keep(staged: Staged, folder: Path, *, disk_digest: str = "") -> bool:
    """Seal the attempt's keys into `folder`, for this run, or for whoever takes the disk with this digest.

    Returns whether they are there; without a key to seal with it is told that they are not. Raises: `StorageFailed`.
    """
    wanted = known(staged)
    if not wanted:
        return False
    lines = {name: [line.decode("latin-1") for line in found] for name, found in wanted.items()}
    try:
        place = _place_of_disk(disk_digest) if disk_digest else _place(staged.request.run_id)
        sealed = staged.host.store.seal.sealed(lines, place=place)
    except KeyUnavailable as error:  # no reason to lose a customized disk
        staged.tell(Notice(f"a later attempt could not search for the build's keys: {error.message}", is_warning=True))
        return False
    write_whole(folder / FILE, sealed.encode(), mode=0o400)
    return True


def take_over(staged: Staged, folder: Path, *, disk_digest: str) -> bool:
    """Have the keys of the disk with this digest, which is kept in `folder`, in the run's folder, sealed for this run.

    Returns whether they are there: another disk may have come into that folder, or the key that opens them be gone.
    Raises: `StorageFailed`, `KeyUnavailable`, `OSError`.
    """
    found = _opened(staged, folder / FILE, _place_of_disk(disk_digest))
    if not found:
        return False
    lines = {name: [line.decode("latin-1") for line in ones] for name, ones in found.items()}
    sealed = staged.host.store.seal.sealed(lines, place=_place(staged.request.run_id))
    write_whole(staged.directory / FILE, sealed.encode(), mode=0o400)
    return True


def known(staged: Staged) -> Mapping[str, tuple[bytes, ...]]:
    """The keys' lines, by what they are: from this attempt's seed, else as an earlier one kept them; else none."""
    return of_seed(staged.directory) or _opened(staged, staged.directory / FILE, _place(staged.request.run_id))


def of_seed(directory: Path) -> Mapping[str, tuple[bytes, ...]]:
    """Those in the seed of the build VM in this folder; none when it has no seed."""
    seed = directory / f"{BUILD_VM}-seed.iso"
    return secrets_of_seed(seed.read_bytes()) if seed.exists() else {}


def _opened(staged: Staged, file: Path, place: str) -> Mapping[str, tuple[bytes, ...]]:
    if not file.exists() or file.stat().st_size > LONGEST_BYTES:
        return {}
    try:
        lines = staged.host.store.seal.opened(file.read_text(errors="replace"), place=place)
    except KeyUnavailable:
        return {}
    return {name: tuple(line.encode("latin-1") for line in found) for name, found in lines.items()}


def _place(run_id: str) -> str:
    return f"build keys of run {run_id}"


def _place_of_disk(digest: str) -> str:
    return f"build keys of the disk {digest}"
