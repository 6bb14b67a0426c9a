"""A run's timeline as plain data, compared with the runs of the same template before it.

What is usual is the median of the last five runs that succeeded, of the parts of the same kind and name.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vmkiln.azure_names import utc_text
from vmkiln.run_state import PartKind
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow
from vmkiln.store.timeline.part_table import PartRow

COMPARED_RUNS = 5


def time_text(moment: datetime | None) -> str | None:
    """A time as a summary has it, in milliseconds; none for what has not happened."""
    return None if moment is None else utc_text(moment)


def part_data(part: PartRow, usual_seconds: float | None = None) -> dict[str, Any]:
    """One part; times as in the run's summary, memory in KiB. Pure."""
    return {
        "kind": str(part.kind),
        "name": part.name,
        "attempt": part.attempt,
        "started": time_text(part.started),
        "ended": time_text(part.ended),
        "seconds": _rounded(part.seconds),
        "cpu_seconds": _rounded(part.cpu_seconds),
        "peak_kib": part.peak_kib,
        "start": str(part.start),
        "usual_seconds": _rounded(usual_seconds),
    }


def compared(store: Store, run: RunRow) -> dict[str, Any]:
    """The parts of a run's timeline, each with what is usual, and the runs that say so."""
    others = store.timelines.runs_before(run, most=COMPARED_RUNS)
    found = store.timelines.of_runs([run.run_id, *others])
    usual = usual_seconds([found[run_id] for run_id in others])
    return {
        "run_id": run.run_id,
        "state": str(run.state),
        "compared_with": [run_id for run_id in others if found[run_id]],
        "parts": [part_data(part, usual.get((part.kind, part.name))) for part in found[run.run_id]],
    }


def usual_of_command_line(store: Store, resource_group: str, template: str) -> Mapping[tuple[PartKind, str], float]:
    """How long each part usually takes of a template that a command builds, by its last runs, in seconds."""
    before = store.now()
    earlier = store.timelines.runs_of_command_line(resource_group, template, before=before, most=COMPARED_RUNS)
    return usual_seconds(list(store.timelines.of_runs(earlier).values()))


def usual_seconds(runs: Sequence[Sequence[PartRow]]) -> Mapping[tuple[PartKind, str], float]:
    """How long each part usually takes, by its kind and name: the median of these runs. Pure."""
    seconds: dict[tuple[PartKind, str], list[float]] = defaultdict(list)
    for parts in runs:
        last = {(part.kind, part.name): part.seconds for part in parts if part.seconds is not None}
        for key, value in last.items():  # of a run's attempts the one that came to its end
            if value is not None:
                seconds[key].append(value)
    return {key: statistics.median(values) for key, values in seconds.items()}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
