"""Hosts with their leases, the room they keep for runs, and what becomes of the runs of a host that died.

A host is alive as long as its lease lasts by the database's own clock, so no two clocks are compared. Whoever finds a
lease that ran out marks the host dead, for ever: it comes back only as another incarnation, one life of a
host's process. A run is given to one host at a time. Its reservation says to which, and nothing of the run can be
written without it (`engine.fenced`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from vmkiln.azure_names import STORAGE_ACCOUNT
from vmkiln.errors import InputError, RunCanceled
from vmkiln.run_state import RunState
from vmkiln.store.driver.database_time import database_clock, database_time
from vmkiln.store.driver.server_clock import asking
from vmkiln.store.engine import Connections
from vmkiln.store.rows import HostFault, HostRow, PlacedRun, ReservationRow, ResourceState, asked_for_at, attempt_of
from vmkiln.store.run_facts import RunFacts
from vmkiln.store.tables import hosts, phases, reservations, runs, staging_resources, taken_rooms

DESCRIBED = (
    "name",
    "architecture",
    "isolation_level",
    "region",
    "cpus",
    "memory_mib",
    "disk_mib",
    "unready",
    "unready_reason",
)
MOST_FAULTS = 2  # of one host with one run, before the host is no place for that run any more
RUN_LOST = "RunLost"
NO_REASONS: Mapping[str, str] = MappingProxyType({})
LOST = "the process of this run died before the run ended"

PLACED = sa.select(
    *(column for column in reservations.c if column.name != "placed"), runs.c.state, runs.c.template_id
).join(runs, runs.c.run_id == reservations.c.run_id)
FACTS_WAITING = sa.select(runs.c.run_id, runs.c.facts).where(
    runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True)),
    runs.c.state == RunState.QUEUED,
    runs.c.run_id.not_in(sa.select(reservations.c.run_id)),
)
RESERVED = reservations.insert().values(placed=database_clock())
NEW_FACTS = (
    runs.update().where(runs.c.run_id == sa.bindparam("of_run")).values(facts=sa.bindparam("new_facts", type_=sa.JSON))
)
PLACED_ON = PLACED.where(reservations.c.incarnation == sa.bindparam("of_incarnation"))


RENEWED = (
    hosts.update()
    .where(hosts.c.incarnation == sa.bindparam("of_host"), hosts.c.is_dead.is_(False))
    .values(lease_until=database_clock() + sa.bindparam("seconds", type_=sa.Float))
    .returning(hosts.c.lease_until)
)
ORPHANED = PLACED.where(reservations.c.incarnation.in_(sa.select(hosts.c.incarnation).where(hosts.c.is_dead)))


class HostTable:
    """Hosts and reservations."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def now(self) -> float:
        """The database's time, in seconds since 1970."""
        with self._connections.reading() as connection:
            return database_time(connection)

    # leases

    def register(self, host: HostRow, *, lease_seconds: float) -> HostRow:
        """Record a host that starts: its earlier incarnations are dead from now on, and it drains if it did before.

        Raises: `InputError` when another live host has its name.
        """
        with self._connections.begin() as connection:
            now = database_time(connection)
            same_name = sa.and_(hosts.c.name == host.name, hosts.c.host_id != host.host_id, is_alive())
            if connection.execute(sa.select(hosts.c.incarnation).where(same_name)).first() is not None:
                raise InputError(
                    f"another host named {host.name} is at work in this database",
                    hint="give this one its own name (`--name`), or wait until the other one's lease has run out",
                )
            earlier = hosts.c.host_id == host.host_id
            newest = sa.select(hosts.c.is_draining).where(earlier).order_by(hosts.c.started.desc()).limit(1)
            is_draining = bool(connection.execute(newest).scalar())
            connection.execute(hosts.update().where(earlier).values(is_dead=True))
            row = replace(host, is_draining=is_draining, started=now, lease_until=now + lease_seconds)
            connection.execute(hosts.insert().values(**vars(row)))
        return row

    def forget(self, *, kept_seconds: float) -> None:
        """Forget incarnations that are dead for longer than that and keep no room; until then they can be looked at.

        That a host drains is on its newest row alone, and counts when it comes back. What of a host that is forgotten
        was taken beside runs goes with it: nobody else gives that back.
        """
        kept = sa.select(reservations.c.incarnation)
        later = hosts.alias()
        is_newest = ~(
            sa.exists().where(later.c.host_id == hosts.c.host_id, later.c.started > hosts.c.started).correlate(hosts)
        )
        old = sa.and_(hosts.c.is_dead, hosts.c.lease_until < database_clock() - kept_seconds)
        old = sa.and_(old, ~sa.and_(hosts.c.is_draining, is_newest))
        with self._connections.begin() as connection:
            gone = set(connection.execute(sa.select(hosts.c.host_id).where(old)).scalars())
            connection.execute(hosts.delete().where(old, hosts.c.incarnation.not_in(kept)))
            of_gone = taken_rooms.c.host_id.in_(gone), taken_rooms.c.host_id.not_in(sa.select(hosts.c.host_id))
            if gone:
                connection.execute(taken_rooms.delete().where(*of_gone))

    def renew(self, incarnation: str, *, lease_seconds: float) -> bool:
        """Make a host's lease last from now; false when it was given up for dead.

        One statement on a connection of its own, which tells besides what time it is. It waits for nobody who writes
        something else: a row is one host's, and who gives it up finds out by that row (`give_up`).
        """
        with asking(self._connections.clock) as heard, self._connections.renewing() as connection:
            until = connection.execute(RENEWED, {"of_host": incarnation, "seconds": lease_seconds}).scalar()
            if until is not None:
                heard(until - lease_seconds)
        return until is not None

    def describe(self, incarnation: str, **values: str | int) -> None:
        """Record what a host has now: CPUs, memory and disk (MiB), isolation level, what keeps it from building."""
        if unknown := set(values) - set(DESCRIBED):
            raise TypeError(f"a host has no {unknown}")
        with self._connections.begin() as connection:
            connection.execute(hosts.update().where(hosts.c.incarnation == incarnation).values(**values))

    def leave(self, incarnation: str, *, is_brief: bool = False) -> None:
        """Record that a host ends in order: it gets no runs any more, and what it still has is given to others.

        One that was given up for dead before stays dead. One that `is_brief`, a command that built for itself, is
        forgotten when it has nothing: it is no host that anybody looks for. One that drains counts when it comes back.
        """
        with self._connections.begin() as connection:
            mine = sa.and_(hosts.c.incarnation == incarnation, hosts.c.is_dead.is_(False))
            left = connection.execute(hosts.update().where(mine).values(is_dead=True, is_stopped=True)).rowcount
            if is_brief and left:
                kept = sa.select(reservations.c.incarnation)
                ours = hosts.c.incarnation == incarnation, hosts.c.incarnation.not_in(kept)
                connection.execute(hosts.delete().where(*ours, hosts.c.is_draining.is_(False)))

    def give_up(self, *, besides: str, may: Callable[[], bool] = lambda: True) -> list[HostRow]:
        """Mark hosts dead whose lease has run out, but never the one who asks (`besides`); returns them.

        None is marked when whoever asks `may` not, which is asked last, with the writers' lock: the way there may have
        led through an outage. What a host renews meanwhile counts: each row is judged as it is written.
        """
        if not self._found(_has_run_out(besides)):
            return []
        with self._connections.begin() as connection:
            lapsed = _has_run_out(besides)
            if not may():
                return []
            dead = hosts.update().where(lapsed).values(is_dead=True).returning(*hosts.c)
            return [HostRow(**_values(row)) for row in connection.execute(dead).mappings()]

    def drain(self, name: str, *, is_draining: bool) -> None:
        """Let a host finish what it has and give it nothing new, or take that back. Raises: `InputError`."""
        with self._connections.begin() as connection:
            newest = (
                sa.select(hosts.c.incarnation).where(hosts.c.name == name).order_by(hosts.c.started.desc()).limit(1)
            )
            incarnation = connection.execute(newest).scalar()
            if incarnation is None:
                raise InputError(f"there is no host named {name}", hint="`vmkiln host list` shows them")
            connection.execute(hosts.update().where(hosts.c.incarnation == incarnation).values(is_draining=is_draining))

    def live(self) -> list[HostRow]:
        """Hosts whose lease lasts, by name."""
        return self._found(is_alive())

    def all(self) -> list[HostRow]:
        """The newest incarnation of every host, dead ones too, by name."""
        rows = self._found(sa.true())
        newest: dict[str, HostRow] = {}
        for row in sorted(rows, key=lambda row: row.started):
            newest[row.host_id] = row
        return sorted(newest.values(), key=lambda row: row.name)

    # reservations

    def reservations(self) -> list[ReservationRow]:
        """All room that is kept."""
        return [ReservationRow(**_values(row)) for row in self._connections.rows(sa.select(reservations))]

    def placed(self, *, incarnation: str | None = None) -> list[PlacedRun]:
        """The runs that a host, or any host, keeps room for."""
        return self._placed(PLACED) if incarnation is None else self._placed(PLACED_ON, of_incarnation=incarnation)

    def orphans(self) -> list[PlacedRun]:
        """The runs that dead hosts keep room for."""
        return self._placed(ORPHANED)

    def _placed(self, query: "sa.Select[Any]", **values: str) -> list[PlacedRun]:
        rows = self._connections.rows(query, values)
        return [PlacedRun(**{**_values(row), "state": RunState(row["state"])}) for row in rows]

    def reserve(
        self,
        rows: Sequence[ReservationRow],
        *,
        fits: Callable[[HostRow, Sequence[ReservationRow]], bool],
        reasons: Mapping[str, str] = NO_REASONS,
    ) -> list[str]:
        """Keep room for runs that wait; those that were taken, ended or cancelled meanwhile are left out.

        `fits` judges a host and all that it would then keep, inside the transaction, so that no two processes give the
        same room away. `reasons` says by run why it gets this host, which stays on record with the run. Returns the ids
        of the runs that got their room.
        """
        taken: list[ReservationRow] = []
        names = [row.run_id for row in rows]
        with self._connections.begin() as connection:
            alive = {row.incarnation: row for row in self._hosts(connection, is_alive())}
            kept = [ReservationRow(**_values(row)) for row in connection.execute(sa.select(reservations)).mappings()]
            waiting = {row.run_id: row.facts for row in connection.execute(FACTS_WAITING, {"run_ids": names})}
            for row in rows:
                host = alive.get(row.incarnation)
                if host is None or host.is_draining or host.unready:
                    continue
                if row.run_id not in waiting or attempt_of(waiting[row.run_id]) != row.attempt:
                    continue
                if fits(host, [*(other for other in kept if other.incarnation == row.incarnation), row]):
                    kept.append(row)
                    taken.append(row)
            if taken:
                values = [{name: value for name, value in vars(row).items() if name != "placed"} for row in taken]
                connection.execute(RESERVED, values)
            told = [row.run_id for row in taken if reasons.get(row.run_id)]
            if told:
                facts = {run_id: {**waiting[run_id], "placement": reasons[run_id]} for run_id in told}
                connection.execute(NEW_FACTS, [{"of_run": name, "new_facts": new} for name, new in facts.items()])
        return [row.run_id for row in taken]

    def release(self, run_id: str, *, incarnation: str, attempt: int) -> bool:
        """Give back the room of an attempt that is over; false when that host had none for it."""
        return self._connections.change(_kept_for(run_id, incarnation, attempt)) == 1

    def release_ended(self, run_id: str, *, incarnation: str, attempt: int) -> bool:
        """The same where the run has ended; false when it has not, or the host had no room for it."""
        has_ended = sa.exists().where(runs.c.run_id == run_id, runs.c.ended.is_not(None))
        return self._connections.change(_kept_for(run_id, incarnation, attempt).where(has_ended)) == 1

    def withdraw(self, run_id: str, *, incarnation: str, most_attempts: int) -> str:
        """Take a run from a host that lost it, in one step with what becomes of it; returns its state then.

        One that was to be cancelled is Canceled, one that was begun often enough has Failed, any other waits again.
        Returns '' when the host did not have it any more.
        """
        with self._connections.begin() as connection:
            mine = sa.and_(reservations.c.run_id == run_id, reservations.c.incarnation == incarnation)
            if connection.execute(reservations.delete().where(mine)).rowcount != 1:
                return ""
            return end_lost(connection, run_id, most_attempts=most_attempts, now=self._connections.now())

    def put_back(self, run_id: str, *, incarnation: str, fault: HostFault, most_attempts: int) -> str:
        """Take a run from a host that cannot go on with it, and take the host for not ready until it was looked into.

        One step, so that the host gets no other run meanwhile. The run waits again as long as a live host is left with
        which it had fewer than `MOST_FAULTS` faults and it was not begun `most_attempts` times; else it ends Failed
        with what the fault says. Returns its state then, '' when the host did not have it any more.
        """
        with self._connections.begin() as connection:
            mine = sa.and_(reservations.c.run_id == run_id, reservations.c.incarnation == incarnation)
            if connection.execute(reservations.delete().where(mine)).rowcount != 1:
                return ""
            facts = connection.execute(sa.select(runs.c.facts).where(runs.c.run_id == run_id)).scalar_one()
            faults = Counter(facts.get("host_faults", {}))
            alive = self._hosts(connection, is_alive())
            faults.update(host.name for host in alive if host.incarnation == incarnation)
            values = {"facts": {**facts, "host_faults": dict(faults)}}
            connection.execute(runs.update().where(runs.c.run_id == run_id).values(**values))
            unready = {"unready": fault.code, "unready_reason": fault.reason}
            connection.execute(hosts.update().where(hosts.c.incarnation == incarnation).values(**unready))
            most = most_attempts if any(faults[host.name] < MOST_FAULTS for host in alive) else 0
            return end_lost(connection, run_id, most_attempts=most, now=self._connections.now(), fault=fault)

    def _found(self, where: "sa.ColumnElement[bool]") -> list[HostRow]:
        return [HostRow(**_values(row)) for row in self._connections.rows(_that(where))]

    def _hosts(self, connection: Connection, where: "sa.ColumnElement[bool]") -> list[HostRow]:
        return [HostRow(**_values(row)) for row in connection.execute(_that(where)).mappings()]


