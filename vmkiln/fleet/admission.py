"""Which waiting runs may start, and on which host: as far as there is room, in turn between subscriptions.

A host's CPUs, memory and disk are promised to a run for as long as it goes on, and never promised twice. The run at
the front is waited for: smaller ones do not pass it on any host that could take it, so a large run always gets its
turn. Of several hosts with room the one with the stronger isolation is taken, then one that keeps checkpoints of
the run's template, or such as it may borrow, or its source image, then the emptiest. Pure.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from vmkiln.run.room import NOTHING, Room

MOST_TOLD = 8  # hosts that are named in why a run is not on them
NEAR = (  # the nearest first
    "checkpoints of its template",
    "checkpoints that its template may borrow",
    "a booted VM of its source image",
    "its source image",
)


@dataclass(frozen=True)
class Waiting:
    """A run that waits, for whom, and since when."""

    run_id: str
    subscription: str
    queued: datetime


@dataclass(frozen=True)
class Kept:
    """What hosts keep that a run may start from, by their incarnations.

    `sources` are those with its source image, each with whether it has a booted VM of it too; `checkpoints` are those
    with a checkpoint of its template, `lent` those with one of its source that its template may borrow.
    """

    sources: Mapping[str, bool] = field(default_factory=dict)
    checkpoints: frozenset[str] = frozenset()
    lent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Need:
    """What a run needs: room, and of its host a region, an architecture, an isolation level ('' where any will do).

    `avoided` are the names of hosts with which it had faults: it goes to another one where there is one. `kept` is what
    it would rather have than not.
    """

    room: Room
    region: str = ""
    architecture: str = ""
    isolation_level: str = ""
    avoided: frozenset[str] = frozenset()
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True)
class Host:
    """A host as placement sees it: what it has, what of it is promised, and what it is.

    One without a region takes runs of every region. `unready` is the code of what keeps it from building now.
    """

    incarnation: str
    name: str
    capacity: Room
    promised: Room = NOTHING
    region: str = ""
    architecture: str = ""
    isolation_level: str = ""
    is_draining: bool = False
    unready: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it takes new runs."""
        return not self.is_draining and not self.unready

    @property
    def free(self) -> Room:
        """What is not promised; below 0 where the machine has less than it had."""
        has, given = self.capacity, self.promised
        return Room(has.cpus - given.cpus, has.memory_mib - given.memory_mib, has.disk_mib - given.disk_mib)

    def unsuited(self, need: Need) -> str:
        """Why this host can never take such a run, in words; '' when it can."""
        if need.region and self.region and need.region != self.region:
            return f"the region {need.region}"
        if need.architecture and self.architecture and need.architecture != self.architecture:
            return f"the architecture {need.architecture}"
        if need.isolation_level and need.isolation_level != self.isolation_level:
            return f"the isolation level {need.isolation_level}"
        return ""


@dataclass(frozen=True)
class QueuePosition:
    """A waiting run's position in the queue (1 is the front), and why it waits.

    With no reason it may start now on the host of `incarnation`, which keeps `room` for it; `why_there` says why on
    that host. `told` is the reason for whoever may not know which hosts there are: it names none.
    """

    run_id: str
    position: int
    reason: str
    told: str = ""
    incarnation: str = ""
    room: Room = NOTHING
    why_there: str = ""


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


def positions(
    ordered: Sequence[Waiting],
    *,
    need_of: Callable[[str], Need],
    hosts: Sequence[Host],
    kept_for: Callable[[str], Kept] | None = None,
) -> list[QueuePosition]:
    """The position of every run of a queue in its order (`in_turn`); those without a reason fit at once.

    `need_of` is asked only for who may be next, and `kept_for`, for what hosts keep of its source, only where more than
    one has room.

    A run that waits for room holds every host that could take it: who stands behind it gets the others at most.
    """
    found: list[QueuePosition] = []
    open_to: dict[str, Host] = {host.incarnation: host for host in hosts if host.is_open}
    held = 0
    for position, item in enumerate(ordered, start=1):
        if held and not open_to:
            others = position - 1
            reason = f"waits behind {others} other{'s' if others > 1 else ''}"
            found.append(QueuePosition(item.run_id, position, reason, reason))
            continue
        need = need_of(item.run_id)
        suited = [host for host in open_to.values() if not host.unsuited(need)]
        suited = [host for host in suited if host.name not in need.avoided] or suited
        roomy = [host for host in suited if not need.room.capped(host.capacity).missing(host.free)]
        if len(roomy) > 1 and kept_for is not None:
            need = replace(need, kept=kept_for(item.run_id))
        if roomy:
            best = min(roomy, key=partial(_preference, need))
            room = need.room.capped(best.capacity)
            why_there = _why_there(need, best, roomy, hosts, open_to)
            open_to[best.incarnation] = replace(best, promised=best.promised + room)
            found.append(QueuePosition(item.run_id, position, "", "", best.incarnation, room, why_there))
            continue
        reason, told = (_reason(need, suited, hosts, behind=held, is_naming=naming) for naming in (True, False))
        found.append(QueuePosition(item.run_id, position, reason, told))
        for host in suited:
            del open_to[host.incarnation]
        held += 1
    return found


