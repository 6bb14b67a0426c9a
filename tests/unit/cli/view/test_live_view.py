"""What a run looks like while it goes on."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from vmkiln.cli.view.live_view import JsonView, LiveView, PlainView
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import LogLine, Notice, PhaseStarted, RunEnded, RunEvent, StepStarted
from vmkiln.run_state import Phase, RunState

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
    assert "==== Customizing" in lines
    assert any(line.startswith("---- step 1 of 2: install") for line in lines)
    assert "---- deprovision" in lines
    assert lines[-1] == "==== Failed"
    assert any("warning: the disk\nis" in line for line in lines)
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
    with LiveView(console) as view:
        for event in EVENTS:
            view.tell(event)
    shown = written.getvalue()
    assert "shown \\xff" in shown
    # the view moves its own last line; what came from the guest or a template is only shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[5m" not in shown
