"""Hosts, leases and reservations, in SQLite and in PostgreSQL."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime

import pytest
from postgresql import Cluster
from two_databases import server, store

from vmkiln.errors import InputError, RunTakenOver
from vmkiln.fleet.run_queue import fits
from vmkiln.store.database import Store, opened
from vmkiln.store.hosts.room_table import TakenRoom
from vmkiln.store.rows import HostFault, HostRow, ReservationRow, RunRow
from vmkiln.store.tables import reservations

__all__ = ["server", "store"]  # the fixtures

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEMPLATE = "/subscriptions/s/resourcegroups/rg/providers/microsoft.virtualmachineimages/imagetemplates/web"


def a_host(name: str, *, incarnation: str = "", cpus: int = 4) -> HostRow:
    return HostRow(incarnation or f"{name}-incarnation", f"{name}-id", name, "x64", "emulated", "", cpus, 8192, 10_000)


def register(store: Store, name: str, *, incarnation: str = "", lease_seconds: float = 60.0) -> HostRow:
    return store.hosts.register(a_host(name, incarnation=incarnation), lease_seconds=lease_seconds)


def a_run(store: Store, run_id: str, *, state: str = "Queued", template_id: str = TEMPLATE) -> None:
    store.runs.add(RunRow(run_id, "web", "rg", {}, state, "", "", "", "", {}, NOW, None, template_id))


def reserve(store: Store, run_id: str, *, incarnation: str, cpus: int = 2, attempt: int = 1) -> list[str]:
    return store.hosts.reserve([ReservationRow(run_id, attempt, incarnation, cpus, 1024, 1024, 0.0)], fits=fits)


def test_a_host_is_given_up_when_its_lease_has_lasted_since_its_renewal(store: Store) -> None:
    register(store, "a")
    register(store, "b")
    assert [host.name for host in store.hosts.live()] == ["a", "b"]
    assert store.hosts.renew("a-incarnation", lease_seconds=60.0)
    assert store.hosts.give_up(besides="b-incarnation") == []
    assert store.hosts.renew("a-incarnation", lease_seconds=-0.1)  # as it stands there when so long has passed
    assert [host.name for host in store.hosts.live()] == ["b"]
    assert [host.name for host in store.hosts.give_up(besides="b-incarnation")] == ["a"]
    assert not store.hosts.renew("a-incarnation", lease_seconds=60), (
        "a dead host comes back only as another incarnation"
    )
    assert [host.is_dead for host in store.hosts.all()] == [True, False]


def test_a_lease_is_renewed_while_somebody_else_writes_for_long(server: Cluster) -> None:
    with opened(server.new_database()) as store:
        register(store, "a", lease_seconds=0.01)
        time.sleep(0.02)
        with store.connections.begin(), ThreadPoolExecutor(1) as pool:
            assert pool.submit(store.hosts.renew, "a-incarnation", lease_seconds=60.0).result(10)
        assert store.hosts.give_up(besides="") == []


def test_who_may_not_gives_nobody_up(store: Store) -> None:
    register(store, "a", lease_seconds=0.05)
    time.sleep(0.1)
    assert store.hosts.give_up(besides="b-incarnation", may=lambda: False) == []
    assert store.hosts.renew("a-incarnation", lease_seconds=60)


def test_nobody_gives_itself_up(store: Store) -> None:
    register(store, "a", lease_seconds=0.05)
    time.sleep(0.1)
    assert store.hosts.give_up(besides="a-incarnation") == []
    assert store.hosts.renew("a-incarnation", lease_seconds=60)


def test_a_host_that_starts_anew_gives_its_earlier_boot_up_at_once(store: Store) -> None:
    register(store, "a", incarnation="first")
    a_run(store, "r1")
    assert reserve(store, "r1", incarnation="first") == ["r1"]
    register(store, "a", incarnation="second")
    assert [placed.run_id for placed in store.hosts.orphans()] == ["r1"]
    assert [host.incarnation for host in store.hosts.all()] == ["second"]


def test_why_a_run_is_on_its_host_stays_on_record_with_what_was_known(store: Store) -> None:
    register(store, "a")
    for run_id, state in (("r1", "Queued"), ("r2", "Canceled")):
        store.runs.add(RunRow(run_id, "web", "rg", {}, state, "", "", "", "", {"attempt": 2}, NOW, None, TEMPLATE))
    rows = [ReservationRow(run_id, 2, "a-incarnation", 2, 1024, 1024, 0.0) for run_id in ("r1", "r2")]
    reasons = {"r1": "it is the only host", "r2": "it is the only host"}
    assert store.hosts.reserve(rows, fits=fits, reasons=reasons) == ["r1"]
    assert store.runs.find("r1").facts == {"attempt": 2, "placement": "it is the only host"}
    assert store.runs.find("r2").facts == {"attempt": 2}
    assert store.runs.start(store.runs.find("r1"))
    assert store.runs.find("r1").facts["placement"] == "it is the only host"


def test_a_name_is_one_live_hosts_only(store: Store) -> None:
    register(store, "a", lease_seconds=0.2)
    other = HostRow("x", "another-id", "a", "x64", "", "", 1, 1, 1)
    with pytest.raises(InputError, match="another host named a") as raised:
        store.hosts.register(other, lease_seconds=60)
    assert raised.value.hint is not None
    time.sleep(0.3)
    store.hosts.register(other, lease_seconds=60)


def test_a_drained_host_gets_nothing_new_also_when_it_starts_again(store: Store) -> None:
    register(store, "a", incarnation="first")
    store.hosts.drain("a", is_draining=True)
    a_run(store, "r1")
    assert reserve(store, "r1", incarnation="first") == []
    assert register(store, "a", incarnation="second").is_draining
    store.hosts.drain("a", is_draining=False)
    assert reserve(store, "r1", incarnation="second") == ["r1"]
    with pytest.raises(InputError, match="no host named z"):
        store.hosts.drain("z", is_draining=True)


def test_room_is_kept_once_however_many_ask_at_once(store: Store) -> None:
    register(store, "a")
    register(store, "b")
    for number in range(12):
        a_run(store, f"r{number}", template_id=f"{TEMPLATE}{number}")
    got: list[str] = []
    errors: list[BaseException] = []

    def ask(incarnation: str) -> None:
        try:
            for number in range(12):
                got.extend(reserve(store, f"r{number}", incarnation=incarnation))
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=ask, args=[incarnation]) for incarnation in ("a-incarnation", "b-incarnation") * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    kept = store.hosts.reservations()
    assert sorted(got) == sorted(row.run_id for row in kept)
    assert len(set(got)) == 4, "two hosts with room for two each"
    assert {
        incarnation: sum(row.cpus for row in kept if row.incarnation == incarnation)
        for incarnation in ("a-incarnation", "b-incarnation")
    } == {
        "a-incarnation": 4,
        "b-incarnation": 4,
    }


def test_only_a_run_that_waits_is_given_to_a_live_host(store: Store) -> None:
    register(store, "dead", lease_seconds=0.05)
    register(store, "a")
    time.sleep(0.1)
    a_run(store, "cancelled", state="Canceled")
    a_run(store, "waits")
    assert reserve(store, "cancelled", incarnation="a-incarnation") == []
    assert reserve(store, "waits", incarnation="dead-incarnation") == []
    assert reserve(store, "waits", incarnation="a-incarnation") == ["waits"]
    assert store.queue.waiting() == [], "it has its host"


@pytest.mark.parametrize(
    ("state", "attempts", "end"),
    [
        ("Running", 10, "Queued"),
        ("Queued", 10, "Queued"),
        ("Canceling", 10, "Canceled"),
        ("Running", 1, "Failed"),
        ("Succeeded", 10, ""),
    ],
)
def test_what_becomes_of_a_run_whose_host_died(store: Store, state: str, attempts: int, end: str) -> None:
    register(store, "a")
    a_run(store, "r1")
    reserve(store, "r1", incarnation="a-incarnation")
    store.runs.move("r1", expected=["Queued"], state=state)
    store.runs.begin_phase("r1", "Customizing")
    for again in (end, ""):
        assert store.hosts.withdraw("r1", incarnation="a-incarnation", most_attempts=attempts) == again
    run = store.runs.find("r1")
    assert run.state == (end or state)
    assert store.hosts.reservations() == []
    if end == "Queued":
        assert run.facts["attempt"] == 2
        assert [phase.ended is None for phase in store.runs.phases_of("r1")] == [False]
    if end == "Failed":
        assert run.error_code == "RunLost"


UNFIT = HostFault("HostUnfit", "Packer is not installed in /opt", "Packer is not installed")


def test_a_run_that_met_a_fault_waits_again_and_its_host_is_not_ready(store: Store) -> None:
    register(store, "a")
    register(store, "b")
    a_run(store, "r1")
    a_run(store, "r2", template_id=f"{TEMPLATE}2")
    reserve(store, "r1", incarnation="a-incarnation")
    assert store.hosts.put_back("r1", incarnation="b-incarnation", fault=UNFIT, most_attempts=10) == "", "not its own"
    assert store.hosts.put_back("r1", incarnation="a-incarnation", fault=UNFIT, most_attempts=10) == "Queued"
    run = store.runs.find("r1")
    assert (run.facts["host_faults"], run.attempt) == ({"a": 1}, 2)
    [a, b] = store.hosts.live()
    assert (a.state_at(a.started), a.unready, a.unready_reason) == ("NotReady", "HostUnfit", UNFIT.reason)
    assert b.state_at(b.started) == "Ready"
    assert reserve(store, "r2", incarnation="a-incarnation") == [], "it gets nothing"
    assert reserve(store, "r2", incarnation="b-incarnation") == ["r2"]


def test_a_run_is_put_back_so_often_with_each_host_and_then_fails(store: Store) -> None:
    register(store, "a")
    register(store, "b")
    a_run(store, "r1")
    ends = []
    for name in "aabb":
        store.hosts.describe(f"{name}-incarnation", unready="", unready_reason="")
        attempt = store.runs.find("r1").attempt
        assert reserve(store, "r1", incarnation=f"{name}-incarnation", attempt=attempt) == ["r1"]
        ends.append(store.hosts.put_back("r1", incarnation=f"{name}-incarnation", fault=UNFIT, most_attempts=10))
    assert ends == ["Queued", "Queued", "Queued", "Failed"]
    run = store.runs.find("r1")
    assert (run.error_code, run.message) == ("HostUnfit", "Packer is not installed"), "no path of the host"


def test_a_host_that_was_stopped_is_told_from_a_dead_one(store: Store) -> None:
    register(store, "a")
    register(store, "b", lease_seconds=0.05)
    time.sleep(0.1)
    store.hosts.give_up(besides="a-incarnation")
    for name in ("a", "b"):
        store.hosts.leave(f"{name}-incarnation")
    assert [host.state_at(store.hosts.now()) for host in store.hosts.all()] == ["Stopped", "Dead"]


@pytest.mark.parametrize("keeps", ["nothing", "a run", "its draining", "its death"])
def test_a_command_that_built_for_itself_is_no_host_afterwards(store: Store, keeps: str) -> None:
    """Each `vmkiln template run` without a service left a host that was Stopped, for a day."""
    register(store, "a", lease_seconds=0.05 if keeps == "its death" else 60.0)
    if keeps == "a run":
        a_run(store, "r1")
        assert reserve(store, "r1", incarnation="a-incarnation") == ["r1"]
    elif keeps == "its draining":
        store.hosts.drain("a", is_draining=True)
    elif keeps == "its death":
        time.sleep(0.1)
        store.hosts.give_up(besides="")
    store.hosts.leave("a-incarnation", is_brief=True)
    assert [host.name for host in store.hosts.all()] == ([] if keeps == "nothing" else ["a"])


def writes(store: Store) -> Sequence[tuple[str, object]]:
    """Everything that a run's host may write of it."""
    return [
        ("move_run", lambda: store.runs.move("r1", expected=["Running"], state="Succeeded")),
        ("begin_phase", lambda: store.runs.begin_phase("r1", "Customizing")),
        ("add_facts", lambda: store.runs.add_facts("r1", a=1)),
        ("requeue_run", lambda: store.runs.requeue("r1", most_attempts=10)),
        ("add_resource", lambda: store.staging.add_resource("g", run_id="r1", type="t", name="n", detail={})),
    ]


