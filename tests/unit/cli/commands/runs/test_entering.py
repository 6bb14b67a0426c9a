"""`vmkiln run shell` goes through the service where another host holds the VM, and says why when it cannot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from vmkiln.cli import arm_client
from vmkiln.cli.commands.runs import holding
from vmkiln.cli.contexts import Context, Contexts, write_contexts
from vmkiln.cli.main import app
from vmkiln.cli.service.answers import ServiceAway
from vmkiln.errors import ArmError, InputError, VmkilnError
from vmkiln.run.held import door
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.shells import stream
from vmkiln.shells.sealed_key import sealed_for
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow

RUN = "0123abcd-0000-0000-0000-000000000000"
TEMPLATE = "/subscriptions/s/resourcegroups/rg/providers/microsoft.virtualmachineimages/imagetemplates/web"
KILN = Context("https://kiln.example", token="t")


class Service:
    """A stand-in for the service and the host behind it: what it was asked, what the host says, how the way begins."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.public = ""
        self.template = TEMPLATE
        self.shell: Any = {"path": "/providers/Vmkiln.Builds/shells/id", "token": "one-time"}
        self.lines: list[dict[str, str]] = [{"tell": "it wakes\x1b[2J"}, {"key": ""}]
        self.error: Exception | None = None
        self.is_over = False

    async def request(self, method: str, path: str, *, body: Any = None, **_more: Any) -> httpx.Response:
        self.asked.append((method, path.partition("?")[0]))
        asking = httpx.Request(method, f"https://kiln.example{path}")
        if method == "GET":
            run = {"name": RUN, "id": f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{RUN}"}
            found = [{**run, "properties": {"templateId": self.template}}]
            return httpx.Response(200, json={"value": found}, request=asking)
        self.public = body["publicKey"]
        return httpx.Response(200, json={"host": "kiln-2", "shell": self.shell}, request=asking)

    async def line(self) -> dict[str, str]:
        if not self.lines:
            return {}
        words = self.lines.pop(0)
        return {"key": sealed_for(self.public, "the key")} if "key" in words else words

    async def read(self) -> bytes:
        return await asyncio.Future()

    async def write(self, content: bytes) -> None:
        raise AssertionError(content)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    found = Service()

    @contextlib.asynccontextmanager
    async def remote_client(context: Context) -> AsyncIterator[Service]:
        assert context == KILN
        yield found

    @contextlib.asynccontextmanager
    async def way(base: str, path: str, token: str, *_more: object) -> AsyncIterator[Service]:
        assert (base, path, token) == (KILN.url, found.shell["path"], "one-time")
        if found.error is not None:
            raise found.error
        yield found

    monkeypatch.setattr(arm_client, "remote_client", remote_client)
    monkeypatch.setattr(stream, "opened", way)
    return found


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A context is in use; entering tells what is in the folder of the door, and ends with status 7."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_contexts(tmp_path / "config/vmkiln/contexts.json", Contexts().with_context("kiln", KILN))
    found: list[str] = []

    async def entered(folder: Path, words: Any, *, was_woken: bool = False) -> int:
        assert was_woken
        assert folder.stat().st_mode & 0o777 == 0o700
        found.extend([(folder / door.KEY).read_text(), *words])
        (await asyncio.to_thread(door.knock, folder, door.ENTER)).close()
        return 7

    monkeypatch.setattr(holding, "_entered", entered)
    return found


def enter(*words: str) -> Any:
    return CliRunner().invoke(app, ["run", "shell", RUN[:8], *words])


def test_a_run_that_only_the_service_knows_is_entered_through_it(
    service: Service, seen: list[str], tmp_path: Path
) -> None:
    done = enter("uname", "-a")
    assert (done.exit_code, seen) == (7, ["the key", "uname", "-a"]), done.output
    assert service.asked[-1] == ("POST", f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{RUN}/shell")
    assert "\x1b" not in done.output
    assert list((tmp_path / "home/visits").iterdir()) == [], "the key is gone"


@pytest.mark.parametrize("host", ["another", ""])
def test_a_vm_that_lies_here_is_entered_here(service: Service, seen: list[str], tmp_path: Path, host: str) -> None:
    settings = Settings(tmp_path / "home")
    settings.home.mkdir()
    now = utc_now()
    row = RunRow(RUN, "web", "rg", {}, RunState.FAILED, "", "", "", "", {"attempt": 1}, now, now, TEMPLATE)
    with opened(settings.database) as store:
        store.runs.start(row)
        if host:
            until = (now + timedelta(hours=1)).isoformat()
            store.runs.add_facts(RUN, lease={"until": until, "size_mib": 1, "host_id": host})
    done = enter()
    if host:
        assert (done.exit_code, seen) == (7, ["the key"])
    else:
        assert "is not held" in str(done.exception)
        assert service.asked == []


def test_without_a_login_nobody_is_asked(
    service: Service, seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    assert isinstance(enter().exception, InputError)
    assert (service.asked, seen) == ([], [])


def test_what_the_host_says_is_told_and_nobody_enters(service: Service, seen: list[str]) -> None:
    service.lines = [{"problem": "somebody is in\x1b[2J", "hint": "one at a time"}]
    error = enter().exception
    assert isinstance(error, VmkilnError)
    assert ("\x1b" in error.message, error.hint) == (False, "one at a time")
    service.lines = []
    assert "went before it was awake" in str(enter().exception)
    assert seen == []


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (ArmError(504, "HostDidNotCome", "it did not come"), ArmError, "vmkiln host list"),
        (ArmError(404, "ShellNotFound", "over"), ArmError, "ask again"),
        (ConnectionResetError("reset"), ServiceAway, "both directions"),
        (TimeoutError(), ServiceAway, "both directions"),
    ],
)
def test_a_way_that_does_not_open_says_what_to_do(
    service: Service, seen: list[str], error: Exception, kind: type[VmkilnError], hint: str
) -> None:
    service.error = error
    found = enter().exception
    assert isinstance(found, kind)
    assert hint in str(found.hint)
    assert seen == []


def test_a_run_of_a_command_and_an_older_service_are_told(service: Service, seen: list[str]) -> None:
    service.shell = None
    assert "kiln-2" in str(getattr(enter().exception, "hint", ""))
    service.template = ""
    assert "where it was built" in str(getattr(enter().exception, "hint", ""))
    assert seen == []


def test_what_this_machine_refuses_is_not_told_of_the_way(service: Service, seen: list[str], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/visits").write_text("not a folder")
    error = enter().exception
    assert isinstance(error, OSError), error
    assert "visits" in str(error)
    assert seen == []
