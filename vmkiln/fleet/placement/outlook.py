"""The forecast of the queue as it is recorded, worked out once for all who ask within a few seconds."""

import logging
import math
import threading
import time
from collections.abc import Callable

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

KEPT_SECONDS = 5.0  # for which one forecast is everybody's
STALE_SECONDS = 60.0  # after which an old one is not given any more while a newer one is worked out
log = logging.getLogger(__name__)


def forecast_of(store: Store, look: Look) -> Forecast:
    """The forecast of a look at the queue: a few statements, however many runs and templates."""
    if not (look.placed or look.others or look.ordered):
        return Forecast()
    now = store.now()
    going_on = {run.run_id: run.template_id for run in look.placed} | {
        run.run_id: run.template_id for run in look.others
    }
    waiting = {item.run_id: look.head(item.run_id).template_id for item in look.ordered[:MOST_FORESEEN]}
    templates = going_on | waiting
    good = store.runs.successes(list(dict.fromkeys(filter(None, templates.values()))), limit=COMPARED_RUNS)
    phases = store.runs.phases_of_all([*going_on, *(run_id for ended in good.values() for run_id in ended)])
    usual = {
        template_id: usual_time([(end, phases[run_id]) for run_id, end in ended.items()])
        for template_id, ended in good.items()
    }
    takes = {run_id: taken for run_id, template in templates.items() if (taken := usual.get(template)) is not None}
    ends = {run_id: (begun_at(phases[run_id]) or now) + takes[run_id] for run_id in going_on if run_id in takes}
    held = [
        GoingOn(run.incarnation, Room(run.cpus, run.memory_mib, run.disk_mib), ends.get(run.run_id))
        for run in look.placed
    ]
    starts = starts_of(look.ordered, held, need_of=look.need, hosts=look.hosts, usual=takes, now=now)
    return Forecast(starts, ends)


class Outlook:
    """Works a forecast out when it is asked for and the last is too old; who asks meanwhile is given the last.

    Where there is none, or one of more than a minute ago, they wait for the new one. One that fails is told in the log,
    and nothing is known then for as long as a forecast is kept: who asks is neither kept waiting again nor refused.
    """

    def __init__(self, work_out: Callable[[], Forecast]) -> None:
        self._work_out = work_out
        self._turn = threading.Lock()
        self._found = Forecast()
        self._at = -math.inf

    def now(self) -> Forecast:
        """The forecast, at most `KEPT_SECONDS` old, or `STALE_SECONDS` while another one is worked out."""
        if not self._turn.acquire(blocking=self._age() >= STALE_SECONDS):
            return self._found
        try:
            if self._age() >= KEPT_SECONDS:
                self._found = self._worked_out()
                self._at = time.monotonic()
            return self._found
        finally:
            self._turn.release()

    def _age(self) -> float:
        return time.monotonic() - self._at

    def _worked_out(self) -> Forecast:
        try:
            return self._work_out()
        except Exception:
            log.exception("when waiting runs start could not be worked out: it is told as not known")
            return Forecast()
