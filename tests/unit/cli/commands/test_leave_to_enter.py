"""`vmkiln run shell` asks the service that its user is logged in to, before anything is woken or entered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.audit.act_names import RUN_SHELL
from vmkiln.cli import arm_client
from vmkiln.cli.commands.runs import holding
from vmkiln.cli.contexts import Context, Contexts, write_contexts
from vmkiln.cli.main import app
from vmkiln.errors import ArmError, InputError
from vmkiln.run.held import door
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow

RUN = "0123abcd-0000-0000-0000-000000000000"
TEMPLATE = "/subscriptions/s/resourcegroups/rg/providers/microsoft.virtualmachineimages/imagetemplates/web"
KILN = Context("https://kiln.example", token="t")


class Service:
    """A stand-in for the service: `answer` is an error, or none for leave."""

    def __init__(self) -> None:
        self.answer: ArmError | None = None
        self.asked: list[tuple[str, str]] = []

    async def request(self, method: str, path: str, **_more: Any) -> None:
        self.asked.append((method, path))
        if self.answer is not None:
            raise self.answer


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    found = Service()

    @contextlib.asynccontextmanager
    async def remote_client(context: Context) -> AsyncIterator[Service]:
        assert context == KILN
        yield found

    monkeypatch.setattr(arm_client, "remote_client", remote_client)
    return found


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A context is in use, and entering ends with status 7."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_contexts(tmp_path / "config/vmkiln/contexts.json", Contexts().with_context("kiln", KILN))

    async def entered(*_arguments: object, **_named: object) -> int:
        return 7

    monkeypatch.setattr(holding, "_entered", entered)
    return Settings(tmp_path / "home")


def entering(settings: Settings, template_id: str) -> tuple[BaseException | None, int, list[str]]:
    """What came of it: the error, the exit status, the acts on record here."""

    async def work() -> Any:
        async def echoed(*_arguments: object) -> None:
            pass

        with run_directory.held(settings.runs, RUN) as folder:
            async with door.opened(folder, private_key="key", session=echoed):
                return await asyncio.to_thread(CliRunner().invoke, app, ["run", "shell", RUN])

    settings.home.mkdir(parents=True, exist_ok=True)
    row = RunRow(RUN, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {"attempt": 1}, utc_now(), None, template_id)
    with opened(settings.database) as store, run_directory.locked(settings.runs, RUN):
        store.runs.start(row)
        done = asyncio.run(work())
        subscription = template_id.split("/")[2] if template_id else ""  # whose log has it
        query = AuditQuery(subscription, utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
        acts = [act.operation for act in store.audit.find(query, limit=10)]
    return done.exception, done.exit_code, acts


def test_with_leave_it_enters_and_the_service_has_it_on_record(settings: Settings, service: Service) -> None:
    _, status, acts = entering(settings, TEMPLATE)
    assert status == 7
    assert service.asked == [("POST", f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{RUN}/shell")]
    assert RUN_SHELL not in acts, "or it would be there twice, once of the wrong person"


def test_without_leave_nothing_is_entered(settings: Settings, service: Service) -> None:
    service.answer = ArmError(403, "AuthorizationFailed", "no authorization to perform action")
    error, status, acts = entering(settings, TEMPLATE)
    assert isinstance(error, ArmError)
    assert status != 7
    assert RUN_SHELL not in acts


def test_a_service_that_does_not_know_the_run_gives_no_leave(settings: Settings, service: Service) -> None:
    service.answer = ArmError(404, "ResourceNotFound", "not found")
    error, status, _ = entering(settings, TEMPLATE)
    assert isinstance(error, InputError)
    assert "https://kiln.example does not know the run 0123abcd" in str(error)
    assert status != 7


def test_a_run_of_a_command_is_its_users_and_nobody_is_asked(settings: Settings, service: Service) -> None:
    _, status, acts = entering(settings, "")
    assert (status, service.asked) == (7, [])
    assert RUN_SHELL in acts


def test_without_a_login_it_is_the_operator_of_this_machine(
    settings: Settings, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    _, status, acts = entering(settings, TEMPLATE)
    assert (status, service.asked) == (7, [])
    assert RUN_SHELL in acts
