"""The course of what a VM takes: few points, which lose nothing of the CPU time and nothing of the most memory."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from vmkiln.host.usage import machine_usage
from vmkiln.host.usage.machine_usage import MOST_POINTS, Course, Point, read_courses, recorded, stretches
from vmkiln.host.usage.process_tree import Usage
from vmkiln.run_failures import NamespaceLost


@pytest.mark.parametrize("seconds", [10, 600, 7200, 200_000])
def test_a_course_has_few_points_however_long_it_is(seconds: int) -> None:
    course = Course()
    for moment in range(0, seconds, 5):
        course.add(float(moment), Usage(moment / 2, 900 if moment == seconds // 10 * 5 else 100))
    assert len(course.points) <= MOST_POINTS
    last = (seconds - 1) // 5 * 5
    assert (course.points[0].time, course.points[-1].time) == (0.0, float(last))
    found = stretches(course.points)
    assert {round(one.cpus, 6) for one in found} == {0.5}, "thinning out loses no CPU time"
    assert max(one.most_kib for one in found) == 900, "nor the most memory"
    assert len(found) >= min(seconds // 5 - 1, MOST_POINTS // 4), "and stays a line"


def test_what_was_taken_between_two_points_is_an_average() -> None:
    points = [Point(10, 1, 5), Point(20, 6, 7), Point(20, 6, 8), Point(30, 4, 9)]
    assert [(one.time, one.cpus, one.most_kib) for one in stretches(points)] == [(20, 0.5, 7), (30, 0.0, 9)]
    assert stretches(points[:1]) == []


class Answering:
    """Machines of which two runs are seen, and then nothing more."""

    def __init__(self) -> None:
        self.looks = 0

    async def usage(self) -> Mapping[str, Usage]:
        self.looks += 1
        if self.looks > 3:
            raise NamespaceLost("gone")
        return {"build-vm": Usage(self.looks, 100 * self.looks), "proxy": Usage(9, 9)}


async def test_only_the_named_ones_are_kept_and_a_loss_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_usage, "EVERY_SECONDS", 0.01)
    file, machines = tmp_path / machine_usage.FILE_NAME, Answering()
    async with asyncio.timeout(10), recorded(machines, file, names=("build-vm",), run_id="one"):
        while machines.looks < 6:  # noqa: ASYNC110 (nobody tells us)
            await asyncio.sleep(0.01)
    found = read_courses(file, "one")
    assert found.keys() == {"build-vm"}
    assert [(point.cpu_seconds, point.most_kib) for point in found["build-vm"]] == [(1, 100), (2, 200), (3, 300)]
    assert read_courses(file, "other") == {}, "of another run"
    file.write_text(json.dumps({})[:1])
    assert read_courses(file, "one") == {}, "torn"
    assert read_courses(tmp_path / "none", "one") == {}


class SetBack:
    """A clock that is set back by an hour whenever it is looked at."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self, _zone: tzinfo) -> datetime:
        self._now -= timedelta(hours=1)
        return self._now


async def test_a_clock_that_is_set_back_bends_no_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_usage, "EVERY_SECONDS", 0.15)  # times are kept in tenths of a second
    monkeypatch.setattr(machine_usage, "datetime", SetBack())
    file, machines, began = tmp_path / machine_usage.FILE_NAME, Answering(), time.monotonic()
    async with asyncio.timeout(10), recorded(machines, file, names=("build-vm",), run_id="one"):
        while machines.looks < 4:  # noqa: ASYNC110 (nobody tells us)
            await asyncio.sleep(0.01)
    times = [point.time for point in read_courses(file, "one")["build-vm"]]
    assert times == sorted(times)
    assert len(stretches(read_courses(file, "one")["build-vm"])) == 2
    assert times[-1] - times[0] <= time.monotonic() - began + 0.2
