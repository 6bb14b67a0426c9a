"""The queue of runs as it is recorded: who waits, what each needs, what each host has promised."""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from vmkiln.azure_names import plain_location
from vmkiln.errors import StorageFailed, VmkilnError
from vmkiln.fleet.admission import Host, Kept, Need, QueuePosition, Turns, Waiting, in_turn, positions
from vmkiln.fleet.placement.kept_sources import checkpoints_name, source_name
from vmkiln.provisioning.stored_template import template_of
from vmkiln.run.room import NOTHING, Room, need_of, promised_to
from vmkiln.run_state import GOING_ON
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import HostRow, PlacedRun, ReservationRow, ResourceRow, RunRow
from vmkiln.template.image_template import ImageTemplate

FRONT = 50  # more waiting runs of a subscription than are given a host in one look
REMEMBERED_RUNS = 500
READ_AT_ONCE = 4  # runs whose needs are read together: most looks let one in and see that the next waits
NOWHERE: Mapping[str, Room] = MappingProxyType({})
ISOLATION_TAG = "vmkiln.isolationLevel"  # a template that has it runs only on hosts of that level
ANYWHERE = ("", "local", "global")
KeptOn = Callable[[ImageTemplate, str], Kept]  # of a template and its id
log = logging.getLogger(__name__)


def nowhere(_template: ImageTemplate, _template_id: str) -> Kept:
    """No host keeps anything of it, or it does not matter which one does."""
    return Kept()


def _host_need(
    settings: Settings, store: Store, row: ResourceRow, avoided: frozenset[str], kept: KeptOn = nowhere
) -> Need:
    template = template_of(store, row)
    region = plain_location(row.location)
    return Need(
        need_of(settings, store, template),
        region="" if region in ANYWHERE else region,
        isolation_level=row.tags.get(ISOLATION_TAG, ""),
        avoided=avoided,
        kept=kept(template, row.id),
    )


def subscription_of(template_id: str) -> str:
    """The subscription of a run's template; '' for a run that came from a file."""
    return template_id.split("/")[2] if template_id.startswith("/subscriptions/") else ""


def capacity_of(host: HostRow) -> Room:
    """What a host has for runs, those that go on included."""
    return Room(host.cpus, host.memory_mib, host.disk_mib)


def reserved_by(rows: Iterable[ReservationRow | PlacedRun]) -> Room:
    """The room of reservations, all together."""
    return sum((Room(row.cpus, row.memory_mib, row.disk_mib) for row in rows), NOTHING)


def host_of(row: HostRow, *, capacity: Room, promised: Room) -> Host:
    """A host as placement sees it."""
    return Host(
        incarnation=row.incarnation,
        name=row.name,
        capacity=capacity,
        promised=promised,
        region=plain_location(row.region),
        architecture=row.architecture,
        isolation_level=row.isolation_level,
        is_draining=row.is_draining,
        unready=row.unready,
    )


def hosts_now(store: Store, *, capacities: Mapping[str, Room] = NOWHERE) -> list[Host]:
    """The live hosts with what they have promised: to runs of the queue, and to runs of `vmkiln build` there.

    `capacities` has the room of a host at this moment, by its incarnation. It is less than the recorded room when the
    host's disk has filled up since.
    """
    kept = store.hosts.placed()
    return _hosts(store, kept, _without_host(store, kept), capacities)


def _without_host(store: Store, kept: Iterable[PlacedRun]) -> list[RunRow]:
    """The runs that go on without room kept for them: those of `vmkiln build`."""
    with_host = {row.run_id for row in kept}
    going_on = store.runs.list(limit=None, states=GOING_ON, has_template=False)
    return [run for run in going_on if run.run_id not in with_host]


def _hosts(
    store: Store, kept: Sequence[PlacedRun], others: Sequence[RunRow], capacities: Mapping[str, Room]
) -> list[Host]:
    found = []
    for row in store.hosts.live():
        capacity = capacities.get(row.incarnation) or capacity_of(row)
        promised = reserved_by(item for item in kept if item.incarnation == row.incarnation)
        mine = (run for run in others if run.facts.get("host_id", row.host_id) == row.host_id)
        promised += sum((promised_to(run).capped(capacity) for run in mine), NOTHING)
        found.append(host_of(row, capacity=capacity, promised=promised))
    return found


