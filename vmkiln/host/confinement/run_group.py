"""A control group of each run's own, below the one that was delegated to us: memory, processes, CPU and disk.

Where none was delegated, as in a shell of a login, there is none, and limits of single processes are all there is. With
version 2 a group that has groups below it may have no processes of its own, so ours go into a group beside the runs'.
Whoever holds a group has its folder locked: it may be empty for a while, and is nobody's to remove then.

*Leaves behind:* an empty group, when we are killed. *Undone by:* the end of the run; what a dead one left, by the next.
*Safe to repeat:* yes.
Sources: cgroups(7); the kernel's "Control Group v2", "Delegation", and "Process Number Controller", "Memory Resource
Controller", "CFS Scheduler" for version 1; systemd's "Control Group APIs and Delegation".
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.files import locks
from vmkiln.host import control_group
from vmkiln.host.confinement import kernel_calls
from vmkiln.host.confinement.vm_jail import MIB, MOST_THREADS
from vmkiln.host.control_group import ROOT

log = logging.getLogger(__name__)
PREFIX = "vmkiln-run-"
OURS = "vmkiln-service"
CONTROLLERS = ("memory", "pids", "cpu", "io")  # of version 2
REMOVAL_SECONDS = 5.0  # the last process of a run is killed just before
PAUSE_SECONDS = 0.05
LOCK_TRIES = 20  # who looks whether a group is anybody's has it for a moment
MOST_ANCESTORS = 64
FOLDER = os.O_RDONLY | os.O_DIRECTORY
BESIDE_GUESTS_MIB = 4096  # two QEMUs with what they translate, up to 1 GiB each, caches of disks, the supervisor
PROCESSES_BESIDE_VMS = 256
WEIGHT_2, WEIGHT_1 = "100", "1024"  # what every group has from the start: no run has more than another, or than we


@dataclass(frozen=True)
class RunLimits:
    """What the processes of a run may have together: memory in bytes, and how many with their threads."""

    memory_bytes: int
    processes: int


def limits_of(*, guests_mib: int) -> RunLimits:
    """What a run of two guests with so much memory may have in all: that, and what it takes to run them; pure."""
    return RunLimits((guests_mib + BESIDE_GUESTS_MIB) * MIB, 2 * MOST_THREADS + PROCESSES_BESIDE_VMS)


@dataclass(frozen=True)
class RunGroup:
    """A run's group: its name, and its folder, or one in each hierarchy of version 1."""

    name: str
    folders: tuple[Path, ...]

    def add(self, process_id: int) -> None:
        """Put a process in, and with it all that it starts from now on. Raises: `OSError`."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(process_id))


def is_delegated(root: Path = ROOT) -> bool:
    """Whether a run would get a group of its own."""
    return _unified(root) is not None or bool(_of_version_1(root))


@contextlib.contextmanager
def held(run_id: str, limits: RunLimits, *, is_required: bool = False, root: Path = ROOT) -> Iterator[RunGroup | None]:
    """A run's group; none where none is delegated, or the kernel refuses it, which is logged.

    Raises: `HostUnfit` when all that can hold a run `is_required`, and this host has no group for it, or no Landlock.
    """
    with contextlib.ExitStack() as kept:
        try:
            group = _made(f"{PREFIX}{run_id}", limits, root, kept)
        except OSError as error:
            log.warning("the run gets no control group of its own: %s", error)
            group = None
        try:
            if is_required:
                check(has_group=group is not None, landlock_version=kernel_calls.landlock_version())
            yield group
        finally:
            for folder in () if group is None else group.folders:
                _remove(folder)


def is_there(run_id: str, *, root: Path = ROOT) -> bool:
    """Whether a run's group is still there, in any hierarchy."""
    bases = (_unified(root), *_of_version_1(root))
    return any((base / f"{PREFIX}{run_id}").exists() for base in bases if base is not None)


def check(*, has_group: bool, landlock_version: int) -> None:
    """Raises: `HostUnfit` naming all that is missing; pure."""
    missing = [
        *([] if has_group else ["a control group of its own"]),
        *([] if landlock_version else ["Landlock"]),
    ]
    if missing:
        raise HostUnfit(
            f"this host cannot give the run {' and '.join(missing)}, which the setting `require_confinement` demands",
            hint="`vmkiln doctor` says what to change",
        )


