"""The control groups (cgroups) this process is in, and what they allow it, of both versions; pure reads of files.

A limit of any group on the way up holds, so every group is looked at, from the innermost one to the top of what is
mounted here. A container sees its own group as the top, and what is above it not at all.
Sources: cgroups(7), proc_pid_mountinfo(5); the kernel's "Control Group v2" (memory.max, memory.high, cpu.max) and
"Memory Resource Controller", "CFS Bandwidth Control" for version 1.
"""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

NO_QUOTA = frozenset({"max", "-1"})
ROOT = Path("/")


@dataclass(frozen=True)
class MemoryLimit:
    """What one group may have and has taken, in bytes; file pages that are given back when asked for do not count.

    `group` is the group's path as `/proc/PID/cgroup` has it; `is_unified` says that it is of version 2.
    """

    group: str
    is_unified: bool
    limit_bytes: int
    used_bytes: int


@dataclass(frozen=True)
class _Group:
    """A group: its path in `/proc/PID/cgroup`, its folder, and which version it is of."""

    path: str
    folder: Path
    is_unified: bool


def memory_limits(root: Path = ROOT, process: str = "self") -> list[MemoryLimit]:
    """The limits of memory that hold for a process, innermost group first; none where there is no limit."""
    found = []
    for group in _groups(root, process, "memory"):
        limits = ("memory.max", "memory.high") if group.is_unified else ("memory.limit_in_bytes",)
        given = [number for name in limits if (number := _number(group.folder / name)) is not None]
        used = _number(group.folder / ("memory.current" if group.is_unified else "memory.usage_in_bytes"))
        if given and used is not None:
            kept = used - _reclaimable(group.folder / "memory.stat", is_unified=group.is_unified)
            found.append(MemoryLimit(group.path, group.is_unified, min(given), max(0, kept)))
    return found


def cpu_quotas(root: Path = ROOT, process: str = "self") -> list[float]:
    """How many CPUs' time each group allows a process, innermost group first; none where there is no quota."""
    found = []
    for group in _groups(root, process, "cpu"):
        if group.is_unified:
            quota, _, period = _text(group.folder / "cpu.max").partition(" ")
        else:
            quota, period = _text(group.folder / "cpu.cfs_quota_us"), _text(group.folder / "cpu.cfs_period_us")
        if quota not in NO_QUOTA and quota.isdecimal() and period.isdecimal() and int(period):
            found.append(int(quota) / int(period))
    return found


def group_paths(root: Path = ROOT, process: str = "self", controller: str = "memory") -> dict[bool, str]:
    """The groups a process is in, as `/proc/PID/cgroup` has them: the one of version 2 as True, else False."""
    found = {}
    for line in _text(root / "proc" / process / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            found[not controllers] = path
    return found


def own_folder(root: Path, controller: str, *, is_unified: bool) -> Path | None:
    """The folder of the group that this process is in, of a version; none when its hierarchy is not mounted here."""
    found = [group.folder for group in _groups(root, "self", controller) if group.is_unified is is_unified]
    return found[0] if found and found[0].is_dir() else None


def is_within(path: str, group: str) -> bool:
    """Whether a group's path is a group or below it; pure."""
    return group in (path, "/") or path.startswith(f"{group}/")


def _groups(root: Path, process: str, controller: str) -> list[_Group]:
    """The groups of a controller and all above them, each hierarchy from the innermost group on."""
    paths = group_paths(root, process, controller)
    found = []
    for mounted in _mounts(root, controller):
        path = paths.get(mounted.is_unified)
        if path is None:
            continue
        # a mount shows the hierarchy from its own root on; a process outside of that root is seen as at the top
        below = PurePosixPath(path).relative_to(mounted.path) if is_within(path, mounted.path) else PurePosixPath()
        if ".." in below.parts:
            below = PurePosixPath()
        for part in (below, *below.parents):
            found.append(_Group(str(PurePosixPath(mounted.path) / part), mounted.folder / part, mounted.is_unified))
            if part == PurePosixPath():
                break
    return found


def _mounts(root: Path, controller: str) -> list[_Group]:
    """Where the hierarchies of a controller are mounted: each by its top."""
    found: dict[bool, _Group] = {}
    for line in _text(root / "proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        words = fields.split()
        if len(words) < 5 or kind not in {"cgroup", "cgroup2"}:
            continue
        if kind == "cgroup" and controller not in options.rpartition(" ")[2].split(","):
            continue
        folder = root / _unescaped(words[4]).lstrip("/")
        found.setdefault(kind == "cgroup2", _Group(_unescaped(words[3]), folder, kind == "cgroup2"))
    return list(found.values())


def _unescaped(text: str) -> str:
    """A path of mountinfo, where blanks are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _reclaimable(path: Path, *, is_unified: bool) -> int:
    """File pages that nothing has used lately, in bytes: the kernel takes them when memory gets short."""
    name = "inactive_file" if is_unified else "total_inactive_file"
    for line in _text(path).splitlines():
        key, _, number = line.partition(" ")
        if key == name and number.isdecimal():
            return int(number)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    """A file's text; '' when it is not there, as of a controller that is not enabled."""
    with contextlib.suppress(OSError):
        return path.read_text().strip()
    return ""
