"""A run that repeats another one says where it begins, and what becomes of the failed VM of the one before.

It begins behind the last customizer that is kept, and never in the failed VM: what a customizer left that did not come
to its end is nothing that the template describes. That VM stays what it was for whoever looks at it.
"""

from vmkiln.host.host_id import host_id
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.run_context import Staged
from vmkiln.store.rows import RunRow
from vmkiln.warm.checkpoint import Checkpoint

NO_CACHE = "`--no-cache` asks for that"
NONE_FITS = "no checkpoint is there that goes with this template, its source, its network and this host as they are now"


def sentence(staged: Staged, build: KeptBuild, hit: Checkpoint | None, *, count: int) -> str:
    """Where a run that repeats another one begins, of so many customizers; '' for one that repeats none."""
    request = staged.request
    if not request.retry_of:
        return ""
    earlier = staged.host.store.runs.by_id([request.retry_of]).get(request.retry_of)
    text = f"this run repeats run {request.retry_of[:8]}, and {_where(staged, build, hit, count)}"
    return f"{text}{'' if earlier is None else _of_its_vm(earlier, own_host=host_id(staged.host.settings))}"


def _where(staged: Staged, build: KeptBuild, hit: Checkpoint | None, count: int) -> str:
    """Where it begins; pure."""
    if not count:
        return "has no customizers"
    if hit is None:
        why = _why_first(build, uses_checkpoints=staged.request.uses_checkpoints)
        return f"begins at customizer 1 of {count}: {why}"
    if hit.about.position >= count:
        return f"begins behind the last of its customizers ({count}), as it is kept"
    return f"begins at customizer {hit.about.position + 1} of {count}, behind what is kept"


def _why_first(build: KeptBuild, *, uses_checkpoints: bool) -> str:
    """Why it does not begin behind anything; pure."""
    if not build.positions and build.reason:
        return build.reason
    return NONE_FITS if uses_checkpoints else NO_CACHE


def _of_its_vm(earlier: RunRow, *, own_host: str) -> str:
    """What becomes of the failed VM of the run before; '' when none is held; pure."""
    if not earlier.held_until:
        return ""
    kept = earlier.facts.get("lease")
    where = "" if kept is None or kept["host_id"] == own_host else " on another host"
    return f"; the failed VM of that run stays as it is{where}, held until {earlier.held_until}"
