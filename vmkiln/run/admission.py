"""Which waiting runs may start: as far as the machine has room, in turn between subscriptions, first come first served.

A machine's CPUs, memory and disk are promised to a run for as long as it goes on, and never promised twice. The run at
the front is waited for: smaller ones do not pass it, so a large run always gets its turn. Pure.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Room:
    """CPUs, memory (MiB) and disk (MiB): what a machine has, or what a run needs of it."""

    cpus: int
    memory_mib: int
    disk_mib: int

    def __add__(self, other: "Room") -> "Room":
        return Room(self.cpus + other.cpus, self.memory_mib + other.memory_mib, self.disk_mib + other.disk_mib)

    def capped(self, most: "Room") -> "Room":
        """The same need on a machine that has only `most` CPUs and memory: the build VM is made smaller there."""
        return Room(min(self.cpus, most.cpus), min(self.memory_mib, most.memory_mib), self.disk_mib)

    def missing(self, free: "Room") -> str:
        """What is missing in `free`, in words; '' when nothing is."""
        lacks = []
        if self.cpus > free.cpus:
            lacks.append(f"{self.cpus} CPUs ({max(0, free.cpus)} free)")
        if self.memory_mib > free.memory_mib:
            lacks.append(f"{self.memory_mib} MiB of memory ({max(0, free.memory_mib)} free)")
        if self.disk_mib > free.disk_mib:
            lacks.append(f"{self.disk_mib} MiB of disk ({max(0, free.disk_mib)} free)")
        return " and ".join(lacks)


NOTHING = Room(0, 0, 0)


@dataclass(frozen=True)
class Waiting:
    """A run that waits, for whom, and since when."""

    run_id: str
    subscription: str
    queued: datetime


@dataclass(frozen=True)
class Place:
    """A waiting run's place in the queue (1 is the front), and why it waits; '' when it may start now."""

    run_id: str
    position: int
    reason: str


@dataclass(frozen=True)
class Turns:
    """Whose turn it is: how many runs of each subscription go on, and when one of it started last."""

    going_on: Mapping[str, int] = field(default_factory=dict)
    last_start: Mapping[str, datetime] = field(default_factory=dict)


def in_turn(waiting: Sequence[Waiting], turns: Turns) -> list[Waiting]:
    """The order of the queue: next is whoever's subscription has the fewest runs going on or before it.

    Of those, the one that was served longest ago; so a subscription with a hundred runs does not hold up another's one.
    """
    lines: dict[str, list[Waiting]] = {}
    for item in sorted(waiting, key=lambda item: (item.queued, item.run_id)):
        lines.setdefault(item.subscription, []).append(item)
    taken = {name: turns.going_on.get(name, 0) for name in lines}
    served = {name: turns.last_start[name].timestamp() if name in turns.last_start else -math.inf for name in lines}
    ordered: list[Waiting] = []
    while lines:
        name = min(lines, key=lambda name: (taken[name], served[name], lines[name][0].queued, lines[name][0].run_id))
        ordered.append(lines[name].pop(0))
        taken[name] += 1
        if not lines[name]:
            del lines[name]
    return ordered


def places(
    waiting: Sequence[Waiting], turns: Turns, *, need_of: Callable[[str], Room], capacity: Room, promised: Room
) -> list[Place]:
    """Every waiting run's place; those at the front without a reason fit all at once.

    `promised` is what the runs that go on have; `need_of` is asked for the runs at the front only.
    """
    found: list[Place] = []
    front = ""
    for position, item in enumerate(in_turn(waiting, turns), start=1):
        if not front:
            need = need_of(item.run_id).capped(capacity)
            free = Room(
                capacity.cpus - promised.cpus,
                capacity.memory_mib - promised.memory_mib,
                capacity.disk_mib - promised.disk_mib,
            )
            missing = need.missing(free)
            if not missing:
                promised += need
                found.append(Place(item.run_id, position, ""))
                continue
            front = item.run_id
            found.append(Place(item.run_id, position, f"waits for {missing}"))
            continue
        others = position - 1
        found.append(Place(item.run_id, position, f"waits behind {others} other{'s' if others > 1 else ''}"))
    return found
