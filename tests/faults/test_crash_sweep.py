"""Killed at whatever system call: nothing is torn, and what was acknowledged is there."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
import tiers
from kept_state import CASES, COMMITS
from sweep import KILL, Tried, in_memory, points_in, processes, tasks, try_points
from syscall_faults import Point

LEAST_KILLED = tiers.least(500)


@pytest.fixture(scope="module")
def tried() -> Iterator[list[Tried]]:
    """Every case, killed at each of its calls, or at every nth."""
    names = [*CASES, *COMMITS]
    with in_memory() as folder, processes() as pool:
        found = dict(zip(names, pool.starmap(points_in, [(folder / name, name) for name in names]), strict=True))

        def points(name: str) -> Sequence[Point]:
            before, after = found[name]
            alike = name in COMMITS and name != "queue_run"  # they close it alike
            return tiers.thinned(before if alike else [*before, *after])

        work = tasks(folder, names, points, [KILL])
        yield [item for part in pool.imap(try_points, work) for item in part]


@pytest.mark.parametrize("name", [*CASES, *COMMITS])
def test_killed_at_any_system_call_nothing_is_torn(name: str, tried: list[Tried]) -> None:
    mine = [item for item in tried if item.case == name]
    assert len(mine) > 5
    assert [f"{item.point}: {item.problem}" for item in mine if item.problem] == []
    assert {item.outcome.error for item in mine} == {""}
    missed = [str(item.point) for item in mine if not item.outcome.is_killed]
    assert len(missed) * 20 <= len(mine), f"the calls of a process vary a little, but not so much: {missed}"


def test_there_were_many_such_points(tried: list[Tried]) -> None:
    killed = Counter(item.case for item in tried if item.outcome.is_killed)
    assert killed.total() >= LEAST_KILLED, killed