def _made(name: str, limits: RunLimits, root: Path, kept: contextlib.ExitStack) -> RunGroup | None:
    base = _unified(root)
    if base is not None:
        _make_ready(base)
        files = {
            "memory.max": str(limits.memory_bytes),
            "pids.max": str(limits.processes),
            "cpu.weight": WEIGHT_2,
            "io.weight": WEIGHT_2,
        }
        return RunGroup(name, (_folder(base, name, files, kept),))
    files = {
        "memory.limit_in_bytes": str(limits.memory_bytes),
        "pids.max": str(limits.processes),
        "cpu.shares": WEIGHT_1,
    }
    folders: list[Path] = []
    try:
        for base in _of_version_1(root):
            folders.append(base / name)
            _folder(base, name, files, kept)
    except OSError:
        for folder in folders:
            _is_removed(folder)
        raise
    return RunGroup(name, tuple(folders)) if folders else None


def _folder(base: Path, name: str, files: dict[str, str], kept: contextlib.ExitStack) -> Path:
    for old in (folder for folder in base.glob(f"{PREFIX}*") if folder.name != name):
        with contextlib.suppress(OSError), locks.opened(old, flags=FOLDER) as descriptor:
            if locks.try_to_take(descriptor):
                old.rmdir()  # not one with processes: its run goes on
    folder = base / name
    _lock(folder, kept)
    for file, text in files.items():
        if (folder / file).exists():  # the controllers of this hierarchy, or those that were delegated
            (folder / file).write_text(text)
    return folder


def _lock(folder: Path, kept: contextlib.ExitStack) -> None:
    """Make a folder that is ours while `kept` is open, though others remove those that are nobody's. Raises: `OSError`.

    Where another has it for longer, it is that one's to keep.
    """
    for _ in range(LOCK_TRIES):
        folder.mkdir(exist_ok=True)
        with contextlib.ExitStack() as tries, contextlib.suppress(FileNotFoundError):
            descriptor = tries.enter_context(locks.opened(folder, flags=FOLDER))
            if locks.try_to_take(descriptor) and locks.is_at(descriptor, folder):
                kept.enter_context(tries.pop_all())
                return
        time.sleep(PAUSE_SECONDS)
    folder.mkdir(exist_ok=True)


def _remove(folder: Path) -> None:
    """Raises nothing: who comes next removes it."""
    deadline = time.monotonic() + REMOVAL_SECONDS
    while not _is_removed(folder):
        if time.monotonic() > deadline:
            log.warning("the control group %s could not be removed: it still has processes", folder)
            return
        time.sleep(PAUSE_SECONDS)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _unified(root: Path) -> Path | None:
    """The group of version 2 that is ours to divide: with memory and processes, and nobody's but ours."""
    own = control_group.own_folder(root, "memory", is_unified=True)
    if own is None:
        return None
    base = own.parent if own.name == OURS else own
    controllers = _words(base / "cgroup.controllers")
    if not {"memory", "pids"} <= controllers or not _is_writable(base, "cgroup.subtree_control"):
        return None
    ours = own != base or all(_is_ours(int(word), root) for word in _words(base / "cgroup.procs"))
    return base if ours else None


def _make_ready(base: Path) -> None:
    """Our processes into a group of their own, and the controllers to the groups below."""
    (base / OURS).mkdir(exist_ok=True)
    for word in _words(base / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            (base / OURS / "cgroup.procs").write_text(word)
    wanted = [name for name in CONTROLLERS if name in _words(base / "cgroup.controllers")]
    (base / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted))


def _of_version_1(root: Path) -> tuple[Path, ...]:
    """The group of each hierarchy that is ours to divide; none unless memory and processes are among them."""
    found = {}
    for controller in ("memory", "pids", "cpu"):
        own = control_group.own_folder(root, controller, is_unified=False)
        if own is not None and _is_writable(own, "cgroup.procs"):
            found[controller] = own
    return tuple(dict.fromkeys(found.values())) if {"memory", "pids"} <= set(found) else ()


def _is_writable(folder: Path, file: str) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and os.access(folder / file, os.W_OK)


def _is_ours(process_id: int, root: Path) -> bool:
    """Whether a process is this one, or descends from it."""
    own, seen = os.getpid(), 0
    while process_id > 1 and process_id != own and seen < MOST_ANCESTORS:
        try:
            stat = (root / "proc" / str(process_id) / "stat").read_text()
        except OSError:
            return True  # it has ended
        process_id, seen = int(stat.rpartition(")")[2].split()[1]), seen + 1
    return process_id == own


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text().split())
    except OSError:
        return set()
