"""Two processes over one database: neither ends what the other one does; a command that answers is no host."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, TestAccess, a_template, an_issuer
from stub_build import stub_build
from typer.testing import CliRunner, Result

from vmkiln import service as vmkiln_service
from vmkiln.api.resources.resource_groups import DELETE_GROUP
from vmkiln.cli import arm_client
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.image_builder import queued_run
from vmkiln.service import beside_commands, only_service, running
from vmkiln.settings import Settings
from vmkiln.store import operation_table
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.store.tables import sessions

DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
WHERE = ("-g", "rg1", "--subscription", SUBSCRIPTION)


@contextlib.asynccontextmanager
async def service(home: Path, database: Path, name: str) -> AsyncIterator[Store]:
    """A service with a state directory of its own, and a database that it shares."""
    home.mkdir(exist_ok=True)
    settings = Settings(home)
    with opened(database, home=home) as store:
        access = TestAccess({"owner": [("Owner", "/")]})
        access.keep(store)
        identity = HostIdentity(name, takes_runs=False)
        async with running(
            settings, store, access, issuer=an_issuer(), build=stub_build(settings, store), identity=identity
        ):
            yield store


def begin_work(store: Store) -> str:
    """What a service does after its answers: a deployment, and the deletion of a group; gives the latter's id."""
    place = {"subscription_id": SUBSCRIPTION, "resource_group": "rg1"}
    group = {"type": "Microsoft.Resources/resourceGroups", "name": "rg1", **place}
    store.resources.put(ResourceRow(id=GROUP, properties={"provisioningState": "Deleting"}, **group))
    state = {"operation_id": "x", "session": store.sessions.own}
    kind = "Microsoft.Resources/deployments"
    row = ResourceRow(id=DEPLOYMENT, type=kind, name="d", properties={"provisioningState": "Running"}, **place)
    store.resources.put(ResourceRow(**{**vars(row), "state": state}))
    begun = store.operations.begin(DELETE_GROUP, subscription_id=SUBSCRIPTION, location="here", resource_id=GROUP)
    return begun.operation_id


def states(store: Store, operation_id: str) -> tuple[str, str]:
    """How the deployment and the deletion stand."""
    deployment, operation = store.resources.get(DEPLOYMENT), store.operations.get(operation_id)
    assert deployment is not None
    assert operation is not None
    return deployment.properties["provisioningState"], operation.status


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmkiln_service, "RENEW_SECONDS", 0.1)


@pytest.mark.usefixtures("quick")
async def test_a_second_service_does_not_end_what_the_first_one_does(tmp_path: Path) -> None:
    database = tmp_path / "db"
    async with service(tmp_path / "a", database, "a") as first:
        operation = begin_work(first)
        async with service(tmp_path / "b", database, "b") as second:
            await asyncio.sleep(1)
            assert states(second, operation) == ("Running", "InProgress")
            assert second.sessions.going_on() == {first.sessions.own, second.sessions.own}
        assert first.sessions.going_on() == {first.sessions.own}


