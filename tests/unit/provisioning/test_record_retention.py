"""Records that are only ever added go when they are old or too many; what goes on, and what leads to more, stays."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql import Cluster, cluster

from vmkiln.azure_names import OperationStatus
from vmkiln.provisioning import record_retention
from vmkiln.provisioning.record_retention import forget_requests, forget_runs, most_deployments
from vmkiln.provisioning.watching import is_suspended
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.bounded import old_records
from vmkiln.store.bounded.old_records import OldRecords
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow, RunRow
from vmkiln.store.tables import operations, phases, runs, staging_groups, staging_resources

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
LOCK = "Microsoft.Authorization/locks"
DEPLOYMENT = "Microsoft.Resources/deployments"
SCRIPT = "Microsoft.Resources/deploymentScripts"
TRIGGER = "Microsoft.VirtualMachineImages/imageTemplates/triggers"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


class Clock:
    """Says what it is told."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, server: Cluster, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    place = server.new_database() if request.param == "postgresql" else tmp_path / "vmkiln.sqlite"
    with opened(place, clock=clock, home=tmp_path) as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, operations_kept_days=7.0, runs_kept_days=30.0)


def count_of(store: Store, table: sa.Table) -> int:
    with store.connections.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() or 0)


def begun(store: Store, *, run_id: str = "", is_done: bool = False, subscription: str = SUBSCRIPTION) -> str:
    row = store.operations.begin(
        "update", subscription_id=subscription, location="l", resource_id=GROUP, run_id=run_id, is_done=is_done
    )
    return row.operation_id


def a_run(
    store: Store, run_id: str, *, days: float | None, template: str = "t", group: str = "", hours: float = 1
) -> None:
    """A run that ended so many days ago; without days, one that goes on; of no template when that is ''."""
    template_id = f"{GROUP}/providers/x/imagetemplates/{template}".lower() if template else ""
    ended = None if days is None else NOW - timedelta(days=days)
    state = RunState.RUNNING if days is None else RunState.FAILED
    started = (ended or NOW) - timedelta(hours=hours)
    body = {"a": "b" * 1000}
    store.runs.add(RunRow(run_id, "t", "rg", body, state, "", "", "", group, {}, started, ended, template_id))
    store.runs.begin_phase(run_id, "Building")


def left(store: Store) -> set[str]:
    return {row.run_id for row in store.runs.list(limit=None)}


def test_operations_go_some_days_after_their_end_and_those_in_progress_never(
    settings: Settings, store: Store, clock: Clock
) -> None:
    a_run(store, "ended", days=7.5)
    a_run(store, "going", days=None)
    clock.now = NOW - timedelta(days=8)
    gone = [begun(store, is_done=True), begun(store, run_id="ended"), begun(store, run_id="lost")]
    kept = [begun(store), begun(store, run_id="going"), begun(store)]
    clock.now = NOW - timedelta(days=6)
    kept.append(begun(store, is_done=True))
    store.operations.end(kept[2], status=OperationStatus.FAILED)
    clock.now = NOW
    assert forget_requests(settings, store) == 3
    assert [store.operations.get(name) for name in gone] == [None] * 3
    assert all(store.operations.get(name) for name in kept), "in progress, or ended since"
    assert forget_requests(settings, store) == 0
    assert forget_requests(replace(settings, operations_kept_days=5.0), store) == 2, "as long as the setting says"


def test_the_operation_of_a_long_run_stays_until_its_end_was_heard(
    settings: Settings, store: Store, clock: Clock
) -> None:
    """Who polls it asks again a moment after the run's end, however long ago that began."""
    settings = replace(settings, operations_kept_days=0.1)
    a_run(store, "long", days=0.01, hours=10)
    a_run(store, "over", days=0.2, hours=10)
    clock.now = NOW - timedelta(hours=10)
    kept, gone = begun(store, run_id="long"), begun(store, run_id="over")
    clock.now = NOW
    assert forget_requests(settings, store) == 1
    assert (store.operations.get(kept) is not None, store.operations.get(gone)) == (True, None)


def test_of_many_operations_of_a_subscription_the_oldest_go(store: Store, clock: Clock) -> None:
    names = []
    for minute in range(6):
        clock.now = NOW + timedelta(minutes=minute)
        names.append(begun(store, is_done=minute != 1))
    other = begun(store, is_done=True, subscription="other")
    table = OldRecords(store.connections)
    assert table.forget_operations(older_than=NOW - timedelta(days=1), most=2) == 3
    assert [store.operations.get(name) is not None for name in names] == [False, True, False, False, True, True]
    assert store.operations.get(other) is not None


