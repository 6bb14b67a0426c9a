"""A run while it goes on, as lines and as JSON; and what doctor found, as a table, as advice and as JSON."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion

from vmkiln.cli.commands.doctor import advice, as_json, table
from vmkiln.cli.view.live_view import JsonView, View
from vmkiln.cli.view.plain_view import PlainView
from vmkiln.host.accelerator import Verdict
from vmkiln.host.doctor.examination import Examination
from vmkiln.host.doctor.fitness import Finding, Status
from vmkiln.host.qemu import Accelerator
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import (
    LogLine,
    Notice,
    PartEnded,
    PartStarted,
    PhaseStarted,
    RunEnded,
    RunEvent,
    StepFailed,
    StepStarted,
    Used,
    UsualTimes,
)
from vmkiln.run_state import PartKind, Phase, RunState

EVENTS: tuple[RunEvent, ...] = (
    UsualTimes({(PartKind.BOOT, "build-vm"): 41.4, (PartKind.GATE, "hygiene"): 12.0}),
    PhaseStarted(Phase.BUILDING, datetime(2026, 11, 28, 12, tzinfo=UTC)),
    Notice("building under emulation (TCG): there is no /dev/kvm", is_warning=True),
    PhaseStarted(Phase.CUSTOMIZING, datetime(2026, 11, 28, 12, 1, tzinfo=UTC)),
    StepStarted(Phase.CUSTOMIZING, 0, 2, "install"),
    LogLine(Phase.CUSTOMIZING, "hello \x1b[2Jworld \udce4", Speaker.GUEST),
    StepStarted(Phase.CUSTOMIZING, 2, 2, "deprovision"),
    PartStarted(PartKind.GATE, "hygiene"),
    PartStarted(PartKind.FLATTEN, is_beside=True),
    PartEnded(PartKind.FLATTEN),
    StepStarted(Phase.VALIDATING, 0, 1, "look"),
    StepFailed(Phase.VALIDATING),
    Notice("two\nlines"),
    RunEnded(RunState.FAILED, "a customizer failed", {"state": "Failed"}),
)
EXAMINATION = Examination(
    (
        Finding("qemu", Status.OK, "/usr/bin/qemu-system-x86_64 7.2.22"),
        Finding("kvm", Status.WARNING, "/dev/kvm may not be opened", "join the group kvm"),
        Finding("packer", Status.FAILED, "not found", "run `script/bootstrap`"),
    ),
    Verdict(Accelerator.TCG, "no guest boots with KVM"),
)


def plain(write: Callable[[str], None]) -> View:
    return PlainView(write, clock=lambda: 0.0)


@pytest.mark.parametrize("view", [plain, JsonView], ids=["PlainView", "JsonView"])
def test_a_run_is_told_as_it_was(view: Callable[..., View], snapshot: SnapshotAssertion) -> None:
    assert {type(event) for event in EVENTS} == set(get_args(RunEvent)) - {Used}, "which is for the timeline alone"
    told: list[str] = []
    with view(told.append) as opened:
        for event in EVENTS:
            opened.tell(event)
    assert "\n".join(told) == snapshot


def test_what_doctor_found_reads_as_it_did(snapshot: SnapshotAssertion) -> None:
    screen = io.StringIO()
    Console(file=screen, width=100, highlight=False).print(table(EXAMINATION.findings))
    assert "\n".join(line.rstrip() for line in screen.getvalue().splitlines()) == snapshot(name="table")
    assert "\n".join(advice(EXAMINATION.findings)) == snapshot(name="advice")
    assert json.dumps(as_json(EXAMINATION), indent=2) == snapshot(name="JSON")
