"""Which part of a run goes on, since when, and how long it usually takes; for the views of a build."""

import time
from collections.abc import Callable, Mapping

from vmkiln.cli.view.waterfall import title
from vmkiln.run.run_event import RunEvent, UsualTimes
from vmkiln.run.timeline.timeline import Timeline
from vmkiln.run_state import PartKind
from vmkiln.store.database import utc_now
from vmkiln.store.timeline.part_table import PartRow

LEAST_TOLD_SECONDS = 1.0  # what is usually over by then is waited for by nobody
STEPS = {PartKind.CUSTOMIZER, PartKind.VALIDATION, PartKind.DEPROVISION}  # a step's own line names these


class GoingOn:
    """The part that goes on, by what a run told so far. `clock` is in seconds, from any beginning."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeline = Timeline("", 1, clock=utc_now)
        self._clock = clock
        self._usual: Mapping[tuple[PartKind, str], float] = {}
        self._begin = clock()
        self._part: PartRow | None = None

    def note(self, event: RunEvent) -> bool:
        """Take in what a run tells; gives whether another part begins with it."""
        if isinstance(event, UsualTimes):
            self._usual = event.seconds
        before = self._timeline.number
        self._timeline.note(event)
        self._part = self._timeline.going_on
        if self._timeline.number == before:
            return False
        self._begin = self._clock()
        return self._part is not None

    @property
    def name(self) -> str:
        """What goes on, '' when that is a step, or nothing that is known."""
        return "" if self._part is None or self._part.kind in STEPS else title(self._part.kind, self._part.name)

    @property
    def seconds(self) -> float:
        """For how long it does."""
        return self._clock() - self._begin

    @property
    def usual_seconds(self) -> float | None:
        """How long it usually takes; none when no earlier run says so, and when nobody waits for it."""
        usual = self._usual.get((self._part.kind, self._part.name)) if self._part else None
        return usual if usual is not None and usual >= LEAST_TOLD_SECONDS else None
