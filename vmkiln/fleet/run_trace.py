"""A run as a trace: one span for the run, below it one for each phase, below those one for each step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vmkiln.run.run_event import PhaseStarted, RunEvent, StepStarted
from vmkiln.run_state import Phase, RunState
from vmkiln.store.rows import PhaseRow, RunRow


@dataclass(frozen=True)
class Span:
    """Something that took time (UTC); `error` says why it failed, '' when it did not."""

    name: str
    start: datetime
    end: datetime
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    error: str = ""
    children: tuple["Span", ...] = ()


@dataclass(frozen=True)
class StepStart:
    """When a step of a phase began."""

    phase: str
    name: str
    at: datetime


@dataclass
class StepClock:
    """Notes when steps begin, as a run tells of them; `clock` gives the time in UTC."""

    clock: Callable[[], datetime]
    steps: list[StepStart] = field(default_factory=list)

    def tell(self, event: RunEvent) -> None:
        """What the run tells; a new attempt of it begins with its first phase."""
        if isinstance(event, StepStarted):
            self.steps.append(StepStart(event.phase, event.name, self.clock()))
        elif isinstance(event, PhaseStarted) and event.phase is Phase.BUILDING:
            self.steps.clear()


def trace_of(run: RunRow, phases: Sequence[PhaseRow], steps: Sequence[StepStart]) -> Span | None:
    """The trace of an ended run; None for one that never began. Pure."""
    ended = run.ended
    if ended is None or not phases:
        return None
    failed = run.message if run.state == RunState.FAILED else ""
    last_work = next((phase for phase in reversed(phases) if phase.name != Phase.CLEANING_UP), None)
    parts = []
    for phase in phases:
        end = phase.ended or ended
        is_at_fault = bool(failed) and phase is last_work
        own = [step for step in steps if step.phase == phase.name and phase.started <= step.at <= end]
        ends = [step.at for step in own[1:]] + [end]
        children = tuple(
            Span(step.name, step.at, after, error=failed if is_at_fault and step is own[-1] else "")
            for step, after in zip(own, ends[: len(own)], strict=True)
        )
        parts.append(Span(phase.name, phase.started, end, error=failed if is_at_fault else "", children=children))
    attributes: dict[str, str | int] = {
        "vmkiln.run_id": run.run_id,
        "vmkiln.template": run.template_id or run.template_name,
        "vmkiln.state": str(run.state),
        "vmkiln.attempt": run.attempt,
    }
    if run.error_code:
        attributes["vmkiln.error_code"] = run.error_code
    start = min(phase.started for phase in phases)
    return Span(f"run {run.template_name}", start, ended, attributes, failed, tuple(parts))
