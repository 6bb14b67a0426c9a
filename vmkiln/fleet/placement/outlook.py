"""The forecast of the queue as it is recorded, worked out once for all who ask within a few seconds."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from vmkiln.fleet.placement.forecast import (
    COMPARED_RUNS,
    MOST_FORESEEN,
    Forecast,
    GoingOn,
    begun_at,
    starts_of,
    usual_time,
)
from vmkiln.fleet.run_queue import Look
from vmkiln.run.room import Room
from vmkiln.store.database import Store

MOST_TEMPLATES = 50  # whose last runs are looked at for one forecast
KEPT_SECONDS = 5.0  # for which one forecast is everybody's


def forecast_of(store: Store, look: Look) -> Forecast:
    """The forecast of a look at the queue."""
    if not (look.placed or look.others or look.ordered):
        return Forecast()
    now = store.now()
    going_on = {run.run_id: run.template_id for run in look.placed} | {
        run.run_id: run.template_id for run in look.others
    }
    waiting = store.queue.heads([item.run_id for item in look.ordered[:MOST_FORESEEN]])
    templates = {**going_on, **{run_id: head.template_id for run_id, head in waiting.items()}}
    usual = _usual(store, templates.values())
    takes = {run_id: usual[template] for run_id, template in templates.items() if template in usual}
    phases = store.runs.phases_of_all(list(going_on))
    ends = {run_id: (begun_at(phases[run_id]) or now) + takes[run_id] for run_id in going_on if run_id in takes}
    held = [
        GoingOn(run.incarnation, Room(run.cpus, run.memory_mib, run.disk_mib), ends.get(run.run_id))
        for run in look.placed
    ]
    starts = starts_of(look.ordered, held, need_of=look.need, hosts=look.hosts, usual=takes, now=now)
    return Forecast(starts, ends)


def _usual(store: Store, template_ids: Collection[str]) -> Mapping[str, timedelta]:
    """How long a success of each template usually takes, where there are some."""
    wanted = sorted({template_id for template_id in template_ids if template_id})[:MOST_TEMPLATES]
    good = {one: store.runs.successes(one, limit=COMPARED_RUNS) for one in wanted}
    phases = store.runs.phases_of_all([run.run_id for runs in good.values() for run in runs])
    found = {one: usual_time([(run.ended, phases[run.run_id]) for run in runs]) for one, runs in good.items()}
    return {one: taken for one, taken in found.items() if taken is not None}


class Outlook:
    """Works a forecast out when it is asked for and the last is too old; who asks meanwhile waits for that one."""

    def __init__(self, work_out: Callable[[], Forecast]) -> None:
        self._work_out = work_out
        self._turn = threading.Lock()
        self._found = Forecast()
        self._at: float | None = None

    def now(self) -> Forecast:
        """The forecast, at most `KEPT_SECONDS` old."""
        with self._turn:
            if self._at is None or time.monotonic() - self._at >= KEPT_SECONDS:
                self._found, self._at = self._work_out(), time.monotonic()
            return self._found
