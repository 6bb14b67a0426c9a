"""When runs that go on are usually over: after what the last successes of their templates took; pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from vmkiln.portal.waterfall import moment
from vmkiln.run_state import Phase, RunState

COMPARED_RUNS = 5
MOST_TEMPLATES = 8  # whose runs are looked at for one page


def expected_end(run_id: str, runs: Sequence[Mapping[str, Any]]) -> datetime | None:
    """When a run is usually over; `runs` are those of its template, the newest first. None where nothing tells it."""
    this = next((run["properties"] for run in runs if run["name"] == run_id), None)
    begun = _begun(this) if this is not None else None
    good = (run["properties"] for run in runs if run["properties"]["runState"] == RunState.SUCCEEDED)
    taken = [seconds for properties in good if (seconds := _seconds(properties)) is not None][:COMPARED_RUNS]
    return begun + timedelta(seconds=median(taken)) if begun is not None and taken else None


def _begun(run: Mapping[str, Any]) -> datetime | None:
    """When a run began to work: what it waited before is not its own."""
    starts = (moment(phase["startTime"]) for phase in run["phases"] if phase["name"] != Phase.QUEUED)
    return min((start for start in starts if start is not None), default=None)


def _seconds(run: Mapping[str, Any]) -> float | None:
    begun, ended = _begun(run), moment(run["endTime"])
    return None if begun is None or ended is None else max(0.0, (ended - begun).total_seconds())
