"""What a machine took while it ran, as two lines over time with words that say the same; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.portal.waterfall import moment

WIDTH, HEIGHT = 100, 40  # of a picture, in units of its own: the page stretches it
TOP = 2  # above the highest point
MIB = 1024**2
LEAST = 2  # points of a line


@dataclass(frozen=True)
class Chart:
    """A line: its points as SVG has them, what it shows, what it is now and was at most, and what there is (`whole`).

    Values are processors, or bytes. `seconds` is how long it is.
    """

    name: str
    points: str
    now: float
    most: float
    whole: float
    seconds: float
    width: int = WIDTH
    height: int = HEIGHT


def charts_of(usage: Mapping[str, Any]) -> tuple[Chart, ...]:
    """The lines of a machine's CPU and memory; none before there are two points."""
    items = usage["value"]
    if len(items) < LEAST:
        return ()
    times = [_seconds(item["time"]) for item in items]
    return (
        _chart("CPU", times, [float(item["cpus"]) for item in items], float(usage["cpus"])),
        _chart("Memory", times, [float(item["memoryBytes"]) for item in items], float(usage["memoryMiB"]) * MIB),
    )


def _chart(name: str, times: Sequence[float], values: Sequence[float], whole: float) -> Chart:
    long, highest = (times[-1] - times[0]) or 1.0, max(whole, *values) or 1.0
    points = (
        f"{WIDTH * (time - times[0]) / long:.1f},{HEIGHT - (HEIGHT - TOP) * value / highest:.1f}"
        for time, value in zip(times, values, strict=True)
    )
    return Chart(name, " ".join(points), values[-1], max(values), whole, times[-1] - times[0])


def _seconds(text: str) -> float:
    found = moment(text)
    return 0.0 if found is None else found.timestamp()