class _Front:
    """The runs that wait, as their needs are asked for from the front of the queue: a few are read at once."""

    def __init__(self, settings: Settings, store: Store, order: Sequence[str], *, has_choice: bool) -> None:
        self._settings = settings
        self._store = store
        self._order = order
        self._has_choice = has_choice
        self._kept: dict[tuple[str, str], Kept] = {}
        self._places = {run_id: place for place, run_id in enumerate(order)}
        self._needs: dict[str, Callable[[], Need]] = {}
        self.attempts: dict[str, int] = {}

    def need(self, run_id: str) -> Need:
        """What a run needs."""
        if run_id not in self._needs:
            first = self._places[run_id]
            self._read(self._order[first : first + READ_AT_ONCE])
        return self._needs[run_id]()

    def _read(self, run_ids: Sequence[str]) -> None:
        runs = self._store.runs.by_id(run_ids, has_template=False)
        rows = self._store.resources.by_id({run.template_id for run in runs.values()})
        self.attempts |= {run_id: run.attempt for run_id, run in runs.items()}
        for run_id in run_ids:
            run = runs[run_id]
            self._needs[run_id] = functools.partial(
                need_of_queued, self._settings, self._store, run, rows.get(run.template_id), self._kept_on
            )

    def _kept_on(self, template: ImageTemplate, template_id: str) -> Kept:
        """Which hosts keep what of a template: asked once in a look, and where there are several."""
        if not self._has_choice:
            return Kept()
        names = (source_name(self._store, template), checkpoints_name(template_id))
        if names not in self._kept:
            found = self._store.kept.hosts_of(*names)
            self._kept[names] = Kept(found[names[0]], frozenset(found[names[1]]))
        return self._kept[names]


def queue_of(
    settings: Settings,
    store: Store,
    *,
    per_subscription: int | None = None,
    capacities: Mapping[str, Room] = NOWHERE,
    only: Collection[str] | None = None,
) -> list[QueuePosition]:
    """The queue now, or (`per_subscription`) the front of it, which is enough to see who may start.

    `capacities` is as in `hosts_now`; with `only` none but these runs are looked at, as if no others waited.
    """
    return _queue(settings, store, per_subscription, capacities, only)[0]


def _queue(
    settings: Settings,
    store: Store,
    per_subscription: int | None,
    capacities: Mapping[str, Room],
    only: Collection[str] | None,
) -> tuple[list[QueuePosition], Mapping[str, int]]:
    """The queue, and the attempt that is next of every run that may start."""
    waiting = [
        Waiting(item.run_id, subscription_of(item.template_id), item.started)
        for item in store.queue.waiting(per_subscription=per_subscription if only is None else None)
        if only is None or item.run_id in only
    ]
    if not waiting:
        return [], {}
    placed = store.hosts.placed()
    others = _without_host(store, placed)
    template_ids = [*(run.template_id for run in placed), *(run.template_id for run in others)]
    going_on = Counter(map(subscription_of, template_ids))
    ordered = in_turn(waiting, Turns(going_on, store.queue.last_starts(limit=REMEMBERED_RUNS)))
    hosts = _hosts(store, placed, others, capacities)
    front = _Front(settings, store, [item.run_id for item in ordered], has_choice=len(hosts) > 1)
    found = positions(ordered, need_of=front.need, hosts=hosts)
    return found, front.attempts


def place(
    settings: Settings, store: Store, capacities: Mapping[str, Room], *, only: Collection[str] | None = None
) -> list[ReservationRow]:
    """Give waiting runs their hosts; returns the room that is kept for them. The rest is as in `queue_of`."""
    queue, attempts = _queue(settings, store, FRONT, capacities, only)
    rows = [
        ReservationRow(
            run_id=position.run_id,
            attempt=attempts[position.run_id],
            incarnation=position.incarnation,
            cpus=position.room.cpus,
            memory_mib=position.room.memory_mib,
            disk_mib=position.room.disk_mib,
            placed=0.0,
        )
        for position in queue
        if not position.reason
    ]
    if not rows:
        return []
    reasons = {position.run_id: position.why_there for position in queue}
    taken = set(store.hosts.reserve(rows, fits=functools.partial(fits, capacities=capacities), reasons=reasons))
    return [row for row in rows if row.run_id in taken]


def fits(host: HostRow, wanted: Sequence[ReservationRow], *, capacities: Mapping[str, Room] = NOWHERE) -> bool:
    """Whether a host has room for all that it would keep; pure. `capacities` is as in `hosts_now`."""
    return not reserved_by(wanted).missing(capacities.get(host.incarnation) or capacity_of(host))


def need_of_queued(
    settings: Settings, store: Store, run: RunRow, row: ResourceRow | None, kept: KeptOn = nowhere
) -> Need:
    """What a waiting run of a template needs; one whose template is gone ends as soon as it is let in."""
    if row is None:
        return Need(NOTHING)
    try:
        return _host_need(settings, store, row, frozenset(run.facts.get("host_faults", {})), kept)
    except StorageFailed:
        raise  # nothing is known of it
    except VmkilnError:
        return Need(NOTHING)  # it cannot be built, which is said when it starts
    except Exception:  # others would wait behind it for ever
        log.exception("what the run %s needs cannot be found out: it starts, and ends with the reason", run.run_id)
        return Need(NOTHING)
