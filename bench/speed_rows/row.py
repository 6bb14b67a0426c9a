"""What `speed.py` measures: rows, each of one or two measures, works, which take measures, and the works' turns."""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_FAILURES = 2  # of a work; then it is not tried again

Found = Mapping[str, float | list[float]]


@dataclass(frozen=True)
class Work:
    """Something that is done once a round, in a folder of its own, and gives the seconds of its measures.

    It gets the measures that somebody wants; of the others it may give none.
    """

    measures: frozenset[str]
    once: Callable[[Path, frozenset[str]], Awaitable[Found]]


@dataclass(frozen=True)
class Row:
    """One line of the table: the ratio of the medians of two measures, or the median seconds of one; and its target.

    `gates` is what looked at the image in those builds. `more` are measures that are shown beside.
    """

    name: str
    text: str
    target: float
    gates: str
    over: str
    under: str = ""
    more: tuple[str, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """All that has to be measured for it."""
        return tuple(name for name in (self.over, self.under, *self.more) if name)


@dataclass
class Measured:
    """The seconds of each measure, in the order of the rounds, and why a work failed, by its measures."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)


async def in_turns(
    works: Sequence[Work],
    wanted: frozenset[str],
    *,
    rounds: int,
    most_seconds: float,
    tell: Callable[[str], None],
) -> Measured:
    """Do each work once a round, one after the other. Whatever fails is told, and the others go on.

    From the second round on a work is left out that would not end within `most_seconds`, by how long it took last.
    """
    measured, began, took = Measured(), time.monotonic(), dict[int, float]()
    for number in range(1, rounds + 1):
        for index, work in enumerate(works):
            names = sorted(work.measures & wanted)
            about = f"round {number} of {rounds}, {time.monotonic() - began:.0f} s: {', '.join(names)}"
            if len(measured.failures.get(names[0], ())) >= MOST_FAILURES:
                continue
            if number > 1 and time.monotonic() - began + took.get(index, 0) > most_seconds:
                tell(f"{about}: left out, for the time is over")
                continue
            begin, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="vmkiln-speed-", dir="/var/tmp"))
            try:
                found = await work.once(folder, work.measures & wanted)
            except (Exception, SystemExit) as error:
                reason = f"round {number}: {str(error).strip() or repr(error)}"
                for name in names:
                    measured.failures.setdefault(name, []).append(reason)
                tell(f"{about}: failed: {reason}")
                continue
            finally:
                took[index] = time.monotonic() - begin
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            for name, seconds in found.items():
                each = seconds if isinstance(seconds, list) else [seconds]
                measured.seconds.setdefault(name, []).extend(round(one, 2) for one in each)
            tell(f"{about}: {dict(found)}")
    return measured


def as_data(row: Row, measured: Measured) -> dict[str, Any]:
    """A row with what was found, as plain data; pure."""
    seconds = {name: measured.seconds.get(name, []) for name in row.measures}
    failed = {name: measured.failures[name] for name in row.measures if name in measured.failures}
    found: dict[str, Any] = {"row": row.name, "text": row.text, "gates": row.gates, "target": row.target}
    if seconds[row.over] and (not row.under or seconds[row.under]):
        value = statistics.median(seconds[row.over])
        if row.under:
            value /= statistics.median(seconds[row.under])
        value = round(value, 3)
        found |= {"ratio" if row.under else "median_seconds": value, "kept": value <= row.target}
    return found | {"seconds": seconds, "failed": failed}


def as_text(found: Mapping[str, Any]) -> str:
    """The same for a person; pure."""
    value = found.get("ratio", found.get("median_seconds"))
    unit = "" if "ratio" in found else " s"
    result = "not measured" if value is None else f"{value:g}{unit}, {'kept' if found['kept'] else 'MISSED'}"
    lines = [f"{found['row']}: {found['text']}: {result} (target {found['target']:g}{unit})"]
    lines.append(f"    gates: {found['gates']}")
    for name, seconds in found["seconds"].items():
        lines.append(f"    {name:<44} {' '.join(f'{one:8.2f}' for one in seconds)} s")
    lines += [f"    FAILED, {name}, {reason}" for name, reasons in found["failed"].items() for reason in reasons]
    return "\n".join(lines)


def works_for(works: Iterable[Work], wanted: frozenset[str]) -> list[Work]:
    """The works that take a measure which is wanted; pure."""
    return [work for work in works if work.measures & wanted]
