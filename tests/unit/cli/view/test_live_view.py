"""What a run looks like while it goes on."""

import io
import json
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from vmkiln.cli.view.live_view import JsonView, LiveView
from vmkiln.cli.view.plain_view import PlainView
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import LogLine, Notice, PartStarted, PhaseStarted, RunEnded, RunEvent, StepFailed, StepStarted
from vmkiln.run_state import PartKind, Phase, RunState

EVIL = "    null: \x1b]0;owned\x07\x1b[2Jshown \udcff"
EVENTS: list[RunEvent] = [
    Notice("making the image \ud800"),
    PhaseStarted(Phase.CUSTOMIZING, datetime(2026, 1, 1, tzinfo=UTC)),
    StepStarted(Phase.CUSTOMIZING, 0, 2, "install\x1b[2J"),
    LogLine(Phase.CUSTOMIZING, EVIL, Speaker.GUEST),
    StepStarted(Phase.CUSTOMIZING, 2, 2, "deprovision"),
    Notice("the disk\nis \x1b[5m small", is_warning=True),
    RunEnded(RunState.FAILED, "no", {"run_id": "r", "state": "Failed"}),
]


def test_plain_lines_tell_phase_step_and_end_without_control_sequences() -> None:
    lines: list[str] = []
    with PlainView(lines.append) as view:
        for event in EVENTS:
            view.tell(event)
    for ended in ("==== Customizing", "---- deprovision"):
        assert any(line.endswith(ended) for line in lines)
    assert any("---- step 1 of 2: install" in line for line in lines)
    assert lines[-1].endswith("==== Failed")
    assert any(line.endswith("warning: the disk") for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "shown \\xff" in "".join(lines)


def test_every_json_line_is_one_object_and_the_last_is_the_summary() -> None:
    lines: list[str] = []
    with JsonView(lines.append) as view:
        for event in EVENTS:
            view.tell(event)
    objects = [json.loads(line) for line in lines]
    assert [each["event"] for each in objects[:-1]] == [type(event).__name__ for event in EVENTS[:-1]]
    assert objects[-1] == {"run_id": "r", "state": "Failed"}
    assert objects[3]["text"] == "    null: \x1b]0;owned\x07\x1b[2Jshown �"
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize("width", [20, 100])
def test_a_terminal_gets_no_sequence_of_the_guests(width: int) -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=width, color_system=None)
    with LiveView(console, tells_all=True) as view:
        for event in EVENTS:
            view.tell(event)
    shown = written.getvalue()
    assert "shown \\xff" in shown
    # the view moves its own last line; what came from the guest or a template is only shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[5m" not in shown


def shown_of(events: list[RunEvent], **options: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None)
    with LiveView(console, clock=lambda: 0.0, **options) as view:
        for event in events:
            view.tell(event)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", written.getvalue().replace("\x1b[2K", "\n"))


STEPS: list[RunEvent] = [
    StepStarted(Phase.CUSTOMIZING, 0, 2, "first"),
    LogLine(Phase.CUSTOMIZING, "==> null: Provisioning", Speaker.PACKER),
    *(LogLine(Phase.CUSTOMIZING, f"    null: one {number}", Speaker.GUEST) for number in range(3)),
    StepStarted(Phase.CUSTOMIZING, 1, 2, "second"),
    *(LogLine(Phase.CUSTOMIZING, f"    null: two {number}", Speaker.GUEST) for number in range(3)),
]


def test_a_finished_step_is_one_line_and_a_failed_one_is_shown_whole() -> None:
    shown = shown_of([*STEPS, RunEnded(RunState.FAILED, "no", {})])
    assert "\u2713 step 1 of 2: first  0.0 s" in shown
    assert "\u2717 step 2 of 2: second  0.0 s" in shown
    lines = shown.splitlines()
    assert [f"two {number}" in lines for number in range(3)] == [True] * 3
    assert "one 0" not in lines
    assert "Provisioning" not in shown


CLEANED = PhaseStarted(Phase.CLEANING_UP, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("state", "sign"), [(RunState.FAILED, "\u2717"), (RunState.CANCELED, "\u2013")])
def test_the_clean_up_makes_no_success_of_the_step_before_it(state: RunState, sign: str) -> None:
    """Every run cleans up before it is told how it ended."""
    shown = shown_of([*STEPS, CLEANED, RunEnded(state, "no", {})])
    assert f"{sign} step 2 of 2: second" in shown
    assert "\u2713 step 1 of 2: first" in shown
    assert ("two 2" in shown.splitlines()) is (state is RunState.FAILED)


@pytest.mark.parametrize("kind", [PartKind.POWER_OFF, PartKind.CHECKPOINT, PartKind.GATE])
def test_a_step_is_over_when_what_follows_it_begins(kind: PartKind) -> None:
    events = [*STEPS, PartStarted(PartKind.FLATTEN, is_beside=True), PartStarted(kind)]
    shown = shown_of([*events, CLEANED, RunEnded(RunState.FAILED, "the gate refused it", {})])
    assert "\u2713 step 2 of 2: second" in shown
    assert "\u2717" not in shown


def test_a_failed_validation_is_no_success_though_it_is_distributed() -> None:
    """Its run goes on, and fails for it at its end."""
    going_on = [StepFailed(Phase.VALIDATING), Notice("distributing all the same", is_warning=True)]
    published = PhaseStarted(Phase.DISTRIBUTING, datetime(2026, 1, 1, tzinfo=UTC))
    shown = shown_of([*STEPS, *going_on, published, CLEANED, RunEnded(RunState.FAILED, "it failed", {})])
    assert "\u2717 step 2 of 2: second" in shown
    assert shown.count("step 2 of 2: second  ") == 1
    assert shown.splitlines().count("two 2") == 1
    assert shown.index("second  0.0 s") < shown.index("distributing all the same")


def test_everything_scrolls_by_when_it_is_asked_for() -> None:
    shown = shown_of([*STEPS, RunEnded(RunState.SUCCEEDED, "", {})], tells_all=True)
    assert "null: one 0" in shown
    assert "Provisioning" in shown


def test_of_a_talkative_step_that_failed_the_end_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkiln.cli.view.live_view.MOST_SHOWN_LINES", 2)
    shown = shown_of([*STEPS, RunEnded(RunState.FAILED, "no", {})]).splitlines()
    assert "... 1 lines before" in shown
    assert "two 0" not in shown
    assert "two 2" in shown
