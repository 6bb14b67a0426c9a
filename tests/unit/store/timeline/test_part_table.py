"""The parts of timelines in the database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vmkiln.run_state import PartKind, RunState, Start
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import RunRow
from vmkiln.store.timeline.part_table import PartRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE = "/subscriptions/s/templates/web"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as found:
        yield found


def run(
    run_id: str, minute: int, state: str = RunState.SUCCEEDED, template_id: str = TEMPLATE, name: str = "web"
) -> RunRow:
    started = NOW + timedelta(minutes=minute)
    return RunRow(run_id, name, "rg", {}, RunState(state), "", "", "", "", {}, started, None, template_id)


def part(run_id: str, number: int, *, attempt: int = 1, seconds: float | None = 2.0) -> PartRow:
    started = NOW + timedelta(seconds=number)
    ended = None if seconds is None else started + timedelta(seconds=seconds)
    return PartRow(
        run_id, attempt, number, PartKind.CUSTOMIZER, f"step {number}", started, ended, 1.5, 4096, Start.WARM
    )


def test_parts_come_back_as_they_were_and_are_written_over(store: Store) -> None:
    store.runs.add_many([run("a", 0), run("b", 1)])
    store.timelines.put([part("a", 0, seconds=None)])
    store.timelines.put([part("a", 0), part("a", 1)])
    store.timelines.put([part("a", 0, attempt=2)])
    store.timelines.put([])
    found = store.timelines.of_runs(["a", "b"])
    assert found == {"a": [part("a", 0), part("a", 1), part("a", 0, attempt=2)], "b": []}
    assert found["a"][0].seconds == 2.0
    assert part("a", 0, seconds=None).seconds is None


def test_a_run_is_compared_with_those_that_went_well(store: Store) -> None:
    store.runs.add_many([
        run("1", 1), run("2", 2), run("3", 3, RunState.FAILED), run("4", 4, template_id="/other"), run("5", 5),
        run("6", 6), run("7", 7),
    ])  # fmt: skip
    assert store.timelines.runs_before(run("6", 6), most=5) == ["5", "2", "1"]
    assert store.timelines.runs_before(run("6", 6), most=2) == ["5", "2"]


def test_a_template_of_the_command_line_is_known_by_its_name(store: Store) -> None:
    own = run("1", 1, template_id="")
    store.runs.add_many([
        own, replace(own, run_id="2", template_name="db"), replace(own, run_id="3", resource_group="x"), run("4", 1),
    ])  # fmt: skip
    assert store.timelines.runs_before(run("9", 9, template_id=""), most=5) == ["1"]
