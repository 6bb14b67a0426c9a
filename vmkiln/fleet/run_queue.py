"""The queue of runs as it is recorded: who waits, what each needs, what each host has promised."""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from vmkiln.azure_names import plain_location
from vmkiln.errors import StorageFailed, VmkilnError
from vmkiln.fleet.admission import Host, Kept, Need, QueuePosition, Turns, Waiting, in_turn, positions
from vmkiln.fleet.placement.forecast import MOST_FORESEEN
from vmkiln.fleet.placement.kept_sources import checkpoints_name, lent_name, source_name
from vmkiln.fleet.placement.known_templates import KnownTemplates
from vmkiln.run.room import NOTHING, Asked, Room, promised_to, room_for
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.queue_table import WaitingHead
from vmkiln.store.rows import HostRow, PlacedRun, ReservationRow, ResourceRow, RunRow

FRONT = 50  # more waiting runs of a subscription than are given a host in one look
REMEMBERED_RUNS = 500
READ_AT_ONCE = 4  # runs whose needs are read together: most looks let one in and see that the next waits
NOWHERE: Mapping[str, Room] = MappingProxyType({})
ISOLATION_TAG = "vmkiln.isolationLevel"  # a template that has it runs only on hosts of that level
ANYWHERE = ("", "local", "global")
log = logging.getLogger(__name__)


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
    """The live hosts with what they have promised: to runs of the queue, to those of `vmkiln build`, and beside runs.

    `capacities` has the room of a host at this moment, by its incarnation. It is less than the recorded room when the
    host's disk has filled up since.
    """
    found, _ = _hosts(store, store.hosts.placed(), store.queue.going_on_alone(), capacities)
    return found


def _hosts(
    store: Store, kept: Sequence[PlacedRun], others: Sequence[RunRow], capacities: Mapping[str, Room]
) -> tuple[list[Host], dict[str, Room]]:
    """The live hosts, and what of each is promised without a reservation, by its incarnation."""
    found, unreserved = list[Host](), dict[str, Room]()
    rooms = store.rooms.all()
    for row in store.hosts.live():
        capacity = capacities.get(row.incarnation) or capacity_of(row)
        mine = (run for run in others if run.facts.get("host_id", row.host_id) == row.host_id)
        promised = sum((promised_to(run).capped(capacity) for run in mine), NOTHING)
        beside = (Room(room.cpus, room.memory_mib, room.disk_mib) for room in rooms if room.host_id == row.host_id)
        promised += sum((room.capped(capacity) for room in beside), NOTHING)
        unreserved[row.incarnation] = promised
        promised += reserved_by(item for item in kept if item.incarnation == row.incarnation)
        found.append(host_of(row, capacity=capacity, promised=promised))
    return found, unreserved


class _Front:
    """The runs that wait, as their needs are asked for from the front of the queue: a few are read at once."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        order: Sequence[str] = (),
        templates: KnownTemplates | None = None,
        *,
        at_once: int = READ_AT_ONCE,
    ) -> None:
        self._settings = settings
        self._store = store
        self._order = order
        self._at_once = at_once
        self._templates = templates or KnownTemplates()
        self._places = {run_id: place for place, run_id in enumerate(order)}
        self._heads: dict[str, WaitingHead] = {}
        self._rows: dict[str, ResourceRow] = {}
        self._kept: dict[tuple[str, ...], Kept] = {}

    def need(self, run_id: str) -> Need:
        """What a run needs; one whose template is gone, or cannot be built, ends as soon as it is let in."""
        head = self.head(run_id)
        try:
            asked = self._asked(head)
            if asked is None:
                return Need(NOTHING)
            region = plain_location(head.location)
            return Need(
                room_for(self._settings, self._store, asked),
                region="" if region in ANYWHERE else region,
                isolation_level=head.tags.get(ISOLATION_TAG, ""),
                avoided=head.faulty,
            )
        except StorageFailed:
            raise  # nothing is known of it
        except VmkilnError:
            return Need(NOTHING)  # it cannot be built, which is said when it starts
        except Exception:  # others would wait behind it for ever
            log.exception("what the run %s needs cannot be found out: it starts, and ends with the reason", run_id)
            return Need(NOTHING)

    def kept(self, run_id: str) -> Kept:
        """Which hosts keep what a run may start from: asked once in a look for each template."""
        head = self.head(run_id)
        asked = self._templates.known(head.etag)
        if asked is None:  # what it needs could not be found out either
            return Kept()
        try:
            source = source_name(self._store, asked.source)
            names = (source, checkpoints_name(head.template_id), lent_name(head.template_id, source))
        except StorageFailed:
            raise
        except Exception:
            log.exception("what the run %s starts from cannot be found out: it goes to any host", run_id)
            return Kept()
        if names not in self._kept:
            found = self._store.kept.hosts_of(*names)
            self._kept[names] = Kept(found[names[0]], frozenset(found[names[1]]), frozenset(found[names[2]]))
        return self._kept[names]

    def head(self, run_id: str) -> WaitingHead:
        """A run of the front, and as much of its template."""
        if run_id not in self._heads:
            first = self._places[run_id]
            self._heads |= self._store.queue.heads(self._order[first : first + self._at_once])
        return self._heads[run_id]

    def _asked(self, head: WaitingHead) -> Asked | None:
        """What a run's template asks for, read where it is not known as it is now; none where it is gone."""
        if (found := self._templates.known(head.etag)) is not None:
            return found
        if head.etag and head.template_id not in self._rows:
            heads = [one for one in self._heads.values() if one.etag and self._templates.known(one.etag) is None]
            self._rows |= self._store.resources.by_id({one.template_id for one in heads})
        row = self._rows.get(head.template_id)
        return None if row is None else self._templates.learned(self._store, row)


