"""What each VM of a run takes of the processors and of memory while it runs: a course of few points, kept in a file.

*Leaves behind:* one JSON file, replaced as a whole each time. *Undone by:* the deletion of its folder.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from vmkiln.errors import VmkilnError
from vmkiln.host.usage.process_tree import Usage

EVERY_SECONDS = 5.0
MOST_POINTS = 120  # of a VM; of a longer course each second one goes, and later ones are twice as far apart
FILE_NAME = "machine-usage.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """At a time (seconds since 1970): the CPU seconds until then, and the most KiB since the point before."""

    time: float
    cpu_seconds: float
    most_kib: int


@dataclass(frozen=True)
class Stretch:
    """What was taken between two points, the later one being at `time`: processors on average, and at most KiB."""

    time: float
    cpus: float
    most_kib: int


@dataclass
class Course:
    """The points of one VM, at most `MOST_POINTS`, the last of which is what was seen last."""

    points: list[Point] = field(default_factory=list)
    _apart: float = 0.0  # seconds between two points that stay
    _is_open: bool = False  # the last one is still moving on

    def add(self, moment: float, usage: Usage) -> None:
        """Take in what was seen at a time, in seconds since 1970."""
        new = Point(moment, usage.cpu_seconds, usage.resident_kib)
        if self._is_open:
            new = _both(self.points.pop(), new)
        self.points.append(new)
        self._is_open = len(self.points) > 1 and new.time - self.points[-2].time < self._apart
        if len(self.points) > MOST_POINTS:
            self._thin_out()

    def _thin_out(self) -> None:
        first, rest = self.points[0], self.points[1:]
        pairs = [rest[at : at + 2] for at in range(0, len(rest), 2)]
        self.points = [first, *(_both(pair[0], pair[-1]) for pair in pairs)]
        self._apart = max(2 * self._apart, 2 * EVERY_SECONDS)


def _both(one: Point, other: Point) -> Point:
    return Point(other.time, other.cpu_seconds, max(one.most_kib, other.most_kib))


def stretches(points: Collection[Point]) -> list[Stretch]:
    """What was taken between the points of a course, which are in order; pure."""
    found, before = [], None
    for point in points:
        if before is not None and point.time > before.time:
            cpus = max(0.0, point.cpu_seconds - before.cpu_seconds) / (point.time - before.time)
            found.append(Stretch(point.time, cpus, point.most_kib))
        before = point
    return found


class Machines(Protocol):
    """Where VMs run: a namespace, or a test's stand-in."""

    async def usage(self) -> Mapping[str, Usage]:
        """What each program there takes now, by its name. Raises: `VmkilnError` when all of it is gone."""


@contextlib.asynccontextmanager
async def recorded(machines: Machines, file: Path, *, names: Collection[str], run_id: str) -> AsyncIterator[None]:
    """Keep the courses of the VMs of these names in a file while the block lasts, every five seconds.

    Nothing ends for it: what cannot be read or written is left out. Times go on from the beginning of the block, also
    when the host's clock is set meanwhile: a course goes forward, and each stretch is as long as it was.
    """
    courses: dict[str, Course] = {}
    ahead = datetime.now(UTC).timestamp() - time.monotonic()

    async def look() -> None:
        usage = await machines.usage()
        moment = ahead + time.monotonic()
        for name in usage.keys() & set(names):
            courses.setdefault(name, Course()).add(moment, usage[name])
        await asyncio.to_thread(_replace, file, run_id, courses)

    async def go_on() -> None:
        while True:
            with contextlib.suppress(VmkilnError, OSError):
                await look()
            await asyncio.sleep(EVERY_SECONDS)

    looking = asyncio.create_task(go_on())
    try:
        yield
    finally:
        looking.cancel()
        for problem in await asyncio.gather(looking, return_exceptions=True):
            if isinstance(problem, Exception):
                log.warning("what the VMs take was not looked at to the end: %r", problem)


def read_courses(file: Path, run_id: str) -> dict[str, list[Point]]:
    """The points of a run's VMs, by their names; nothing where no file is, or one of another run."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):  # the latter: the power failed while it was written
        return {}
    if found.get("run_id") != run_id:
        return {}
    return {name: [Point(*point) for point in points] for name, points in found["machines"].items()}


def _replace(file: Path, run_id: str, courses: Mapping[str, Course]) -> None:
    machines: dict[str, Any] = {
        name: [[round(point.time, 1), round(point.cpu_seconds, 2), point.most_kib] for point in course.points]
        for name, course in courses.items()
    }
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(json.dumps({"run_id": run_id, "machines": machines}))
    temporary.replace(file)
