"""The keys of a build, kept sealed beside its customized disk, so that a later attempt searches the bytes for them.

They are in the build VM's seed, which ends with the attempt. What is kept opens with the keys of this installation
only, and as this run's only. Where it does not, the bytes are not searched, and the verdict says so.

*Leaves behind:* a file in the run's folder in `kept/`. *Undone by:* the deletion of that folder. *Safe to repeat:* yes.
"""

from collections.abc import Mapping
from pathlib import Path

from vmkiln.errors import KeyUnavailable
from vmkiln.files.durable_file import write_whole
from vmkiln.inspecting.byte_search import secrets_of_seed
from vmkiln.run.customizing import VM_NAME
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice

FILE = "build-keys.sealed"
LONGEST_BYTES = 64 * 1024  # of the sealed file; the lines of two keys take a hundredth of it


def keep(staged: Staged, folder: Path) -> None:
    """Seal the keys of the attempt's seed into `folder`; without a key to seal with it is told that they are not kept.

    Raises: `StorageFailed`.
    """
    wanted = of_seed(staged.directory)
    if not wanted:
        return
    lines = {name: [line.decode("latin-1") for line in found] for name, found in wanted.items()}
    try:
        sealed = staged.host.store.seal.sealed(lines, place=_place(staged.request.run_id))
    except KeyUnavailable as error:  # no reason to lose a customized disk
        staged.tell(Notice(f"a later attempt could not search for the build's keys: {error.message}", is_warning=True))
        return
    write_whole(folder / FILE, sealed.encode(), mode=0o400)


def known(staged: Staged) -> Mapping[str, tuple[bytes, ...]]:
    """The keys' lines, by what they are: from this attempt's seed, else as an earlier one kept them; else none."""
    return of_seed(staged.directory) or _kept_before(staged)


def of_seed(directory: Path) -> Mapping[str, tuple[bytes, ...]]:
    """Those in the seed of the build VM in this folder; none when it has no seed."""
    seed = directory / f"{VM_NAME}-seed.iso"
    return secrets_of_seed(seed.read_bytes()) if seed.exists() else {}


def _kept_before(staged: Staged) -> Mapping[str, tuple[bytes, ...]]:
    file = staged.directory / FILE
    if not file.exists() or file.stat().st_size > LONGEST_BYTES:
        return {}
    try:
        lines = staged.host.store.seal.opened(file.read_text(errors="replace"), place=_place(staged.request.run_id))
    except KeyUnavailable:
        return {}
    return {name: tuple(line.encode("latin-1") for line in found) for name, found in lines.items()}


def _place(run_id: str) -> str:
    return f"build keys of run {run_id}"
