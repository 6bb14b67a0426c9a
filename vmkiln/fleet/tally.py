"""What the service has seen since it started, in numbers that only grow: for its metrics."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmkiln.store.rows import PhaseRow, RunRow, seconds_between


@dataclass
class Tally:
    """Ended runs by state and error code; seconds and number of phases by name; what was cleaned up for the dead."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    phase_seconds: dict[str, float] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)
    cleaned_up: int = 0
    leftovers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, run: RunRow, phases: Sequence[PhaseRow]) -> None:
        """A run has ended."""
        with self._lock:
            self.ended[run.state, run.error_code] += 1
            for phase in phases:
                if phase.ended is not None:
                    self.phases[phase.name] += 1
                    seconds = seconds_between(phase.started, phase.ended)
                    self.phase_seconds[phase.name] = self.phase_seconds.get(phase.name, 0.0) + seconds

    def looked(self, *, cleaned_up: int, leftovers: int) -> None:
        """The janitor has finished a round: `cleaned_up` things are gone, `leftovers` could not be removed."""
        with self._lock:
            self.cleaned_up += cleaned_up
            self.leftovers = leftovers
