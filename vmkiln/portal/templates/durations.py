"""How long the last runs of a template took: a column for each, and each phase for the table behind it; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from vmkiln.portal.icons import kind_of_state
from vmkiln.portal.waterfall import moment
from vmkiln.run_state import Phase, RunState

MOST_COLUMNS = 30
LEAST = 2  # runs; of fewer there is nothing to compare
HEIGHT = 120  # px
GAP = 0.2  # of a column's place
FEW = 12  # places that there are at least: of two runs each is no wall
SHOWN = (
    Phase.QUEUED,
    Phase.BUILDING,
    Phase.CUSTOMIZING,
    Phase.OPTIMIZING,
    Phase.VALIDATING,
    Phase.DISTRIBUTING,
    Phase.CLEANING_UP,
)


@dataclass(frozen=True)
class Column:
    """A run: where its column stands (percent of the chart), how high it is and how much of that it waited (px).

    `phases` has the seconds of each phase that it came to.
    """

    run_id: str
    state: str
    kind: str
    seconds: float
    phases: Mapping[str, float]
    left: float
    width: float
    height: float
    waited: float

    @property
    def top(self) -> float:
        """Where the column begins, from above."""
        return round(HEIGHT - self.height, 1)

    @property
    def waited_top(self) -> float:
        """Where the part of it begins that the run waited."""
        return round(HEIGHT - self.waited, 1)


@dataclass(frozen=True)
class Chart:
    """The columns, the oldest first; the phases that any of the runs came to; and the usual time of a success."""

    columns: tuple[Column, ...]
    phases: tuple[str, ...]
    most_seconds: float
    usual_seconds: float | None
    height: int = HEIGHT


def chart_of(runs: Sequence[Mapping[str, Any]]) -> Chart | None:
    """The chart of the last runs that ended; `runs` are the newest first. None for fewer than two."""
    ended = [run for run in runs if run["properties"]["endTime"]][:MOST_COLUMNS]
    if len(ended) < LEAST:
        return None
    ended.reverse()
    taken = [_seconds(run["properties"]) for run in ended]
    most = max(taken) or 1.0
    place = 100 / max(FEW, len(ended))
    phases = [_phases(run["properties"]) for run in ended]
    columns = tuple(
        Column(
            run_id=str(run["id"]),
            state=str(run["properties"]["runState"]),
            kind=kind_of_state(run["properties"]["runState"])[0],
            seconds=seconds,
            phases=parts,
            left=round(place * (number + GAP / 2), 2),
            width=round(place * (1 - GAP), 2),
            height=round(max(2.0, HEIGHT * seconds / most), 1),
            waited=round(HEIGHT * min(seconds, parts.get(Phase.QUEUED, 0.0)) / most, 1),
        )
        for number, (run, seconds, parts) in enumerate(zip(ended, taken, phases, strict=True))
    )
    good = [column.seconds for column in columns if column.state == RunState.SUCCEEDED]
    return Chart(
        columns,
        tuple(str(name) for name in SHOWN if any(name in parts for parts in phases)),
        most,
        median(good) if good else None,
    )


def _phases(run: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by phase; what it waited is what lies before its first one where that was not recorded."""
    found: dict[str, float] = {}
    for phase in run["phases"]:
        if phase["startTime"] and phase["endTime"]:
            found[str(phase["name"])] = found.get(str(phase["name"]), 0.0) + _seconds(phase)
    begun = [phase["startTime"] for phase in run["phases"] if phase["startTime"]]
    if begun and Phase.QUEUED not in found and (waited := _seconds({**run, "endTime": min(begun)})) >= 1:
        found[Phase.QUEUED] = waited
    return found


def _seconds(what: Mapping[str, Any]) -> float:
    start, end = moment(what["startTime"]), moment(what["endTime"])
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0
