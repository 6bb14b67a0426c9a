"""What a run waits for, and how long that usually takes, as the views of a build tell it."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from vmkiln.cli.view.going_on import GoingOn
from vmkiln.cli.view.live_view import JsonView, LiveView
from vmkiln.cli.view.plain_view import PlainView
from vmkiln.host.usage.process_tree import Usage
from vmkiln.run.run_event import PartEnded, PartStarted, PhaseStarted, RunEvent, StepStarted, Used, UsualTimes
from vmkiln.run.timeline.comparison import usual_of_command_line
from vmkiln.run_state import PartKind, Phase, RunState
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow
from vmkiln.store.timeline.part_table import PartRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USUAL = UsualTimes(
    {
        (PartKind.BOOT, "build-vm"): 41.4,
        (PartKind.CUSTOMIZER, "install"): 75.0,
        (PartKind.GATE, "hygiene"): 12.0,
        (PartKind.POWER_OFF, ""): 0.2,
    }
)
EVENTS: list[RunEvent] = [
    USUAL,
    PhaseStarted(Phase.CUSTOMIZING, NOW),
    StepStarted(Phase.CUSTOMIZING, 0, 1, "install"),
    PartStarted(PartKind.POWER_OFF),
    PartStarted(PartKind.GATE, "hygiene"),
    PartStarted(PartKind.FLATTEN, is_beside=True),
    PartEnded(PartKind.FLATTEN),
]


def told(events: list[RunEvent]) -> tuple[str, float | None]:
    going_on = GoingOn()
    for event in events:
        going_on.note(event)
    return going_on.name, going_on.usual_seconds


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, ("", None)),
        (2, ("boot build-vm", 41.4)),
        (3, ("", 75.0)),  # a step has a name in the view already
        (4, ("power-off", None)),  # nobody waits for that
        (5, ("gate hygiene", 12.0)),
        (7, ("gate hygiene", 12.0)),  # what goes on beside it does not take its place
    ],
)
def test_what_goes_on_is_named_with_what_is_usual(count: int, expected: tuple[str, float | None]) -> None:
    assert told(EVENTS[:count]) == expected


def test_only_what_begins_begins() -> None:
    going_on = GoingOn()
    begun = [going_on.note(event) for event in (*EVENTS, Used(Usage(1.0, 1)))]
    assert begun == [False, True, True, True, True, False, False, False]


def test_a_terminal_shows_how_long_it_takes_and_usually_takes() -> None:
    seconds = iter([0.0, 0.0, *[100.0] * 50])
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    view = LiveView(console, clock=lambda: next(seconds))
    for event in EVENTS[:2]:
        view.tell(event)
    assert "Customizing 1:40 boot build-vm 0:00 (usually 0:41)" in str(view._line().text)
    view.tell(EVENTS[2])
    assert "step 1 of 1: install 0:00 (usually 1:15)" in str(view._line().text)


def test_a_pipe_is_told_what_is_waited_for_when_it_begins() -> None:
    lines: list[str] = []
    with PlainView(lines.append, clock=lambda: 0.0) as view:
        for event in EVENTS:
            view.tell(event)
    assert [line[12:] for line in lines if "usually" in line] == [
        "boot build-vm, which usually takes 41.4 s",
        "gate hygiene, which usually takes 12.0 s",
    ]


def test_json_is_not_told_of_it() -> None:
    lines: list[str] = []
    with JsonView(lines.append) as view:
        for event in EVENTS:
            view.tell(event)
    assert len(lines) == 2, "the phase and the step"


def test_what_is_usual_is_of_the_same_template_of_the_command_line(tmp_path: Path) -> None:
    def ran(run_id: str, group: str, seconds: int, *, state: RunState = RunState.SUCCEEDED) -> None:
        started = NOW + timedelta(hours=seconds)
        row = RunRow(run_id, "web", group, {}, state, "", "", "", "", {"attempt": 1}, started, started)
        assert store.runs.start(row)
        ended = started + timedelta(seconds=seconds)
        store.timelines.put([PartRow(run_id, 1, 0, PartKind.BOOT, "build-vm", started, ended)])

    with opened(tmp_path / "db") as store:
        for number, seconds in enumerate((10, 20, 60)):
            ran(f"run-{number}", "rg", seconds)
        ran("other", "another", 500)
        ran("failed", "rg", 700, state=RunState.FAILED)
        assert usual_of_command_line(store, "rg", "web") == {(PartKind.BOOT, "build-vm"): 20.0}
        assert usual_of_command_line(store, "rg", "none") == {}
