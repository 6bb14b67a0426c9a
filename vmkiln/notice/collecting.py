"""What there is to tell, found in what is on record: runs that ended since they were last looked at.

A run's own row is what is told from, so nothing has to be written when it ends, and a service that was killed finds it
afterwards. Runs are looked at again for `OVERLAP`, for a transaction may end after one that began later; the id of a
notice keeps it from being told twice.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from vmkiln.azure_names import TRIGGER
from vmkiln.notice.cloud_event import Event, Kind, images_published, run_ended, template_suspended
from vmkiln.notice.receivers import Receivers
from vmkiln.provisioning.watching import MOST_FAILURES, is_suspended
from vmkiln.run_failures import RightsLost
from vmkiln.run_state import RunState
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

OVERLAP = timedelta(minutes=10)
MOST_LATE = timedelta(days=7)  # what ended longer ago is not told any more
PAGE_RUNS = 200
LOOKED_AT_RUNS = 50  # of a template, of which some were cancelled


Seen = set[tuple[str, datetime | None]]  # ids of runs with their ends


def collect(store: Store, receivers: Receivers, seen: Seen, *, source: str) -> int:
    """Put what is new into the outbox; gives how many notices had to give way to it.

    `seen` are the runs that this process has looked at, of those that it looks at again; it is brought up to date.
    """
    looked_at: Seen = set()
    until = store.outbox.mark(ahead=OVERLAP)  # nothing is told that ended before the first look
    since = max(until - OVERLAP, store.now() - MOST_LATE)
    after, gone = None, 0
    while page := store.outbox.ended_runs(since, after=after, limit=PAGE_RUNS):
        fresh = [run for run in page if (run.run_id, run.ended) not in seen]
        found = [event for run in fresh for event in _events(store, run, receivers, source=source)]
        last = page[-1]
        assert last.ended is not None
        after = last.ended, last.run_id
        known = store.outbox.known([event["id"] for event in found])
        new = [event for event in found if event["id"] not in known]
        if new or last.ended > until:
            gone += store.outbox.add(new, receivers.names, until=last.ended)
        looked_at |= {(run.run_id, run.ended) for run in page}
    seen.clear()
    seen.update(looked_at)
    return gone


def _events(store: Store, run: RunRow, receivers: Receivers, *, source: str) -> Iterator[Event]:
    outputs = store.images.outputs_of(run.run_id)
    if Kind.RUN_ENDED in receivers.kinds:
        yield run_ended(run, outputs, source=source)
    if Kind.IMAGE_PUBLISHED in receivers.kinds:
        yield from images_published(run, outputs, source=source)
    if Kind.TEMPLATE_SUSPENDED in receivers.kinds and (reason := _suspended(store, run)):
        yield template_suspended(run, reason, source=source)


def _suspended(store: Store, run: RunRow) -> str:
    """Why this run is the one after which its template is suspended; '' when it is not."""
    if run.state is not RunState.FAILED or not run.template_id:
        return ""
    if not store.resources.list(type=TRIGGER, parent=run.template_id, limit=1):
        return ""
    if run.error_code == RightsLost.code:
        return run.message
    until_then = [
        one
        for one in store.runs.of_template(run.template_id, limit=LOOKED_AT_RUNS)
        if (one.started, one.run_id) <= (run.started, run.run_id)
    ]
    before = [one for one in until_then if one.run_id != run.run_id]
    if not is_suspended(until_then) or is_suspended(before):
        return ""
    return f"the last {MOST_FAILURES} builds failed"
