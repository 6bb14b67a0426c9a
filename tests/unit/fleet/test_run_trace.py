"""A run as a trace."""

from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from vmkiln.errors import InputError
from vmkiln.fleet.run_trace import StepClock, StepStart, trace_of
from vmkiln.run.run_event import PhaseStarted, StepStarted
from vmkiln.run_state import Phase
from vmkiln.store.rows import PhaseRow, RunRow
from vmkiln.tracing import exported, exporting_to

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def a_run(state: str = "Failed", *, is_ended: bool = True) -> RunRow:
    message, code = ("it broke", "PackerBuildFailed") if state == "Failed" else ("", "")
    return RunRow(
        "r1", "web", "rg", {}, state, "", message, code, "", {"attempt": 2}, START, at(9) if is_ended else None
    )


PHASES = [
    PhaseRow("Building", at(0), at(2)),
    PhaseRow("Customizing", at(2), at(8)),
    PhaseRow("CleaningUp", at(8), at(9)),
]
STEPS = [StepStart("Customizing", "install", at(3)), StepStart("Customizing", "configure", at(5))]


def test_phases_are_below_the_run_and_steps_below_their_phase() -> None:
    trace = trace_of(a_run(), PHASES, STEPS)
    assert trace is not None
    assert (trace.name, trace.start, trace.end) == ("run web", at(0), at(9))
    assert trace.attributes == {
        "vmkiln.run_id": "r1",
        "vmkiln.template": "web",
        "vmkiln.state": "Failed",
        "vmkiln.attempt": 2,
        "vmkiln.error_code": "PackerBuildFailed",
    }
    building, customizing, cleaning = trace.children
    assert [(step.name, step.start, step.end) for step in customizing.children] == [
        ("install", at(3), at(5)),
        ("configure", at(5), at(8)),
    ]
    assert [building.error, customizing.error, cleaning.error] == ["", "it broke", ""]
    assert [step.error for step in customizing.children] == ["", "it broke"], "the step that failed is the last"


def test_a_run_that_succeeded_has_no_error_and_one_that_goes_on_no_trace() -> None:
    trace = trace_of(a_run("Succeeded"), PHASES, STEPS)
    assert trace is not None
    assert not any(span.error for span in (trace, *trace.children))
    assert trace_of(a_run("Running", is_ended=False), PHASES, []) is None
    assert trace_of(a_run(), [], []) is None


def test_steps_are_noted_when_they_begin_and_forgotten_with_their_attempt() -> None:
    seconds = iter((1.0, 2.0))
    clock = StepClock(lambda: at(next(seconds)))
    clock.tell(StepStarted(Phase.CUSTOMIZING, 0, 2, "old"))
    clock.tell(PhaseStarted(Phase.BUILDING, at(1)))
    clock.tell(StepStarted(Phase.CUSTOMIZING, 0, 2, "new"))
    assert clock.steps == [StepStart("Customizing", "new", at(2))]


def test_what_is_sent_has_the_runs_times_and_errors() -> None:
    memory = InMemorySpanExporter()
    trace = trace_of(a_run(), PHASES, STEPS)
    assert trace is not None
    with exporting_to(memory) as export:
        export(trace)
    spans = {span.name: span for span in memory.get_finished_spans()}
    assert set(spans) == {"run web", "Building", "Customizing", "CleaningUp", "install", "configure"}
    root = spans["run web"]
    assert root.parent is None
    assert root.start_time == int(START.timestamp()) * 10**9
    assert root.end_time == int(at(9).timestamp()) * 10**9
    assert spans["install"].parent is not None
    assert spans["Customizing"].context is not None
    assert spans["install"].parent.span_id == spans["Customizing"].context.span_id
    assert spans["Customizing"].status.status_code is StatusCode.ERROR
    assert spans["Building"].status.status_code is StatusCode.OK
    assert root.resource.attributes["service.name"] == "vmkiln"


def test_without_a_collector_nothing_is_sent_and_nothing_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with exported({}) as export:
        assert export is None
    with pytest.raises(InputError, match="not installed"), exported({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}):
        pass
