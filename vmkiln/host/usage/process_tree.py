"""What a program and all that it started take of this machine: CPU time and resident memory, as the kernel counts them.

What a program had taken when it ended is kept, as far as it was seen. Memory that several programs share is counted
for each.
Source: proc(5), `stat` and `task/TID/children`; the latter needs CONFIG_PROC_CHILDREN, which distributions set.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

# fields behind the name's closing bracket, from `state` on (proc(5) counts from 1, and that is the third)
USER_TICKS, SYSTEM_TICKS, BEGAN, RESIDENT_PAGES = 11, 12, 19, 21
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
MOST_PROCESSES = 4096


@dataclass(frozen=True)
class Usage:
    """CPU time since the beginning, in seconds, and the memory that is resident now, in KiB."""

    cpu_seconds: float
    resident_kib: int


@dataclass
class ProcessTree:
    """A process (by its id here) with all below it. `look` may be called from any thread, by one at a time."""

    process_id: int
    proc: Path = Path("/proc")
    _ticks: dict[tuple[int, int], int] = field(default_factory=dict)  # by id and beginning: an id is given again

    def look(self) -> Usage:
        """What it takes now; of a process that has ended, what it had taken when it was last seen."""
        resident = 0
        waiting, seen = [self.process_id], 0
        while waiting and seen < MOST_PROCESSES:
            process, seen = waiting.pop(), seen + 1
            with contextlib.suppress(OSError, ValueError, IndexError):  # it ended meanwhile
                folder = self.proc / str(process)
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                key = (process, int(fields[BEGAN]))
                self._ticks[key] = int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS])
                resident += int(fields[RESIDENT_PAGES]) * PAGE_KIB
                for children in folder.glob("task/*/children"):
                    waiting += map(int, children.read_text().split())
        return Usage(sum(self._ticks.values()) / TICKS, resident)