def _preference(need: Need, host: Host) -> tuple[bool, int, int, int, str]:
    is_weaker = host.isolation_level != "hardware"
    return (is_weaker, _distance(need, host), -host.free.cpus, -host.free.memory_mib, host.name)


def _distance(need: Need, host: Host) -> int:
    """How far a host is from what a run may start from: its place in `NEAR`, or behind them all."""
    if host.incarnation in need.kept.checkpoints:
        return 0
    if host.incarnation in need.kept.lent:
        return 1
    if host.incarnation not in need.kept.sources:
        return len(NEAR)
    return 2 if need.kept.sources[host.incarnation] else 3


def _why_there(
    need: Need, best: Host, roomy: Sequence[Host], hosts: Sequence[Host], open_to: Mapping[str, Host]
) -> str:
    """Why a run gets this host, and what kept it from the others; a long list of those is cut. Pure."""
    if len(hosts) == 1:
        return "it is the only host"
    free = f"{best.free.cpus} CPUs and {best.free.memory_mib} MiB free"
    others = [host for host in roomy if host.incarnation != best.incarnation]
    if not others:
        chosen = f"{best.name} alone suits it and has room ({free})"
    elif all(_preference(need, host)[0] > _preference(need, best)[0] for host in others):
        chosen = f"{best.name} has the strongest isolation of {len(roomy)} hosts with room ({free})"
    elif any(_distance(need, host) > _distance(need, best) for host in others):
        kept = NEAR[_distance(need, best)]
        as_near = sum(_distance(need, host) <= _distance(need, best) for host in roomy)
        which = f"is the emptiest of {as_near} that keep" if as_near > 1 else "alone keeps"
        chosen = f"of {len(roomy)} hosts with room {best.name} {which} {kept} ({free})"
    else:
        chosen = f"{best.name} is the emptiest of {len(roomy)} hosts with room ({free})"
    named = {host.incarnation for host in roomy}
    kept_out = [f"{host.name} {_kept_out(need, host, open_to)}" for host in hosts if host.incarnation not in named]
    told = kept_out[:MOST_TOLD]
    if left := len(kept_out) - len(told):
        told.append(f"{left} more")
    return f"{chosen}; not {', '.join(told)}" if told else chosen


def _kept_out(need: Need, host: Host, open_to: Mapping[str, Host]) -> str:
    if host.is_draining:
        return "(draining)"
    if host.unready:
        return f"(not ready: {host.unready})"
    if lacks := host.unsuited(need):
        return f"(lacks {lacks})"
    if host.name in need.avoided:
        return "(had a fault with it)"
    if host.incarnation not in open_to:
        return "(kept for a run before it)"
    now = open_to[host.incarnation]
    return f"(lacks {need.room.capped(now.capacity).missing(now.free)})"


def _reason(need: Need, suited: Sequence[Host], hosts: Sequence[Host], *, behind: int, is_naming: bool) -> str:
    """Why a run waits; with the names of hosts, or as who may not know them is told it. Pure."""
    if suited:
        emptiest = min(suited, key=partial(_preference, need))
        text = need.room.capped(emptiest.capacity).missing(emptiest.free)
        if len(hosts) == 1 or not is_naming:
            return f"waits for {text}"
        return f"waits for {text} on {emptiest.name} or another host"
    if not hosts:
        return "waits for a host: no service or worker is at work"
    if all(lacks := [host.unsuited(need) for host in hosts]):
        named = [f"{host.name} lacks {text}" for host, text in zip(hosts, lacks, strict=True)]
        told = named if is_naming else [f"none has {text}" for text in dict.fromkeys(lacks)]
        return f"waits for a host that suits it: {', '.join(told)}"
    suiting = [host for host in hosts if not host.unsuited(need)]
    if all(host.is_draining for host in suiting):
        return "waits for a host that is not draining"
    if not any(host.is_open for host in suiting):
        unready = ", ".join(f"{host.name} is not ready ({host.unready})" for host in suiting if host.unready)
        return f"waits for a host that can build{f': {unready}' if is_naming else ''}"
    return f"waits behind {behind} other{'s' if behind > 1 else ''} for the same hosts"
