"""A run's timeline while it grows: what the run tells becomes parts, and what its programs took is shared out to them.

A part ends when the next one begins, unless it goes on beside the others; that one says itself when it ends. What was
taken between two looks goes to the parts that lay between them, each by its share of the time. Those beside them are
work of the host's own programs, of which nobody looks at what they take.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from vmkiln.host.usage.process_tree import Usage
from vmkiln.packer.packer_template import DEPROVISION_NAME
from vmkiln.run.run_event import VM_OF, PartEnded, PartStarted, PhaseStarted, RunEvent, StepStarted, Used
from vmkiln.run_state import PartKind, Phase, Start
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
        self._going_on: int | None = None  # the number of the part that the next one ends
        self._beside: dict[tuple[PartKind, str], int] = {}  # what goes on beside it
        self._apart: set[int] = set()  # all that ever did

    @property
    def parts(self) -> tuple[PartRow, ...]:
        """The parts so far, in the order in which they began; the one that goes on and those beside it have no end."""
        return tuple(self._parts)

    @property
    def going_on(self) -> PartRow | None:
        """The part that goes on, those beside it left out; none when nothing does."""
        return None if self._going_on is None else self._parts[self._going_on]

    @property
    def number(self) -> int | None:
        """Which of the parts that is, from 0."""
        return self._going_on

    def waited(self, since: datetime) -> None:
        """The run waited until now: the queue, as the first of all parts."""
        self._parts.insert(0, replace(self._part(PartKind.QUEUE, "", since), ended=max(since, self._clock())))
        self._parts[:] = [replace(part, number=number) for number, part in enumerate(self._parts)]
        self._going_on = None if self._going_on is None else self._going_on + 1
        self._beside = {key: number + 1 for key, number in self._beside.items()}
        self._apart = {number + 1 for number in self._apart}

    def note(self, event: RunEvent) -> None:
        """Take in what the run tells. Names come masked."""
        match event:
            case PhaseStarted(phase) if phase in OF_PHASE:
                self._begin(OF_PHASE[phase], VM_OF.get(phase, ""))
            case PhaseStarted():
                self.end()
            case StepStarted(phase, index, count, name):
                is_hidden = index >= count and name == DEPROVISION_NAME
                kind = PartKind.CUSTOMIZER if phase is Phase.CUSTOMIZING else PartKind.VALIDATION
                self._begin(PartKind.DEPROVISION if is_hidden else kind, "" if is_hidden else name)
            case PartStarted(kind, name, start, is_beside):
                self._begin(kind, name, start, is_beside=is_beside)
            case PartEnded(kind, name) if (kind, name) in self._beside:
                self._end(self._beside.pop((kind, name)))
            case PartEnded(kind, name):
                if (last := self.going_on) is not None and (last.kind, last.name) == (kind, name):
                    self.end()
            case Used(usage):
                self._share_out(usage)

    def end(self) -> None:
        """The part that goes on ends, and nothing follows it for now; what goes on beside it does not end."""
        self._end(self._going_on)
        self._going_on = None

    def end_all(self) -> None:
        """Every part ends."""
        self.end()
        while self._beside:
            self._end(self._beside.popitem()[1])

    def _end(self, number: int | None) -> None:
        if number is not None:
            part = self._parts[number]
            self._parts[number] = replace(part, ended=max(part.started, self._clock()))
            self._on_change()

    def _begin(self, kind: PartKind, name: str, start: Start = Start.COLD, *, is_beside: bool = False) -> None:
        if self._going_on is not None and not is_beside:
            last = self._parts[self._going_on]
            if (last.kind, last.name) == (kind, name):  # Packer tries the step once more, or it is said how it began
                self._parts[self._going_on] = replace(last, start=start)
                return
        if not is_beside:
            self.end()
        if len(self._parts) >= MOST_PARTS:
            return
        number = len(self._parts)
        self._parts.append(replace(self._part(kind, name, self._clock()), start=start))
        if is_beside:
            self._end(self._beside.pop((kind, name), None))
            self._beside[kind, name] = number
            self._apart.add(number)
        else:
            self._going_on = number
        self._on_change()

    def _part(self, kind: PartKind, name: str, started: datetime) -> PartRow:
        return PartRow(self._run_id, self._attempt, len(self._parts), kind, name, started, None)

    def _share_out(self, usage: Usage) -> None:
        now = self._clock()
        since, before = self._last or (now, Usage(0.0, 0))
        self._last = (now, usage)
        took, whole = max(0.0, usage.cpu_seconds - before.cpu_seconds), (now - since).total_seconds()
        for number, part in enumerate(self._parts):
            if number in self._apart:
                continue
            overlap = (min(now, part.ended or now) - max(since, part.started)).total_seconds()
            if overlap < 0 or (part.ended or now) < since:
                continue
            share = overlap / whole if whole else float(part.ended is None)
            self._parts[number] = replace(
                part,
                cpu_seconds=(part.cpu_seconds or 0.0) + took * share,
                peak_kib=max(part.peak_kib or 0, usage.resident_kib),
            )