def test_a_host_that_loses_a_run_while_it_waits_to_write_writes_nothing(store: Store) -> None:
    """What was decided while it waited for the write lock counts, and not what it saw before."""
    register(store, "a")
    a_run(store, "r1")
    reserve(store, "r1", incarnation="a-incarnation")
    mine = store.fenced("r1", incarnation="a-incarnation")
    with ThreadPoolExecutor(1) as pool:
        with store.connections.begin() as connection:
            writing = pool.submit(mine.runs.begin_phase, "r1", "Building")
            assert not wait([writing], timeout=0.5).done, "it waits for the one who writes"
            connection.execute(reservations.delete())
        with pytest.raises(RunTakenOver):
            writing.result(30)
    assert store.runs.phases_of("r1") == []


def test_a_host_writes_for_a_run_only_while_it_has_it(store: Store) -> None:
    register(store, "a")
    register(store, "b")
    a_run(store, "r1")
    reserve(store, "r1", incarnation="a-incarnation")
    mine = store.fenced("r1", incarnation="a-incarnation")
    store.staging.add_group("g", run_id="r1", storage_account="acc", tags={})
    for _, write in writes(mine)[1:4]:
        write()  # type: ignore[operator]
    store.hosts.withdraw("r1", incarnation="a-incarnation", most_attempts=10)
    reserve(store, "r1", incarnation="b-incarnation", attempt=2)
    before = (store.runs.find("r1"), store.runs.phases_of("r1"), store.staging.resources_of("g"))
    for name, write in writes(mine):
        with pytest.raises(RunTakenOver):
            write()  # type: ignore[operator]
        assert (store.runs.find("r1"), store.runs.phases_of("r1"), store.staging.resources_of("g")) == before, name
    store.fenced("r1", incarnation="b-incarnation").runs.add_facts("r1", b=2)
    assert store.runs.find("r1").facts["b"] == 2


