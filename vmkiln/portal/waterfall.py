"""Where a run's time went: one bar for each phase, against the run before it; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A phase: where its bar begins and how wide it is (percent of the run), how long it took, and took last time."""

    name: str
    left: float
    width: float
    seconds: float
    before_seconds: float | None
    is_live: bool


def moment(text: str | None) -> datetime | None:
    """A time as ARM writes it (ISO 8601 with a Z)."""
    return datetime.fromisoformat(text) if text else None


def _seconds(phase: Mapping[str, Any], now: datetime) -> float:
    start, end = moment(phase["startTime"]), moment(phase["endTime"]) or now
    return max(0.0, (end - start).total_seconds()) if start else 0.0


def waterfall(phases: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]], now: datetime) -> list[Bar]:
    """The bars of a run's phases; `before` are those of the last run that succeeded, `now` ends what goes on."""
    starts = [start for phase in phases if (start := moment(phase["startTime"]))]
    if not starts:
        return []
    begin = min(starts)
    whole = max((moment(phase["endTime"]) or now) - begin for phase in phases).total_seconds() or 1.0
    last_time = {str(phase["name"]): _seconds(phase, now) for phase in before if phase["endTime"]}
    bars = []
    for phase in phases:
        start = moment(phase["startTime"]) or begin
        seconds = _seconds(phase, now)
        bars.append(
            Bar(
                name=str(phase["name"]),
                left=round(100 * (start - begin).total_seconds() / whole, 2),
                width=round(max(0.4, 100 * seconds / whole), 2),
                seconds=seconds,
                before_seconds=last_time.get(str(phase["name"])),
                is_live=phase["endTime"] is None,
            )
        )
    return bars