@dataclass(frozen=True)
class Given:
    """What a look at the queue came to: the room that is kept from now on, and what another host was faster with."""

    taken: Sequence[ReservationRow] = ()
    lost: Sequence[ReservationRow] = ()


def queue_of(
    settings: Settings,
    store: Store,
    *,
    per_subscription: int | None = None,
    capacities: Mapping[str, Room] = NOWHERE,
    only: Collection[str] | None = None,
    templates: KnownTemplates | None = None,
) -> list[QueuePosition]:
    """The queue now, or (`per_subscription`) the front of it, which is enough to see who may start.

    `capacities` is as in `hosts_now`; with `only` none but these runs are looked at, as if no others waited.
    """
    return _queue(
        settings, store, capacities, per_subscription=per_subscription, only=only, templates=templates
    ).positions


@dataclass(frozen=True)
class Look:
    """What the queue is worked out of: who waits, in order, what each needs, the hosts, and the runs that go on.

    `head` gives a waiting run with a part of its template; those that are foreseen are read at once. `placed` have room
    of a host, `others` go on without.
    """

    ordered: Sequence[Waiting]
    head: Callable[[str], WaitingHead]
    need: Callable[[str], Need]
    hosts: Sequence[Host]
    placed: Sequence[PlacedRun]
    others: Sequence[RunRow]


def looked_at(
    settings: Settings,
    store: Store,
    *,
    capacities: Mapping[str, Room] = NOWHERE,
    templates: KnownTemplates | None = None,
) -> Look:
    """A look at the queue; the rest is as in `queue_of`."""
    rows = store.queue.waiting(per_subscription=FRONT)
    waiting = [Waiting(item.run_id, subscription_of(item.template_id), item.started) for item in rows]
    placed, others = store.hosts.placed(), store.queue.going_on_alone()
    ordered = _in_turn(store, waiting, placed, others)
    hosts, _ = _hosts(store, placed, others, capacities)
    front = _Front(settings, store, [item.run_id for item in ordered], templates, at_once=MOST_FORESEEN)
    return Look(ordered, front.head, front.need, hosts, placed, others)


def _in_turn(
    store: Store, waiting: Sequence[Waiting], placed: Sequence[PlacedRun], others: Sequence[RunRow]
) -> list[Waiting]:
    """The order of the queue, by the runs that go on and those that started last."""
    template_ids = [*(run.template_id for run in placed), *(run.template_id for run in others)]
    going_on = Counter(map(subscription_of, template_ids))
    return in_turn(waiting, Turns(going_on, store.queue.last_starts(limit=REMEMBERED_RUNS)))


@dataclass(frozen=True)
class _Queue:
    """The queue, who is in front of it, and what of each host is promised without a reservation."""

    positions: list[QueuePosition]
    front: _Front
    unreserved: Mapping[str, Room]


def _queue(
    settings: Settings,
    store: Store,
    capacities: Mapping[str, Room],
    *,
    per_subscription: int | None,
    only: Collection[str] | None,
    templates: KnownTemplates | None,
) -> _Queue:
    waiting = [
        Waiting(item.run_id, subscription_of(item.template_id), item.started)
        for item in store.queue.waiting(per_subscription=per_subscription if only is None else None)
        if only is None or item.run_id in only
    ]
    if not waiting:
        return _Queue([], _Front(settings, store), NOWHERE)
    placed = store.hosts.placed()
    others = store.queue.going_on_alone()
    ordered = _in_turn(store, waiting, placed, others)
    hosts, unreserved = _hosts(store, placed, others, capacities)
    front = _Front(settings, store, [item.run_id for item in ordered], templates)
    return _Queue(positions(ordered, need_of=front.need, hosts=hosts, kept_for=front.kept), front, unreserved)


def place(
    settings: Settings,
    store: Store,
    capacities: Mapping[str, Room],
    *,
    only: Collection[str] | None = None,
    own: str = "",
    templates: KnownTemplates | None = None,
) -> Given:
    """Give waiting runs their hosts. The rest is as in `queue_of`.

    With `own` none but the host of this incarnation gets any: those that another one may have wait for it.
    """
    queue = _queue(settings, store, capacities, per_subscription=FRONT, only=only, templates=templates)
    rows = [
        ReservationRow(
            run_id=position.run_id,
            attempt=queue.front.head(position.run_id).attempt,
            incarnation=position.incarnation,
            cpus=position.room.cpus,
            memory_mib=position.room.memory_mib,
            disk_mib=position.room.disk_mib,
            placed=0.0,
        )
        for position in queue.positions
        if not position.reason and own in ("", position.incarnation)
    ]
    if not rows:
        return Given()
    reasons = {position.run_id: position.why_there for position in queue.positions}
    has_room = functools.partial(fits, capacities=capacities, unreserved=queue.unreserved)
    taken = set(store.hosts.reserve(rows, fits=has_room, reasons=reasons))
    return Given([row for row in rows if row.run_id in taken], [row for row in rows if row.run_id not in taken])


def fits(
    host: HostRow,
    wanted: Sequence[ReservationRow],
    *,
    capacities: Mapping[str, Room] = NOWHERE,
    unreserved: Mapping[str, Room] = NOWHERE,
) -> bool:
    """Whether a host has room for all that it would keep, beside what it promised without a reservation; pure.

    `capacities` is as in `hosts_now`. Two that look at once each see the room of the other's run free.
    """
    promised = reserved_by(wanted) + unreserved.get(host.incarnation, NOTHING)
    return not promised.missing(capacities.get(host.incarnation) or capacity_of(host))
