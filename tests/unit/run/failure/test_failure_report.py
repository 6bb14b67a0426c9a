"""Why a run failed, from the end of its log."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from vmkiln import run_failures
from vmkiln.run.failure.failure_report import (
    MOST_CHANGES,
    SHOWN_LINES,
    LogEnd,
    changes,
    failed_phase,
    has_failed_validation,
    report,
)
from vmkiln.run.failure.known_failures import CODES, LINES, cause_in_line, cause_of
from vmkiln.run_state import RunState
from vmkiln.store.rows import RunRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PHASES = ["Queued", "Building", "Customizing", "CleaningUp"]


def a_run(**values: Any) -> RunRow:
    message = "customizing failed in `web` (properties.customize[1]): Script exited with non-zero exit status: 100"
    row = RunRow("r", "t", "rg", {}, RunState.FAILED, "", message, "PackerBuildFailed", "g", {}, NOW, NOW)
    return replace(row, **values)


def an_end(*lines: str, first_line: int = 1, errors: tuple[int, ...] = ()) -> LogEnd:
    return LogEnd("customization", "web", first_line, lines, tuple(number in errors for number in range(len(lines))))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("E: Unable to locate package ngnix", "no package `ngnix`"),
        ("==> qemu: the egress policy refuses 10.0.0.1:443 to the build-vm, in step 1", "refuses 10.0.0.1:443"),
        ("/tmp/script.sh: line 3: frobnicate: command not found", "no program `frobnicate`"),
        ("sh: 1: frobnicate: not found", "no program `frobnicate`"),
        ("cp: error writing 'x': No space left on device", "disk of the VM is full"),
        ("curl: (6) Could not resolve host: example.invalid", "name could not be resolved"),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend.", "automatic upgrades"),
        ("bash: ./a.sh: /bin/bash^M: bad interpreter: /bin/bash^M", "line ends of Windows"),
        ("curl: (22) The requested URL returned error: 404", "answered with an error"),
        ("Cancelling builder after context cancellation context canceled", "connection to the VM was lost"),
    ],
)
def test_a_known_line_tells_its_cause(line: str, words: str) -> None:
    cause = cause_in_line(line)
    assert cause is not None
    assert words in cause.what
    assert cause.remedy.endswith(".")


def test_every_known_failure_names_only_what_its_pattern_finds() -> None:
    codes = {kind.code for kind in vars(run_failures).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert set(CODES) <= codes
    for known in LINES:
        named = set(re.findall(r"\{(\w+)\}", known.what + known.remedy))
        assert named <= set(known.pattern.groupindex), known.pattern.pattern
    assert cause_in_line("all is well") is None
    assert cause_of([], code="", status=137)[0] is not None
    assert cause_of(["fine"], code="LoginTimeout", status=None)[0] == CODES["LoginTimeout"]


def test_a_report_has_the_place_the_status_the_lines_and_the_likely_one() -> None:
    noise = [f"retry {number}" for number in range(30)]
    end = an_end("Reading lists", "E: Unable to locate package ngnix", *noise, first_line=11)
    found = report(a_run(), PHASES, end, None)
    assert (found.phase, found.step, found.status) == ("Customizing", "web", 100)
    assert found.error_line == 12, "though it is not among the last lines"
    assert found.end is not None
    assert (found.end.first_line, len(found.end.lines)) == (11 + 32 - SHOWN_LINES, SHOWN_LINES)
    assert found.cause is not None


def test_without_a_known_line_the_guests_last_error_is_the_likely_one() -> None:
    end = an_end("fatal: it broke", "fine", "==> qemu: Provisioning step had errors: cleaning up", errors=(1,))
    found = report(a_run(message="x"), PHASES, end, None)
    assert (found.error_line, found.cause, found.status) == (1, None, None)
    assert report(a_run(), PHASES, an_end("a", "b", errors=(1,)), None).error_line == 2
    assert report(a_run(), [], None, None).phase == ""


@pytest.mark.parametrize("code", ["ValidationFailed", "DistributionFailed"])
def test_a_failed_validation_is_where_it_failed_also_when_it_was_distributed(code: str) -> None:
    phases = [*PHASES[:-1], "Validating", "Distributing", "CleaningUp"]
    wanted = "Validating" if code == "ValidationFailed" else "Distributing"
    assert failed_phase(phases, code) == wanted
    assert report(a_run(error_code=code), phases, None, None).phase == wanted
    finished: Any = {"validation_error": "no"}
    assert has_failed_validation(a_run(error_code=code)) is (code == "ValidationFailed")
    assert has_failed_validation(a_run(error_code="", facts={"finished": finished}))
    assert not has_failed_validation(a_run(error_code="", facts={"finished": None}))


def test_what_is_said_of_a_held_vm_is_never_the_likely_line() -> None:
    held = (
        "the build-vm is held until 2030: `vmkiln run shell r` enters it",
        "somebody enters the failed VM",
        "nobody is in the failed VM any more: no way led into the VM",
        "nobody is in the failed VM any more",
        "the failed VM could not be held: failure",
        "the build-vm is not held any more: it failed",
    )
    assert report(a_run(), PHASES, an_end("fatal: it broke", *held), None).error_line == 1


def test_what_changed_is_told_by_path_and_never_by_value() -> None:
    step = {"type": "Shell", "inline": ["a", "secret"]}
    before = a_run(template={"properties": {"customize": [step]}}, facts={"source_exact_version": "1"})
    now = a_run(
        template={"properties": {"customize": [{**step, "inline": ["a", "b", "c"]}], "more": 1}},
        facts={"source_exact_version": "2"},
    )
    assert changes(before, now) == [
        "version of the source: 1 -> 2",
        "properties.customize[0].inline[1]",
        "properties.customize[0].inline[2]",
        "properties.more",
    ]
    assert changes(now, now) == []
    many = a_run(template={str(number): number for number in range(100)})
    assert len(changes(before, many)) == MOST_CHANGES
