"""The queue of runs as it is recorded: who waits, what each needs, what the runs that go on were promised."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from vmkiln.errors import InputError, VmkilnError
from vmkiln.images.catalogue import read_catalogue
from vmkiln.run.admission import NOTHING, Place, Room, Turns, Waiting, places
from vmkiln.run.kept_template import template_of
from vmkiln.run.run import GOING_ON
from vmkiln.settings import Settings
from vmkiln.staging import container_group
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import ManagedImageSource, PlatformImageSource, SharedImageVersionSource
from vmkiln.template.vm_size import build_vm_size

CONTAINER_GROUP_CPUS = 1
QEMU_MIB = 128  # what a QEMU needs beside its guest's memory, measured
RUN_DISK_MIB = 4096  # overlays and the flattened image of a small build
OTHER_GENERATION = 2  # its default VM size is the larger one
REMEMBERED_RUNS = 500
UNKNOWN = Room(2, 4096, RUN_DISK_MIB)


def need_of(settings: Settings, store: Store, template: ImageTemplate) -> Room:
    """What a template's run needs: the build VM of its vmSize and the container group beside it."""
    generation = _generation(settings, store, template)
    size = build_vm_size(template.properties.vm_profile.vm_size, hyper_v_generation=generation)
    memory_mib = size.memory_mib + container_group.MEMORY_MIB + 2 * QEMU_MIB
    return Room(size.cpu_count + CONTAINER_GROUP_CPUS, memory_mib, RUN_DISK_MIB)


def _generation(settings: Settings, store: Store, template: ImageTemplate) -> int:
    source = template.properties.source
    if isinstance(source, PlatformImageSource):
        name = (source.publisher.lower(), source.offer.lower(), source.sku.lower())
        entry = read_catalogue(settings.catalogue).entries.get(name)
        return entry.generation if entry else OTHER_GENERATION
    if isinstance(source, ManagedImageSource):
        image = store.image(source.image_id)
    elif isinstance(source, SharedImageVersionSource):
        image = store.image(source.image_version_id)
    return image.generation if image else OTHER_GENERATION


def need_facts(need: Room) -> dict[str, Any]:
    """A need as it is recorded with its run."""
    return {"need": asdict(need)}


def promised_to(run: RunRow) -> Room:
    """What a run that goes on was promised."""
    known = run.facts.get("need")
    return Room(**known) if known else UNKNOWN


def subscription_of(template_id: str) -> str:
    """The subscription of a run's template; '' for a run that came from a file."""
    return template_id.split("/")[2] if template_id.startswith("/subscriptions/") else ""


def queue_of(
    settings: Settings,
    store: Store,
    capacity: Room,
    *,
    starting: Mapping[str, Room] | None = None,
    per_subscription: int | None = None,
) -> list[Place]:
    """The queue now, or (`per_subscription`) the front of it, which is enough to see who may start.

    `starting` are runs that were let in and are not recorded as going on yet.
    """
    let_in = dict(starting or {})
    going_on: Counter[str] = Counter()
    promised = NOTHING
    recorded = store.list_runs(limit=None, states=GOING_ON)
    for run in recorded:
        going_on[subscription_of(run.template_id)] += 1
        promised += let_in.get(run.run_id) or promised_to(run).capped(capacity)
    known = {run.run_id for run in recorded}
    waiting: list[Waiting] = []
    for item in store.queue.waiting(per_subscription=per_subscription):
        subscription = subscription_of(item.template_id)
        if item.run_id not in let_in:
            waiting.append(Waiting(item.run_id, subscription, item.started))
        elif item.run_id not in known:
            going_on[subscription] += 1
            promised += let_in[item.run_id]
    turns = Turns(going_on, _last_starts(store))

    def need(run_id: str) -> Room:
        return need_of_queued(settings, store, store.runs_by_id([run_id])[run_id])

    return places(waiting, turns, need_of=need, capacity=capacity, promised=promised)


def _last_starts(store: Store) -> dict[str, datetime]:
    """When each subscription's last run started, as far back as fairness looks."""
    found: dict[str, datetime] = {}
    for item in store.queue.last_starts(limit=REMEMBERED_RUNS):  # the newest first
        found.setdefault(subscription_of(item.template_id), item.started)
    return found


def need_of_queued(settings: Settings, store: Store, run: RunRow) -> Room:
    """What a waiting run needs; one whose template is gone ends as soon as it is let in, and needs little."""
    row = store.resources.get(run.template_id)
    if row is None:
        return Room(0, 0, 0)
    try:
        return need_of(settings, store, template_of(row))
    except (InputError, VmkilnError):
        return Room(0, 0, 0)  # it cannot be built, which is said when it starts
