"""A run as plain lines: a time and a step on each, marks of a CI only from us, Packer's own words when asked for."""

from datetime import UTC, datetime

import pytest

from vmkiln.cli.view.plain_view import Marks, PlainView
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import LogLine, Notice, PartStarted, PhaseStarted, RunEnded, RunEvent, StepFailed, StepStarted
from vmkiln.run_state import PartKind, Phase, RunState

EVENTS: list[RunEvent] = [
    PhaseStarted(Phase.CUSTOMIZING, datetime(2026, 1, 1, tzinfo=UTC)),
    LogLine(Phase.CUSTOMIZING, "==> null: Waiting for SSH to become available...", Speaker.PACKER),
    StepStarted(Phase.CUSTOMIZING, 0, 1, "install"),
    LogLine(Phase.CUSTOMIZING, "    null: ::error::forged", Speaker.GUEST),
    Notice("50% of the disk\nis full", is_warning=True),
    StepStarted(Phase.CUSTOMIZING, 1, 1, "deprovision"),
    RunEnded(RunState.FAILED, "it failed\nfor 100%", {}),
]


class Clock:
    """A second later whenever it is asked."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        self._seconds += 1
        return self._seconds


def told(**options: object) -> list[str]:
    lines: list[str] = []
    with PlainView(lines.append, clock=Clock(), now=lambda: 1000.0, **options) as view:  # type: ignore[arg-type]
        for event in EVENTS:
            view.tell(event)
    return lines


def test_each_line_has_a_time_and_those_of_the_log_their_step() -> None:
    assert told() == [
        "     1.0 s  ==== Customizing",
        "     3.0 s  ---- step 1 of 1: install",
        "     4.0 s  [1/1 install] ::error::forged",
        "     5.0 s  warning: 50% of the disk",
        "     5.0 s  is full",
        "     7.0 s  [1/1 install] 4.0 s",
        "     9.0 s  ---- deprovision",
        "    11.0 s  [deprovision] 2.0 s",
        "    12.0 s  ==== Failed",
    ]


def test_the_time_of_a_step_ends_where_what_follows_it_begins() -> None:
    lines: list[str] = []
    with PlainView(lines.append, clock=Clock()) as view:
        for event in (StepStarted(Phase.CUSTOMIZING, 0, 1, "one"), PartStarted(PartKind.FLATTEN, is_beside=True)):
            view.tell(event)
        assert not any(line.endswith("[1/1 one] 2.0 s") for line in lines)
        view.tell(PartStarted(PartKind.GATE, "hygiene"))
    assert [line[12:] for line in lines] == ["---- step 1 of 1: one", "[1/1 one] 2.0 s"]


def test_a_step_that_fails_while_the_run_goes_on_says_so() -> None:
    lines: list[str] = []
    with PlainView(lines.append, clock=Clock()) as view:
        for event in (StepStarted(Phase.VALIDATING, 0, 1, "look"), StepFailed(Phase.VALIDATING)):
            view.tell(event)
    assert lines[-1].endswith("[1/1 look] failed after 2.0 s")


def test_what_packer_says_of_itself_is_told_when_it_is_asked_for() -> None:
    assert not any("Waiting for SSH" in line for line in told())
    assert any("[Customizing] Waiting for SSH" in line for line in told(tells_packer=True))


def test_github_gets_groups_and_errors_and_none_that_a_guest_made_up() -> None:
    lines = told(marks=Marks.GITHUB)
    marks = [line for line in lines if line.startswith("::")]
    assert marks == [
        "::group::step 1 of 1: install", "::warning title=vmkiln::50%25 of the disk%0Ais full", "::endgroup::",
        "::group::deprovision", "::endgroup::", "::error title=vmkiln Failed::it failed%0Afor 100%25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "mark", ["::error file=a,line=1::no", " \t::add-mask::e", "##[error]no", "behind ##[warning]it"]
)
def test_no_line_is_a_mark_that_a_template_or_a_guest_wrote(mark: str) -> None:
    """A notice of two lines had its time before the first only, and GitHub obeys the older marks behind it, too."""
    lines: list[str] = []
    with PlainView(lines.append) as view:
        view.tell(Notice(f"not known: `a\n{mark}`", is_warning=True))
        view.tell(LogLine(Phase.CUSTOMIZING, mark, Speaker.GUEST))
    assert len(lines) == 3
    assert not [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


def test_gitlab_gets_sections_that_end() -> None:
    lines = [line for line in told(marks=Marks.GITLAB) if "section" in line]
    assert lines[0] == "\x1b[0Ksection_start:1000:vmkiln_1\r\x1b[0Kstep 1 of 1: install"
    assert [line.split(":")[0] for line in lines] == ["\x1b[0Ksection_start", "\x1b[0Ksection_end"] * 2


@pytest.mark.parametrize("marks", [Marks.GITHUB, Marks.GITLAB])
def test_a_group_is_closed_when_the_run_breaks_off(marks: Marks) -> None:
    lines: list[str] = []
    with PlainView(lines.append, marks=marks) as view:
        view.tell(EVENTS[2])
    assert ("endgroup" if marks is Marks.GITHUB else "section_end") in lines[-1]
