"""What this machine has for builds: memory and CPUs, or what its control groups leave of them when that is less.

In a container, or a service with `MemoryMax=` or `CPUQuota=`, the machine has more than this process can ever get.
"""

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

from vmkiln.host import control_group
from vmkiln.host.confinement.subordinate_ids import IdFile, own_range
from vmkiln.host.control_group import ROOT, MemoryLimit

KIB = 1024


def available_memory_bytes(root: Path = ROOT) -> int:
    """Memory that new programs can take: MemAvailable (proc_meminfo(5)), or less under a limit; 0 if unknown."""
    return max(0, min([_machine_available(root), *(_left(limit) for limit in control_group.memory_limits(root))]))


def memory_bytes_with_guests(root: Path = ROOT) -> int:
    """Memory that new programs and this user's QEMU processes can have together.

    What a guest has taken counts only in the groups it is in: one that a user started in a shell takes nothing from a
    service with a limit of its own.
    """
    guests = _guests(root)
    together = [_machine_available(root) + sum(taken for _, taken in guests)]
    for limit in control_group.memory_limits(root):
        inside = sum(taken for paths, taken in guests if _is_in(limit, paths))
        together.append(min(limit.limit_bytes, _left(limit) + inside))
    return max(0, min(together))


def cpu_count(root: Path = ROOT) -> int:
    """CPUs this process may use: those it may run on (sched_getaffinity(2)), or fewer under a quota; at least one."""
    return max(1, min([len(os.sched_getaffinity(0)), *(math.floor(cpus) for cpus in control_group.cpu_quotas(root))]))


def _left(limit: MemoryLimit) -> int:
    return limit.limit_bytes - limit.used_bytes


def _is_in(limit: MemoryLimit, paths: Mapping[bool, str]) -> bool:
    path = paths.get(limit.is_unified)
    return path is not None and control_group.is_within(path, limit.group)


def _machine_available(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * KIB
    return 0


def _guests(root: Path) -> list[tuple[dict[bool, str], int]]:
    """This user's QEMU processes: the groups each is in, and the memory it has taken, in bytes (proc(5), VmRSS).

    Each runs as a subordinate id of the user; those outside of a run as the user.
    """
    found = []
    own, subordinate = os.getuid(), own_range(IdFile.USERS, root)
    handed_out = subordinate.ids if subordinate else range(0)
    for folder in (root / "proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            owner = folder.stat().st_uid
            if (owner == own or owner in handed_out) and (folder / "comm").read_text().startswith("qemu-system"):
                lines = (folder / "status").read_text().splitlines()
                taken = sum(int(line.split()[1]) * KIB for line in lines if line.startswith("VmRSS:"))
                found.append((control_group.group_paths(root, folder.name), taken))
    return found
