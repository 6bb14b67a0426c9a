"""Where a run's time went, as bars below each other: the parts of its timeline, or its phases where it has none."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vmkiln.harmless_text import harmless
from vmkiln.run_state import PartKind, Start

BAR_LETTERS = 40
LEAST_LABEL, MOST_LABEL = 13, 32
WORDS = {
    PartKind.CUSTOMIZER: "",
    PartKind.POWER_OFF: "power-off",
    PartKind.CLEAN_UP: "clean-up",
}  # a kind that is not here is told by its own name
Row = Mapping[str, Any]


def waterfall(summary: Row) -> list[str]:
    """One line a part or phase that has ended: its name, its bar, its seconds; of a run's summary."""
    parts: Sequence[Row] = summary.get("timeline", ())
    return _lines([(label(part), part) for part in parts] or [(row["name"], row) for row in summary["phases"]])


def timeline_lines(parts: Sequence[Row]) -> list[str]:
    """The same, each part with what it took, what is usual, and what it began from where that is not nothing."""
    lines = _lines([(label(part), part) for part in parts])
    done = [part for part in parts if part["ended"]]
    return [line + (_costs(part) if part else "") for line, part in zip(lines, [*done, None], strict=bool(lines))]


def unended_lines(parts: Sequence[Row], *, goes_on: bool) -> list[str]:
    """One line a part without an end: what goes on, where the run does, and what a process died in; pure."""
    last = max((part["attempt"] for part in parts), default=0)
    lines = []
    for part in (part for part in parts if not part["ended"]):
        how = "goes on" if goes_on and part["attempt"] == last else "no end of it is on record: its process died"
        lines.append(f"{label(part)} (attempt {part['attempt']}, since {part['started']}): {how}")
    return lines


def label(part: Row) -> str:
    """What a part is called: its kind and its name; a customizer by its name alone."""
    return title(PartKind(part["kind"]), part["name"])


def title(kind: PartKind, name: str) -> str:
    """The same, of a kind and a name; pure."""
    text = f"{WORDS.get(kind, str(kind))} {harmless(name)}".strip()
    return text if len(text) <= MOST_LABEL else f"{text[: MOST_LABEL - 1]}…"


def _lines(rows: Sequence[tuple[str, Row]]) -> list[str]:
    done = [(name, row) for name, row in rows if row["ended"]]
    if not done:
        return []
    start = min(_moment(row["started"]) for _, row in done)
    total = max((_moment(row["ended"]) - start).total_seconds() for _, row in done)
    total = total if total > 0 else 1.0  # the clock may have been set back meanwhile
    wide = max(LEAST_LABEL, *(len(name) for name, _ in done))
    lines = []
    for name, row in done:
        begin = (_moment(row["started"]) - start).total_seconds()
        before = min(BAR_LETTERS - 1, round(begin / total * BAR_LETTERS))
        length = min(BAR_LETTERS - before, max(1, round(row["seconds"] / total * BAR_LETTERS)))
        bar = (" " * before + "█" * length).ljust(BAR_LETTERS)
        lines.append(f"{name:<{wide}} {bar} {row['seconds']:7.1f} s")
    lines.append(f"{'total':<{wide}} {'':{BAR_LETTERS}} {total:7.1f} s")
    return lines


def _costs(part: Row) -> str:
    cpu = f"{part['cpu_seconds']:7.1f} s" if part["cpu_seconds"] is not None else f"{'-':>9}"
    peak = f"{part['peak_kib'] / 1024:6.0f} MiB" if part["peak_kib"] is not None else f"{'-':>10}"
    usual = f"{part['usual_seconds']:7.1f} s" if part["usual_seconds"] is not None else f"{'-':>9}"
    start = "" if part["start"] == Start.COLD else f"  {part['start']}"
    return f"  cpu {cpu}  peak {peak}  usually {usual}{start}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