def end_lost(
    connection: Connection, run_id: str, *, most_attempts: int, now: datetime, fault: HostFault | None = None
) -> str:
    """What becomes of a run whose process died, inside a transaction; returns its state then ('' when it had ended).

    With a `fault` its process lives, and cannot go on with it.
    """
    same = runs.c.run_id == run_id
    found = connection.execute(
        sa.select(runs.c.state, runs.c.facts, runs.c.template_id, runs.c.ended).where(same)
    ).first()
    if found is None or found.ended is not None:
        return ""
    attempt = 1 + attempt_of(found.facts)
    values: dict[str, object] = {"sub_state": ""}
    if found.state == RunState.CANCELING:
        values |= {
            "state": RunState.CANCELED,
            "message": "the run was cancelled",
            "error_code": RunCanceled.code,
            "ended": now,
        }
    elif found.template_id and attempt <= most_attempts:
        values |= {"state": RunState.QUEUED, "facts": {**found.facts, "attempt": attempt}, **asked_for_at(found.facts)}
    else:
        message = f"{LOST}{_way_on(run_id, found.facts)}"
        lost = fault or HostFault(RUN_LOST, message, message)
        values |= {"state": RunState.FAILED, "message": lost.told, "error_code": lost.code, "ended": now}
    connection.execute(runs.update().where(same).values(**values))
    current = sa.and_(phases.c.run_id == run_id, phases.c.ended.is_(None))
    connection.execute(phases.update().where(current).values(ended=now))
    there = sa.and_(
        staging_resources.c.run_id == run_id,
        staging_resources.c.state != ResourceState.DELETED,
        staging_resources.c.type != STORAGE_ACCOUNT,
    )
    connection.execute(staging_resources.update().where(there).values(state=ResourceState.DELETED, deleted=now))
    return str(values["state"])


