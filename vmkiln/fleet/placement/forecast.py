"""When waiting runs usually start, and those that go on are usually over, as far as the past tells it; pure.

The queue is played on: each run that goes on frees its room when it is usually over, and each that waits takes its own
when it has it, for as long as it usually takes. A run of which that is not known, or that takes longer than usual,
frees nothing: who needs its room has no time. Of several hosts with room one is taken without a look at what they keep,
so the placement may take another.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from statistics import median

from vmkiln.fleet.admission import Host, Need, Waiting, positions
from vmkiln.run.room import Room
from vmkiln.run_state import Phase
from vmkiln.store.rows import PhaseRow

COMPARED_RUNS = 5  # of a template, the last that succeeded
MOST_FORESEEN = 50  # places of the queue; who stands behind them has no time
MOST_ENDS = 200  # that the queue is played on by; who would start behind them has no time
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TOLD_TO = timedelta(minutes=5)  # a start is when another run ends, which may be somebody else's: not told exactly


@dataclass(frozen=True)
class Forecast:
    """When waiting runs usually start, and when those that go on are usually over, by their ids."""

    starts: Mapping[str, datetime] = field(default_factory=dict)
    ends: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class GoingOn:
    """A run that has room on a host, and when it is usually over; None where that is not known."""

    incarnation: str
    room: Room
    end: datetime | None


def begun_at(phases: Sequence[PhaseRow]) -> datetime | None:
    """When a run began to work: what it waited before is not its own."""
    return min((phase.started for phase in phases if phase.name != Phase.QUEUED), default=None)


def usual_time(successes: Sequence[tuple[datetime | None, Sequence[PhaseRow]]]) -> timedelta | None:
    """The median of how long successes took, each with its end and its phases; None where there are none."""
    begun = ((begun_at(phases), ended) for ended, phases in successes)
    taken = [max(timedelta(), ended - start) for start, ended in begun if start is not None and ended is not None]
    return timedelta(seconds=median(one.total_seconds() for one in taken)) if taken else None


def told_start(start: datetime) -> datetime:
    """A start as it is told to whoever waits: the next five minutes, whole."""
    return EPOCH - (EPOCH - start) // TOLD_TO * TOLD_TO


def starts_of(
    ordered: Sequence[Waiting],
    going_on: Sequence[GoingOn],
    *,
    need_of: Callable[[str], Need],
    hosts: Sequence[Host],
    usual: Mapping[str, timedelta],
    now: datetime,
) -> dict[str, datetime]:
    """When each waiting run starts if all take what is usual (`usual`, by run), as far as that is known.

    The order stays as it is (`in_turn`): the turns that later ends would give are no part of it. Who suits no host is
    judged once, and holds up nobody.
    """
    open_to = {host.incarnation: host for host in hosts}
    ends = [
        (run.end, number, run.incarnation, run.room)
        for number, run in enumerate(going_on)
        if run.end is not None and run.end > now and run.incarnation in open_to
    ]
    heapq.heapify(ends)
    left, moment, found = list(ordered[:MOST_FORESEEN]), now, dict[str, datetime]()
    needs, out = dict[str, Need](), set[str]()

    def need(run_id: str) -> Need:
        if run_id not in needs:
            needs[run_id] = need_of(run_id)
            if not any(host.is_open and not host.unsuited(needs[run_id]) for host in hosts):
                out.add(run_id)
        return needs[run_id]

    for _ in range(MOST_ENDS + 1):
        for place in positions(left, need_of=need, hosts=list(open_to.values())):
            if place.reason:
                continue
            found[place.run_id] = moment
            host = open_to[place.incarnation]
            open_to[place.incarnation] = replace(host, promised=host.promised + place.room)
            if (takes := usual.get(place.run_id)) is not None:
                heapq.heappush(ends, (moment + takes, len(going_on) + len(found), place.incarnation, place.room))
        left = [item for item in left if item.run_id not in found and item.run_id not in out]
        if not left or not ends:
            break
        moment, _, incarnation, room = heapq.heappop(ends)
        host = open_to[incarnation]
        open_to[incarnation] = replace(host, promised=host.promised - room)
    return found
