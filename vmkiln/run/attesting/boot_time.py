"""How long the image of a run took to boot, from the start of its validation or boot gate until the login."""

from vmkiln.run.run_event import VM_OF
from vmkiln.run_state import PartKind, Phase
from vmkiln.store.database import Store


def boot_seconds(store: Store, run_id: str) -> float | None:
    """The seconds of the last boot of the run's image, else those of the run that booted the same bytes; else none.

    None, too, where an earlier attempt booted other disks: what is published then was not booted.
    """
    facts = store.runs.find(run_id).facts
    fact, finished = facts.get("boot"), facts.get("finished")
    if fact is None and not (finished and finished["is_validated"]):
        return None
    parts = store.timelines.of_runs([run_id])[run_id]
    boots = [part.seconds for part in parts if (part.kind, part.name) == (PartKind.BOOT, VM_OF[Phase.VALIDATING])]
    if boots and boots[-1] is not None:
        return round(boots[-1], 1)
    return None if fact is None else float(fact["seconds_to_ssh"])