def test_a_host_that_drained_drains_when_it_comes_back_however_late(store: Store) -> None:
    for incarnation in ("first", "second"):
        store.hosts.register(a_host("a", incarnation=incarnation), lease_seconds=0.01)
        store.hosts.drain("a", is_draining=True)
    time.sleep(0.05)
    store.hosts.leave("second")
    store.hosts.forget(kept_seconds=0)
    assert [host.incarnation for host in store.hosts.all()] == ["second"]
    assert store.hosts.register(a_host("a", incarnation="third"), lease_seconds=60).is_draining


def test_room_that_a_forgotten_host_had_taken_is_forgotten_with_it(store: Store) -> None:
    """Each look at the queue reads all of it, and a machine that is gone gives none back."""
    for name in ("gone", "here"):
        register(store, name, incarnation=f"{name}-first", lease_seconds=0.01)
        of_host = a_host(name, incarnation="").host_id
        store.rooms.take(TakenRoom(f"of {name}", of_host, "saving", cpus=1, memory_mib=1, disk_mib=1))
    store.rooms.take(TakenRoom("of a command", "no service is there", "saving", cpus=1, memory_mib=1, disk_mib=1))
    time.sleep(0.05)
    store.hosts.register(a_host("here", incarnation="second"), lease_seconds=60)
    store.hosts.leave("gone-first")
    store.hosts.forget(kept_seconds=0)
    assert {room.room_id for room in store.rooms.all()} == {"of here", "of a command"}


def test_a_dead_boot_is_forgotten_when_it_keeps_nothing(store: Store) -> None:
    register(store, "a", incarnation="first", lease_seconds=0.01)
    time.sleep(0.05)
    store.hosts.register(a_host("a", incarnation="second"), lease_seconds=60)
    store.hosts.forget(kept_seconds=0)
    with pytest.raises(InputError):
        store.hosts.drain("nobody", is_draining=True)
    assert [host.incarnation for host in store.hosts.all()] == ["second"]
    assert not store.hosts.renew("first", lease_seconds=1)
