"""What a run tells while it goes on: to the terminal, to `--json`, and to traces."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmkiln.host.usage.process_tree import Usage
from vmkiln.packer.packer_output import Speaker
from vmkiln.run_state import PartKind, Phase, RunState, Start
from vmkiln.secrecy.secret_mask import SecretMask

VM_OF = {
    Phase.CUSTOMIZING: "build-vm",
    Phase.OPTIMIZING: "validation-vm",
    Phase.VALIDATING: "validation-vm",
}


@dataclass(frozen=True)
class PhaseStarted:
    """The run entered a phase; the one before has ended."""

    phase: Phase
    at: datetime


@dataclass(frozen=True)
class StepStarted:
    """Packer began a step: number `index` of `count` (from 0), its name, and the phase it belongs to."""

    phase: Phase
    index: int
    count: int
    name: str


@dataclass(frozen=True)
class StepFailed:
    """The step that is on failed, and the run goes on all the same; of any other the run's end tells."""

    phase: Phase


@dataclass(frozen=True)
class LogLine:
    """One line of the customization or validation log, raw; show it only made harmless."""

    phase: Phase
    text: str
    speaker: Speaker


@dataclass(frozen=True)
class Notice:
    """Something the user should know: a warning, a retry, progress of long work."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class RunEnded:
    """The run is over, its clean-up too; `summary` is what `vmkiln run show --json` gives."""

    state: RunState
    message: str
    summary: dict[str, Any]


@dataclass(frozen=True)
class PartStarted:
    """A part of the run's timeline begins that neither a phase nor a step tells.

    With `is_beside` it goes on beside the other parts until `PartEnded`; without, until that or the next one.
    """

    kind: PartKind
    name: str = ""
    start: Start = Start.COLD
    is_beside: bool = False


@dataclass(frozen=True)
class PartEnded:
    """A part has ended: one that went on beside others, or one that nothing follows at once."""

    kind: PartKind
    name: str = ""


@dataclass(frozen=True)
class Used:
    """What the run's programs have taken so far; for the timeline alone."""

    usage: Usage


@dataclass(frozen=True)
class UsualTimes:
    """How long the parts of the template's earlier runs took, in seconds, by their kind and name; for a view alone."""

    seconds: Mapping[tuple[PartKind, str], float]


RunEvent = (
    PhaseStarted | StepStarted | StepFailed | LogLine | Notice | RunEnded | PartStarted | PartEnded | Used | UsualTimes
)


def masked(event: RunEvent, mask: SecretMask) -> RunEvent:
    """What is told, without secrets. Log lines come masked already: they are stored, too."""
    match event:
        case Notice(text, is_warning):
            return Notice(mask(text), is_warning)
        case StepStarted(phase, index, count, name):
            return StepStarted(phase, index, count, mask(name))
        case PartStarted(kind, name, start, is_beside):
            return PartStarted(kind, mask(name), start, is_beside)
        case PartEnded(kind, name):
            return PartEnded(kind, mask(name))
    return event


def noting(tell: Callable[[RunEvent], None], note: Callable[[str, str], None]) -> Callable[[RunEvent], None]:
    """Tell as before, and note which VM works and what runs there, whenever that changes."""

    def both(event: RunEvent) -> None:
        if isinstance(event, PhaseStarted):
            note(VM_OF.get(event.phase, ""), str(event.phase))
        elif isinstance(event, StepStarted):
            note(VM_OF.get(event.phase, ""), f"{event.phase}: {event.name}")
        tell(event)

    return both