def test_more_operations_than_go_at_once_go_in_one_look(
    settings: Settings, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (old_records, record_retention):
        monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    clock.now = NOW - timedelta(days=30)
    for _ in range(7):
        begun(store, is_done=True)
    clock.now = NOW
    assert forget_requests(settings, store) == 7
    assert count_of(store, operations) == 0


def deployment(store: Store, name: str, state: str = "Succeeded") -> None:
    store.resources.put(
        ResourceRow(
            f"{GROUP}/providers/{DEPLOYMENT}/{name}",
            DEPLOYMENT,
            name,
            SUBSCRIPTION,
            "rg",
            properties={"provisioningState": state},
        )
    )


def test_the_oldest_deployments_of_a_group_go_unless_it_is_locked(
    settings: Settings, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        clock.now = NOW + timedelta(minutes=number)
        deployment(store, f"d{number}", "Running" if number == 1 else "Succeeded")
    assert forget_requests(settings, store) == 0, "that is few"
    monkeypatch.setattr(record_retention, "MOST_DEPLOYMENTS", 5)
    monkeypatch.setattr(record_retention, "DEPLOYMENTS_LEFT", 3)
    lock = f"{GROUP}/providers/{LOCK}/keep"
    level = {"level": "CanNotDelete"}
    store.resources.put(ResourceRow(lock, LOCK, "keep", SUBSCRIPTION, "rg", properties=level))
    assert forget_requests(settings, store) == 0
    store.resources.delete(lock)
    assert forget_requests(settings, store) == 3
    names = [row.name for row in store.resources.list(type=DEPLOYMENT)]
    assert names == ["d1", "d4", "d5"], "the oldest, and never one that goes on"


def test_a_deployment_that_is_put_again_meanwhile_stays(
    settings: Settings, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_retention, "MOST_DEPLOYMENTS", 1)
    monkeypatch.setattr(record_retention, "DEPLOYMENTS_LEFT", 1)
    for number in range(3):
        clock.now = NOW + timedelta(minutes=number)
        deployment(store, f"d{number}")
    looked = OldRecords.old_deployments

    def put_behind_the_look(self: OldRecords, **numbers: int) -> object:
        found = looked(self, **numbers)
        deployment(store, "d0", "Running")
        return found

    monkeypatch.setattr(OldRecords, "old_deployments", put_behind_the_look)
    assert forget_requests(settings, store) == 1
    assert [row.name for row in store.resources.list(type=DEPLOYMENT)] == ["d0", "d2"]


def test_old_deployments_make_room_below_a_smaller_quota_too(settings: Settings, store: Store, clock: Clock) -> None:
    settings = replace(settings, most_resources_of_a_type=16)
    for number in range(16):
        clock.now = NOW + timedelta(minutes=number)
        deployment(store, f"d{number:02}")
    assert forget_requests(settings, store) == 1
    assert [row.name for row in store.resources.list(type=DEPLOYMENT)] == [f"d{number:02}" for number in range(1, 16)]
    assert [most_deployments(number) for number in (800, 5000, 400, 2, 1)] == [
        (775, 750),
        (775, 750),
        (387, 375),
        (1, 1),
        (1, 1),
    ]


@pytest.mark.parametrize("bound", ["number", "bytes"])
def test_old_deployments_make_room_in_a_subscription_that_is_nearly_full(
    settings: Settings, store: Store, clock: Clock, bound: str
) -> None:
    """However few they are in each group: a record of what was done keeps nobody from doing more."""
    few = {"most_resources": 20} if bound == "number" else {"most_resource_mib": 1}
    settings = replace(settings, **few)  # type: ignore[arg-type]
    for number in range(19):
        clock.now = NOW + timedelta(minutes=number)
        name = f"d{number:02}"
        row = ResourceRow(
            f"{GROUP}{number % 4}/providers/{DEPLOYMENT}/{name}",
            DEPLOYMENT,
            name,
            SUBSCRIPTION,
            f"rg{number % 4}",
            properties={"provisioningState": "Running" if number == 1 else "Succeeded", "text": "x" * 51 * 1024},
        )
        store.resources.put(row)
    assert forget_requests(settings, store) == 0, "somebody may still ask for their ends"
    clock.now = NOW + timedelta(hours=2)
    assert forget_requests(settings, store) == 3
    names = sorted(row.name for row in store.resources.list(type=DEPLOYMENT))
    assert names == ["d01", *(f"d{number:02}" for number in range(4, 19))], "the oldest, and none that goes on"
    assert forget_requests(settings, store) == 0


def test_runs_that_ended_long_ago_go_with_all_that_is_of_them(settings: Settings, store: Store) -> None:
    account = staging_resource_group.create(settings.staging, store, name="IT_t", run_id="", tags={}).storage_account
    for name, days in (("old", 40.0), ("older", 50.0), ("recent", 20.0)):
        a_run(store, name, days=days, group="IT_t")
        account.blob(f"{LOGS}/{name}/customization.log").write_bytes(b"x")
        [number] = store.staging.add_resources("IT_t", run_id=name, entries=[("vm", name, {})])
        store.staging.resource_deleted(number)
    a_run(store, "going", days=None, template="u")
    assert forget_runs(settings, store) == 2
    assert left(store) == {"recent", "going"}
    assert count_of(store, phases) == 2
    assert {row.run_id for row in store.staging.resources_of("IT_t")} == {"", "recent"}
    logs = sorted(path.name for path in settings.staging.glob(f"*/*/{LOGS}/*"))
    assert logs == ["recent"]
    assert store.staging.group("IT_t") is not None
    assert forget_runs(settings, store) == 0


def test_the_newest_run_of_a_template_stays_however_old(settings: Settings, store: Store) -> None:
    for name, days in (("a", 300.0), ("b", 400.0)):
        a_run(store, name, days=days)
    a_run(store, "nobodys", days=300.0, template="")
    assert forget_runs(settings, store) == 2
    assert left(store) == {"a"}


@pytest.mark.parametrize("bound", ["runs", "bytes"])
def test_of_too_many_runs_or_too_large_ones_the_oldest_go(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    if bound == "runs":
        settings = replace(settings, most_runs=2)
    else:
        monkeypatch.setattr(record_retention, "MIB", 1)
        monkeypatch.setattr(record_retention, "MOST_RECORDED_MIB", 2500)
    for number in range(5):
        a_run(store, f"r{number}", days=5.0 - number)
    assert forget_runs(settings, store) == 3
    assert left(store) == {"r3", "r4"}


def test_a_run_that_ended_just_now_stays_until_its_end_was_heard(settings: Settings, store: Store) -> None:
    settings = replace(settings, most_runs=1)
    for name, days in (("now", 0.01), ("then", 0.02), ("yesterday", 1.0)):
        a_run(store, name, days=days, template="")
    assert forget_runs(settings, store) == 1
    assert left(store) == {"now", "then"}


def test_runs_that_stay_are_in_nobodys_way(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of a command keep their groups: more of them than go at once, and older than all others."""
    for module in (old_records, record_retention):
        monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    for number in range(3):
        a_run(store, f"own{number}", days=90.0, template="")
        staging_resource_group.create(settings.staging, store, name=f"IT_{number}", run_id=f"own{number}", tags={})
    for number in range(5):
        a_run(store, f"r{number}", days=50.0 - number)
    assert forget_runs(settings, store) == 4, "in one look, for more may end until the next one"
    assert left(store) == {"own0", "own1", "own2", "r4"}


def test_what_is_told_of_runs_is_told_of_kept_ones(settings: Settings, store: Store) -> None:
    """A trigger stays suspended, and a deployment script stays as it ended."""
    for number in range(8):
        a_run(store, f"t{number}", days=50.0 - number, template="watched")
        a_run(store, f"u{number}", days=50.0 - number, template="told")
    watched = f"{GROUP}/providers/x/imageTemplates/watched"
    store.resources.put(ResourceRow(f"{watched}/triggers/a", TRIGGER, "a", SUBSCRIPTION, "rg"))
    script = f"{GROUP}/providers/{SCRIPT}/s"
    state = {"runs": {f"{GROUP}/providers/x/imageTemplates/told": "u2"}}
    store.resources.put(ResourceRow(script, SCRIPT, "s", SUBSCRIPTION, "rg", state=state))
    assert forget_runs(settings, store) == 2 + 6
    assert left(store) == {*(f"t{number}" for number in range(2, 8)), "u2", "u7"}
    assert is_suspended(store.runs.of_template(watched.lower()))


def test_groups_that_are_gone_go_a_week_later_or_when_they_are_too_many(
    settings: Settings, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of templates that never ran; not at once, for another host may have files of them."""
    for number in range(4):
        group = staging_resource_group.create(settings.staging, store, name=f"IT_{number}", run_id="", tags={})
        if number < 3:
            clock.now = NOW + timedelta(minutes=number)
            staging_resource_group.delete(settings.staging, store, group)
    a_run(store, "r", days=1.0, group="IT_0")
    forget_runs(settings, store)
    assert count_of(store, staging_groups) == 4
    looked = OldRecords.old_groups
    monkeypatch.setattr(OldRecords, "old_groups", lambda self, older_than: looked(self, older_than=older_than, most=1))
    forget_runs(settings, store)
    assert {row.name for row in store.staging.list_groups(with_deleted=True)} == {"IT_0", "IT_2", "IT_3"}
    clock.now = NOW + timedelta(days=8)
    forget_runs(settings, store)
    names = {row.name for row in store.staging.list_groups(with_deleted=True)}
    assert names == {"IT_0", "IT_3"}, "one has a run, one is there"
    assert {row.group_name for row in store.staging.resources_of_all(["IT_0", "IT_1", "IT_2", "IT_3"])} == names


def test_a_run_with_a_group_of_its_own_or_a_held_vm_stays(settings: Settings, store: Store, clock: Clock) -> None:
    a_run(store, "own", days=90.0, template="")
    group = staging_resource_group.create(settings.staging, store, name="IT_own", run_id="own", tags={})
    a_run(store, "held", days=90.0, template="")
    (settings.leases / "held").mkdir(parents=True)
    assert forget_runs(settings, store) == 0
    staging_resource_group.delete(settings.staging, store, group)
    (settings.leases / "held").rmdir()
    assert forget_runs(settings, store) == 2
    clock.now = NOW + timedelta(days=8)
    forget_runs(settings, store)
    tables = (runs, staging_groups, staging_resources)
    assert [count_of(store, table) for table in tables] == [0, 0, 0], "the record of a group that is gone goes, too"
