"""A failed VM that is released on another host than the one that holds it: by the record of its run, which both have.

*Leaves behind:* a word on record with the run. *Undone by:* the host that holds it, which deletes the VM and the record
of it (`lease.py`). *Safe to repeat:* yes.
"""

import logging

from vmkiln.errors import InputError
from vmkiln.host.host_id import host_id
from vmkiln.run.held import door
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

SHOW_OUT_SECONDS = 2.0  # for a visit to answer who cleans up, as every command does before its own work
log = logging.getLogger(__name__)


def ask_release(store: Store, run: RunRow) -> None:
    """Have the host that has a run's lease delete it with its next clean-up; it wakes it for nobody until then.

    Raises: `InputError` when it was let go meanwhile, or a later attempt of the run left another one.
    """
    fact = run.facts.get("lease")
    if fact is None or not store.runs.change_lease(run.run_id, fact, {**fact, "released": True}):
        raise InputError(
            f"the failed VM of run {run.run_id[:8]} is not the one any more that it was a moment ago",
            hint="`vmkiln run show` tells what is held of it now",
        )


def is_released(settings: Settings, run: RunRow | None) -> bool:
    """Whether it is on record that this host is to delete the lease that it has of a run."""
    fact = None if run is None else run.facts.get("lease")
    return fact is not None and fact.get("released", False) and fact["host_id"] == host_id(settings)


def run_of(store: Store, run_id: str) -> RunRow | None:
    """The run with this id, without its template; none when it is on no record. Raises: `StorageFailed`."""
    return store.runs.by_id([run_id], has_template=False).get(run_id)


def show_out(settings: Settings, store: Store, run_id: str) -> None:
    """Let a VM go that somebody is in, when it was released on another host: the visit deletes it."""
    woken = run_directory.folder_of_woken(settings.runs, run_id)
    if not door.is_held(woken) or not is_released(settings, run_of(store, run_id)):
        return
    try:
        door.knock(woken, door.RELEASE, seconds=SHOW_OUT_SECONDS).close()
    except InputError as error:  # it was left just now, unless nothing answers
        if isinstance(error.__cause__, TimeoutError):
            log.warning("a failed VM that was released on another host is not left: %s", error)
