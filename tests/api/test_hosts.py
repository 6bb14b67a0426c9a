"""The hosts of a service: dead ones are succeeded, drained ones spared, and every run comes to its end."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import TEMPLATE, InProcess, TestAccess, a_template, add_group, ended_run, provisioned, started, wait_for
from service_fixtures import working
from stub_build import stub_build
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.errors import DatabaseAway
from vmkiln.fleet import hosting
from vmkiln.fleet.attempts import runs_here
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.fleet.run_queue import fits
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import HostRow, ReservationRow, RunRow


def fake_host(store: Store, name: str, *, lease_seconds: float) -> str:
    incarnation = str(uuid.uuid4())
    host = HostRow(incarnation, f"{name}-id", name, "x64", "emulated", "", 8, 65_536, 100_000)
    store.hosts.register(host, lease_seconds=lease_seconds)
    return incarnation


def with_host(store: Store, incarnation: str) -> RunRow:
    """The template's run, which waits, given to a host."""
    [run] = store.runs.of_template(TEMPLATE)
    assert store.hosts.reserve([ReservationRow(run.run_id, 1, incarnation, 2, 1, 1, 0.0)], fits=fits) == [run.run_id]
    return run


@contextlib.contextmanager
def a_service(
    home: Path, access: TestAccess, *, identity: HostIdentity | None = None, away: int = 0
) -> Iterator[InProcess]:
    """A service with its own host; the first `away` builds lose their database."""
    with opened(home / "vmkiln.sqlite") as store:
        settings = Settings(home)
        build = stub_build(settings, store)
        lost: list[str] = []

        async def sometimes(request: RunRequest, tell: Tell) -> object:
            if len(lost) < away:
                lost.append(request.run_id)
                raise DatabaseAway("the database is away")
            return await build(request, tell)

        builder = ImageBuilder(settings, store, sometimes, watch_seconds=60, identity=identity)
        with working(builder):
            found = started(store, home, access, builder)
            yield found
            found.settled()


@pytest.fixture
def accepted(tmp_path: Path, access: TestAccess) -> Path:
    """A state directory with a template whose run was accepted by a service that only served."""
    serves_only = HostIdentity(name="serves", takes_runs=False)
    with a_service(tmp_path, access, identity=serves_only) as service:
        add_group(service)
        provisioned(service, TEMPLATE, a_template("echo hello"))
        assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
        [run] = service.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
        assert run["properties"]["queue"]["reason"] == "waits for a host: no service or worker is at work"
    return tmp_path


def test_the_runs_of_a_dead_host_are_taken_over(accepted: Path, access: TestAccess) -> None:
    with opened(accepted / "vmkiln.sqlite") as store:
        run = with_host(store, fake_host(store, "dies", lease_seconds=0.5))
    with a_service(accepted, access, identity=HostIdentity(name="heir", lease_seconds=2)) as service:
        assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
        ended = service.service.store.runs.find(run.run_id)
        assert ended.facts["attempt"] == 2
        wait_for(lambda: service.service.store.hosts.reservations() == [])


def test_a_run_is_left_to_a_host_that_lives(accepted: Path, access: TestAccess) -> None:
    with opened(accepted / "vmkiln.sqlite") as store:
        run = with_host(store, incarnation := fake_host(store, "lives", lease_seconds=60))
    with a_service(accepted, access, identity=HostIdentity(name="other", lease_seconds=2)) as service:
        time.sleep(2)
        store = service.service.store
        assert [placed.incarnation for placed in store.hosts.placed()] == [incarnation]
        assert store.runs.find(run.run_id).facts.get("attempt", 1) == 1


def test_a_run_that_its_host_was_to_cancel_is_canceled_by_the_heir(accepted: Path, access: TestAccess) -> None:
    with opened(accepted / "vmkiln.sqlite") as store:
        run = with_host(store, fake_host(store, "dies", lease_seconds=0.5))
        store.runs.move(run.run_id, expected=["Queued"], state="Running")
        store.runs.add_facts(run.run_id, host_id="dies-id")
        assert store.runs.ask_to_cancel(run.run_id)
    with a_service(accepted, access, identity=HostIdentity(name="heir", lease_seconds=2)) as service:
        assert ended_run(service, TEMPLATE)["runState"] == "Canceled"