def _way_on(run_id: str, facts: RunFacts | None) -> str:
    """How the user of a killed `vmkiln build` goes on, in words; '' when there is nothing to go on from."""
    finished = (facts or {}).get("finished")
    if not finished or not finished["until"]:
        return ""
    until = datetime.fromisoformat(finished["until"])
    command = f"`vmkiln build TEMPLATE --resume {run_id[:8]}`"
    return f"; {command} goes on from its customized disk, which is kept until {until:%Y-%m-%d %H:%M} UTC"


def _kept_for(run_id: str, incarnation: str, attempt: int) -> sa.Delete:
    mine = reservations.c.run_id == run_id, reservations.c.incarnation == incarnation
    return reservations.delete().where(*mine, reservations.c.attempt == attempt)


def _that(where: "sa.ColumnElement[bool]") -> "sa.Select[Any]":
    return sa.select(hosts).where(where).order_by(hosts.c.name, hosts.c.started)


def is_alive() -> "sa.ColumnElement[bool]":
    """Whether a host's lease lasts, by the clock of the database."""
    return sa.and_(hosts.c.is_dead.is_(False), hosts.c.lease_until >= database_clock())


def _has_run_out(besides: str) -> "sa.ColumnElement[bool]":
    return sa.and_(hosts.c.is_dead.is_(False), hosts.c.lease_until < database_clock(), hosts.c.incarnation != besides)


def _values(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    """A row by the names of its fields: the database has an incarnation in the column `boot`, as 0.1.0 called it."""
    return {"incarnation" if name == "boot" else name: value for name, value in row.items()}
