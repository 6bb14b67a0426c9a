"""A run's timeline while it grows: what the run tells becomes parts, and what its programs took is shared out to them.

A part ends when the next one begins. What was taken between two looks goes to the parts that lay between them, each by
its share of the time.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from vmkiln.host.usage.process_tree import Usage
from vmkiln.packer.packer_template import DEPROVISION_NAME
from vmkiln.run.run_event import VM_OF, PartStarted, PhaseStarted, RunEvent, StepStarted, Used
from vmkiln.run_state import PartKind, Phase
from vmkiln.store.timeline.part_table import PartRow

OF_PHASE = {
    Phase.BUILDING: PartKind.STAGING,
    Phase.CUSTOMIZING: PartKind.BOOT,
    Phase.VALIDATING: PartKind.BOOT,
    Phase.CLEANING_UP: PartKind.CLEAN_UP,
}  # a phase without one has parts that tell themselves
MOST_PARTS = 1000


class Timeline:
    """The parts of one attempt of a run. `clock` gives the time in UTC; `on_change` is called when a part begins."""

    def __init__(
        self, run_id: str, attempt: int, *, clock: Callable[[], datetime], on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._run_id = run_id
        self._attempt = attempt
        self._clock = clock
        self._on_change = on_change
        self._parts: list[PartRow] = []
        self._last: tuple[datetime, Usage] | None = None

    @property
    def parts(self) -> tuple[PartRow, ...]:
        """The parts so far, in the order in which they began; at most the last is without an end."""
        return tuple(self._parts)

    def waited(self, since: datetime) -> None:
        """The run waited until now: the queue, as the first of all parts."""
        self._parts.insert(0, replace(self._part(PartKind.QUEUE, "", since), ended=max(since, self._clock())))
        self._parts[:] = [replace(part, number=number) for number, part in enumerate(self._parts)]

    def note(self, event: RunEvent) -> None:
        """Take in what the run tells. Names come masked."""
        match event:
            case PhaseStarted(phase) if phase in OF_PHASE:
                self._begin(OF_PHASE[phase], VM_OF.get(phase, ""))
            case PhaseStarted():
                self.end()
            case StepStarted(phase, index, count, name):
                is_hidden = index >= count and name == DEPROVISION_NAME
                kind = PartKind.VALIDATION if phase is Phase.VALIDATING else PartKind.CUSTOMIZER
                self._begin(PartKind.DEPROVISION if is_hidden else kind, "" if is_hidden else name)
            case PartStarted(kind, name, start):
                self._begin(kind, name)
                self._parts[-1] = replace(self._parts[-1], start=start)
            case Used(usage):
                self._share_out(usage)

    def end(self) -> None:
        """The part that goes on ends, and nothing follows it for now."""
        if self._parts and self._parts[-1].ended is None:
            last = self._parts[-1]
            self._parts[-1] = replace(last, ended=max(last.started, self._clock()))
            self._on_change()

    def _begin(self, kind: PartKind, name: str) -> None:
        if (
            self._parts
            and self._parts[-1].ended is None
            and (self._parts[-1].kind, self._parts[-1].name) == (kind, name)
        ):
            return  # Packer tries the step once more
        self.end()
        if len(self._parts) < MOST_PARTS:
            self._parts.append(self._part(kind, name, self._clock()))
            self._on_change()

    def _part(self, kind: PartKind, name: str, started: datetime) -> PartRow:
        return PartRow(self._run_id, self._attempt, len(self._parts), kind, name, started, None)

    def _share_out(self, usage: Usage) -> None:
        now = self._clock()
        since, before = self._last or (now, Usage(0.0, 0))
        self._last = (now, usage)
        took, whole = max(0.0, usage.cpu_seconds - before.cpu_seconds), (now - since).total_seconds()
        for number, part in enumerate(self._parts):
            overlap = (min(now, part.ended or now) - max(since, part.started)).total_seconds()
            if overlap < 0 or (part.ended or now) < since:
                continue
            share = overlap / whole if whole else float(part.ended is None)
            self._parts[number] = replace(
                part,
                cpu_seconds=(part.cpu_seconds or 0.0) + took * share,
                peak_kib=max(part.peak_kib or 0, usage.resident_kib),
            )