@pytest.mark.usefixtures("quick")
async def test_what_a_dead_service_did_is_ended_when_its_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "db"
    monkeypatch.setattr(operation_table, "LEASE_SECONDS", 2.0)
    with opened(database) as dead:
        dead.sessions.begin(host_id="another-directory", is_alone=True)
        operation = begin_work(dead)
        async with service(tmp_path / "b", database, "b") as store:
            assert states(store, operation) == ("Running", "InProgress"), "it may live"
            async with asyncio.timeout(20):
                while states(store, operation) != ("Failed", "Failed"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            deployment = store.resources.get(DEPLOYMENT)
            assert deployment is not None
            assert deployment.properties["error"]["code"] == "DeploymentInterrupted"
            group = store.resources.get(GROUP)
            assert group is not None
            assert group.properties["provisioningState"] == "Succeeded"


@pytest.mark.usefixtures("quick")
async def test_a_command_leaves_what_a_dead_service_did_to_services(tmp_path: Path) -> None:
    database, settings = tmp_path / "db", Settings(tmp_path / "b")
    with opened(database) as dead:
        operation = begin_work(dead)
        settings.home.mkdir()
        with opened(database, home=settings.home) as store:
            identity = HostIdentity("laptop", takes_runs=False, is_embedded=True)
            access, build = TestAccess({"owner": [("Owner", "/")]}), stub_build(settings, store)
            access.keep(store)
            async with running(settings, store, access, issuer=an_issuer(), build=build, identity=identity):
                await asyncio.sleep(0.5)
            assert states(store, operation) == ("Running", "InProgress")
            assert store.hosts.all() == []


async def test_what_this_directorys_earlier_service_did_is_ended_at_once(tmp_path: Path) -> None:
    database = tmp_path / "db"
    async with service(tmp_path / "a", database, "a") as store:
        [mine] = store.sessions.going_on()
        with store.connections.begin() as connection:
            host_id = str(connection.execute(sa.select(sessions.c.host_id)).scalar_one())
    with opened(database) as killed:
        killed.sessions.begin(host_id=host_id, is_alone=True)
        operation = begin_work(killed)
    async with service(tmp_path / "a", database, "a") as store:
        assert states(store, operation) == ("Failed", "Failed")
        assert mine not in store.sessions.going_on()


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folders; gives the state directory, in which a stand-in builds."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(arm_client, "real_build", stub_build)
    return tmp_path / "state"


def vmkiln(*arguments: str, typed: str = "") -> Result:
    done = CliRunner().invoke(app, list(arguments), input=typed)
    assert done.exit_code == 0, done.exception
    return done


def test_a_command_is_no_host_and_ends_nothing(user: Path) -> None:
    with opened(user / "vmkiln.sqlite") as other:
        other.sessions.begin(host_id="elsewhere", is_alone=True)
        operation = begin_work(other)
        vmkiln("template", "list", "--subscription", SUBSCRIPTION)
        vmkiln("rest", "GET", "/subscriptions", "--api-version", "2022-12-01")
        assert states(other, operation) == ("Running", "InProgress")
        assert other.hosts.all() == [], "none of them was ever a host"
        assert other.sessions.going_on() == {other.sessions.own}, "they have ended their sessions"


def test_a_command_takes_no_run_but_the_one_it_was_asked_for(user: Path, tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    file.write_text(json.dumps(a_template("echo hello")))
    for name in ("web", "other"):
        vmkiln("template", "create", name, str(file), *WHERE)
    with opened(user / "vmkiln.sqlite") as store:
        row = store.resources.get(TEMPLATE.removesuffix("web") + "other")
        assert row is not None
        assert store.runs.queue(queued_run(row, run_id="waits", reason="request"))
        vmkiln("template", "list", "--subscription", SUBSCRIPTION)
        vmkiln("template", "run", "web", *WHERE)
        assert [run.state for run in store.runs.of_template(TEMPLATE)] == ["Succeeded"]
        waiting = store.runs.find("waits")
        assert waiting.state == "Queued"


def test_a_service_waits_for_a_command_and_a_command_asks_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path)
    entered = threading.Event()

    def start() -> None:
        with only_service(settings):
            entered.set()

    with beside_commands(settings), beside_commands(settings):
        starting = threading.Thread(target=start)
        starting.start()
        assert not entered.wait(0.5)
    assert entered.wait(20)
    starting.join(20)
    monkeypatch.setattr(vmkiln_service, "COMMANDS_SECONDS", 0.3)
    with only_service(settings):
        with pytest.raises(InputError, match="a service works"), beside_commands(settings):
            pass
        with pytest.raises(InputError, match="another"), only_service(settings):
            pass
    with beside_commands(settings), pytest.raises(InputError), only_service(settings):
        pass
