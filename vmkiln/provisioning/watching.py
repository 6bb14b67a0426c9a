"""Triggers of kind SourceImage: a template runs when its source has a new version.

A trigger remembers which source it saw last. After several runs in a row that failed, its template is not run by
itself any more until one run, asked for by hand, succeeds. One whose rights are gone is suspended until they are back,
one whose template may only be read until its lock has gone.
Source: docs/reference/behaviour.md#triggers; the number of failures is not published, ours is `MOST_FAILURES`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vmkiln.azure_names import TRIGGER, ProvisioningState
from vmkiln.errors import ImageNotFound, TemplateInvalid
from vmkiln.lifetime.things import Things
from vmkiln.platform_images.image_reference import recipe_of, reference_of
from vmkiln.platform_images.platform_image import plan_platform_image
from vmkiln.provisioning.stored_template import check_rights, template_of
from vmkiln.provisioning.submitting import Unfit, exact_version
from vmkiln.run_failures import RightsLost
from vmkiln.run_state import RunState, new_run_id
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.locked.scope_locks import held_by
from vmkiln.store.rows import ResourceRow, RunRow
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import PlatformImageSource

MOST_FAILURES = 3
LOOKED_AT_RUNS = MOST_FAILURES + 3  # of a template, of which some were cancelled; as many are kept on record
HEALTHY = ("Healthy", "Trigger is active.")
Queue = Callable[..., bool]  # queues a run of a template, unless one goes on: its row, `run_id`, `reason`


def seen_now(settings: Settings, store: Store, template: ImageTemplate) -> dict[str, str]:
    """What a source is now: its exact version, and of a platform image how the catalogue says it is made.

    Raises: `VmkilnError` when there is no such source.
    """
    source = template.properties.source
    recipe = ""
    if isinstance(source, PlatformImageSource):
        plan = plan_platform_image(
            reference_of(source),
            cache_directory=settings.image_cache,
            user_catalogue=settings.catalogue,
            most_age_days=settings.platform_image_most_age_days,
        )
        recipe = recipe_of(plan.entry)
    return {"version": exact_version(settings, store, template), "recipe": recipe}


def is_new(before: dict[str, str], now: dict[str, str], *, last_built: str) -> bool:
    """Whether a source has a version that no run has had yet; pure."""
    if before.get("recipe", "") != now["recipe"]:
        return True
    return now["version"] not in {"", before.get("version", ""), last_built}


def is_suspended(newest_first: list[RunRow]) -> bool:
    """Whether the last runs of a template all failed; pure."""
    ended = [run for run in newest_first if run.ended is not None and run.state != RunState.CANCELED]
    last = ended[:MOST_FAILURES]
    return len(last) == MOST_FAILURES and all(run.state == RunState.FAILED for run in last)


def status_of(store: Store, template: ResourceRow) -> tuple[str, str]:
    """The code and message of a trigger's status."""
    if refusal := _refusal(store, template):
        return "Suspended", f"Automatic builds are suspended, because {refusal}."
    if is_suspended(store.runs.of_template(template.key, limit=LOOKED_AT_RUNS)):
        return (
            "Suspended",
            f"Automatic builds are suspended, because the last {MOST_FAILURES} builds failed. "
            "They go on after one build that was started by hand succeeds.",
        )
    if locked := held_by(store.resources, template.id, deletes=False):
        return "Suspended", f"Automatic builds are suspended, because locks are in their way: {', '.join(locked)}."
    return HEALTHY


def _refusal(store: Store, template: ResourceRow) -> str:
    """Why a run of a template may not begin now, and whom to ask; '' when it may."""
    try:
        check_rights(store, template)
    except RightsLost as error:
        return f"{error.message}; {error.hint}"
    except TemplateInvalid:
        return ""  # by today's rules, which is told where it is run
    return ""


def look_at_sources(settings: Settings, store: Store, queue: Queue, triggers: Things[str]) -> list[str]:
    """Queue a run for each template whose source is new; gives the runs' ids. `triggers` tell of those that fail.

    Raises: what went wrong with one trigger, when several fail.
    """
    started: list[str] = []
    found = {trigger.id: trigger for trigger in store.resources.list(type=TRIGGER)}
    for key in triggers.in_turn(found):
        with triggers.tried(key):
            started += _look_at(settings, store, found[key], queue)
    return started


def _look_at(settings: Settings, store: Store, trigger: ResourceRow, queue: Queue) -> list[str]:
    """Queue a run when the source of this trigger's template is new; gives its id."""
    row = store.resources.get(trigger.id.rsplit("/", 2)[0])
    if row is None or row.properties.get("provisioningState") != ProvisioningState.SUCCEEDED:
        return []
    try:
        now = seen_now(settings, store, template_of(store, row))
    except (ImageNotFound, Unfit):
        return []  # the source is gone for now; what comes after it is new
    seen: dict[str, Any] = trigger.state.get("seen") or {}
    last = store.runs.of_template(row.key, limit=1)
    last_built = str(last[0].facts.get("source_exact_version", "")) if last else ""
    if not is_new(seen, now, last_built=last_built):
        if now != seen:
            _remember(store, trigger, now)
        return []
    if is_suspended(store.runs.of_template(row.key, limit=LOOKED_AT_RUNS)):
        return []
    if held_by(store.resources, row.id, deletes=False):
        return []  # what is new is built when the lock has gone
    refusal = _refusal(store, row)
    if refusal and trigger.state.get("refused") == refusal:
        return []  # told once, in a run that failed; what is new is built when the rights are back
    run_id = new_run_id()
    if not queue(row, run_id=run_id, reason=f"trigger {trigger.name}"):
        return []
    _remember(store, trigger, seen if refusal else now, refused=refusal)
    return [run_id]


def _remember(store: Store, trigger: ResourceRow, now: dict[str, str], *, refused: str = "") -> None:
    state = {"seen": now, "refused": refused}
    store.resources.change(trigger.id, lambda old: replace(old, state={**old.state, **state}))
