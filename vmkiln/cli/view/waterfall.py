"""Where a run's time went, as bars below each other."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

BAR_LETTERS = 40


def waterfall(phases: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a phase: its name, its bar, its seconds; phases are those of a run's summary."""
    done = [phase for phase in phases if phase["ended"]]
    if not done:
        return []
    start = _moment(done[0]["started"])
    total = max((_moment(phase["ended"]) - start).total_seconds() for phase in done) or 1.0
    lines = []
    for phase in done:
        begin = (_moment(phase["started"]) - start).total_seconds()
        before = min(BAR_LETTERS - 1, round(begin / total * BAR_LETTERS))
        length = min(BAR_LETTERS - before, max(1, round(phase["seconds"] / total * BAR_LETTERS)))
        bar = (" " * before + "█" * length).ljust(BAR_LETTERS)
        lines.append(f"{phase['name']:<13} {bar} {phase['seconds']:7.1f} s")
    lines.append(f"{'total':<13} {'':{BAR_LETTERS}} {total:7.1f} s")
    return lines


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