def test_a_run_whose_database_was_away_is_begun_anew(accepted: Path, access: TestAccess) -> None:
    with a_service(accepted, access, away=2) as service:
        wait_for(lambda: service.service.store.runs.of_template(TEMPLATE)[0].ended, seconds=30)
        [run] = service.service.store.runs.of_template(TEMPLATE)
        assert run.state == "Succeeded"


def test_an_attempt_that_the_engine_knows_from_before_gets_another_number(
    accepted: Path, access: TestAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restored back-up: the database is older than what the engine remembers."""
    monkeypatch.setattr(runs_here, "BEGIN_SECONDS", 0.3)
    monkeypatch.setattr(hosting, "LOOK_SECONDS", 0.5)
    with a_service(accepted, access) as service:
        assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
        [run] = service.service.store.runs.of_template(TEMPLATE)
    with opened(accepted / "vmkiln.sqlite") as store:
        store.runs.move(run.run_id, expected=["Succeeded"], state="Queued")
    with a_service(accepted, access) as service:
        wait_for(lambda: service.service.store.runs.find(run.run_id).state == "Succeeded", seconds=20)
        assert service.service.store.runs.find(run.run_id).facts["attempt"] == 2


def test_hosts_are_listed_drained_and_taken_back(
    accepted: Path, access: TestAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(accepted))

    def vmkiln(*words: str) -> str:
        done = CliRunner().invoke(app, ["host", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    with opened(accepted / "vmkiln.sqlite") as store:
        fake_host(store, "gone", lease_seconds=0.01)
        fake_host(store, "kiln", lease_seconds=60)
    vmkiln("drain", "kiln")
    told = {host["name"]: host for host in json.loads(vmkiln("list", "--json"))}
    assert {name: host["state"] for name, host in told.items()} == {"gone": "Dead", "kiln": "Draining"}
    assert "Draining" in vmkiln("list")
    vmkiln("undrain", "kiln")
    assert json.loads(vmkiln("show", "kiln", "--json"))["state"] == "Ready"
    assert "runs: " in vmkiln("show", "kiln")
    with opened(accepted / "vmkiln.sqlite") as store:
        run = with_host(store, store.hosts.live()[0].incarnation)
    assert json.loads(vmkiln("show", "kiln", "--json"))["runs"] == [run.run_id]
    unknown = CliRunner().invoke(app, ["host", "show", "nobody"])
    assert unknown.exit_code != 0


def test_a_drained_host_starts_nothing_until_it_is_taken_back(accepted: Path, access: TestAccess) -> None:
    with a_service(accepted, access, identity=HostIdentity(name="first")) as service:
        assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"
    with opened(accepted / "vmkiln.sqlite") as store:
        store.hosts.drain("first", is_draining=True)
    with a_service(accepted, access, identity=HostIdentity(name="renamed")) as service:  # the same state directory
        assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
        [place] = service.builder.queue()
        assert place.reason == "waits for a host that is not draining"
        service.service.store.hosts.drain("renamed", is_draining=False)
        service.builder.queued(place.run_id)
        assert ended_run(service, TEMPLATE)["runState"] == "Succeeded"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["worker"], "a worker needs the database of its fleet"),
        (["serve", "--no-builds"], "need a database that they can reach"),
        (["worker", "--database-url", "postgresql://u:secret@x/y"], "could read it in the process list"),
        (["worker", "--database-url", "postgresql://x/y?password=secret"], "could read it in the process list"),
        (["worker", "--database-url", "postgresql://[x/y"], "--database-url is no URL"),
        (["worker", "--database-url", "postgresql://x/y", "--object-store", "ftp://x"], "VMKILN_OBJECT_STORE"),
    ],
)
def test_what_a_host_needs_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VMKILN_DATABASE_URL", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 1000)
    done = CliRunner().invoke(app, words)
    assert message in str(done.exception)
    assert "secret" not in str(done.exception)
    assert not (tmp_path / "home").exists()
