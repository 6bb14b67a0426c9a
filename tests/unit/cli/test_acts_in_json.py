"""What a command has done is told to programs too: every command that acts takes `--json` and keeps to the contract."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from json_contract import check_answer
from typer.main import get_command

from vmkiln.cli import main
from vmkiln.cli.commands import host as host_commands
from vmkiln.cli.contexts import Context, Contexts, contexts_file, write_contexts
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.host_table import HostTable
from vmkiln.store.rows import HostRow

COMMAND = get_command(main.app)
WITHOUT = {  # what they print is no answer, and why
    "run logs": "text, as a terminal has it",
    "run screenshot": "text, as a terminal has it",
    "template logs": "text, as a terminal has it",
    "run shell": "a terminal of another machine",
    "image boot": "a terminal of another machine",
    "staging boot": "a terminal of another machine",
    "serve": "goes on until it is ended",
    "worker": "goes on until it is ended",
    "schema": "a document of its own format",
    "setup": "leads a person",
    "trust": "leads a person",
}


def paths(command: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield above.strip(), command
        return
    context = COMMAND.make_context("vmkiln", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from paths(command.get_command(context, name), f"{above} {name}")


def test_every_command_takes_json_but_those_that_say_why_not() -> None:
    without = {
        path for path, command in paths(COMMAND) if not any("--json" in option.opts for option in command.params)
    }
    assert without == set(WITHOUT)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def told(home: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command with `--json`, holds its one line against the contract, gives it."""

    def asked(command: str, *arguments: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main.main([*command.split(), *arguments, "--json"])
        printed = capfd.readouterr()
        assert not ended.value.code, printed.err
        found = json.loads(printed.out)
        check_answer(command, found)
        return found

    return asked


def test_what_is_done_to_principals_is_told(told: Any) -> None:
    app_id = told("principal create", "ci")["appId"]
    assert len(told("principal secret", app_id)["password"]) > 20
    assert told("principal token", app_id)["appId"] == app_id
    key = told("principal federate", app_id, "--issuer", "https://token.example.org", "--subject", "s")
    assert told("principal keys", app_id) == [key]
    assert told("principal remove-key", app_id, key["id"]) == {"deleted": key["id"]}
    role = told("role assign", "Reader", app_id, "--scope", "/")
    assert role in told("role list")
    assert told("role remove", role["id"]) == {"deleted": role["id"]}
    assert told("principal delete", app_id) == {"deleted": app_id}


def test_a_role_in_a_group_that_is_not_there_is_given_and_told(told: Any, capfd: pytest.CaptureFixture[str]) -> None:
    app_id = told("principal create", "ci")["appId"]
    with pytest.raises(SystemExit) as ended:
        main.main(["role", "assign", "Reader", app_id, "--scope", "/subscriptions/s/resourceGroups/web"])
    assert ended.value.code == 0
    assert "there is no resource group web yet" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("Owner", "APP", "--scope", ""),
        ("Owner", "APP", "--scope", "//"),
        ("Owner", "APP", "--scope", "/subscriptions//resourceGroups/web"),
        ("Owner", "--object", "", "--scope", "/"),
        ("Owner", "--object", "/", "--scope", "/"),
    ],
)
def test_nobody_gets_a_role_by_a_word_that_is_empty(
    told: Any, words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """A script whose variable was not set made its principal owner of everything."""
    app_id = told("principal create", "ci")["appId"]
    with pytest.raises(SystemExit) as ended:
        main.main(["role", "assign", *(app_id if word == "APP" else word for word in words)])
    assert ended.value.code == 2
    assert capfd.readouterr().err.startswith("error: ")
    assert told("role list") == []
    assert told("role assign", "Owner", app_id, "--scope", "/")["scope"] == "/"


def test_what_is_done_to_hosts_is_told(told: Any, home: Path) -> None:
    host = HostRow("b1", "h1", "blue", "x86_64", "", "", 1, 1, 1, is_draining=False, is_dead=False, started=0.0,
                   lease_until=0.0)  # fmt: skip
    with opened(Settings(home).database) as store:
        store.hosts.register(host, lease_seconds=60.0)
    assert told("host drain", "blue", "--wait")["is_draining"] is True
    assert told("host undrain", "blue")["is_draining"] is False


def test_who_waits_for_a_drained_host_is_told_what_for(told: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may take hours, and of one that goes on nothing new is said."""
    runs, said = ["aa", "aab", "b"], list[str]()

    @contextlib.contextmanager
    def long_work(text: str) -> Iterator[Callable[[str], None]]:
        said.append(text)
        yield said.append

    monkeypatch.setattr("vmkiln.cli.view.long_work.long_work", long_work)
    monkeypatch.setattr(host_commands, "WAIT_SECONDS", 0)
    monkeypatch.setattr(HostTable, "placed", lambda *_, **__: runs.pop() if runs else "")
    with opened(Settings(home).database) as store:
        row = HostRow("b1", "h1", "blue", "x86_64", "", "", 1, 1, 1, is_draining=False, is_dead=False, started=0.0,
                      lease_until=0.0)  # fmt: skip
        store.hosts.register(row, lease_seconds=600.0)
    assert told("host drain", "blue", "--wait")["runs"] == []
    left = ["1 run", "3 runs", "2 runs"]
    assert said == ["waiting for the runs of blue", *(f"waiting for blue, {one} left" for one in left)]


def test_which_context_is_in_use_is_told(told: Any, home: Path) -> None:
    import os

    write_contexts(contexts_file(os.environ), Contexts("", {"far": Context("https://far.example", token="t")}))
    assert told("context use", "far") == {"name": "far", "url": "https://far.example"}
    assert told("context use", "--local") == {"name": "", "url": ""}
    assert told("logout", "far") == {"deleted": "far"}


def test_files_that_are_written_are_told(told: Any) -> None:
    assert json.loads(Path(told("init", "new.json")["file"]).read_text())["name"] == "my-image"
    written = told("support-bundle", "--no-examine")
    assert Path(written["file"]).stat().st_size == written["bytes"]


def test_a_rotated_key_is_told(told: Any) -> None:
    made = told("key rotate", "images")
    assert made["purpose"] == "images"
    assert made["id"] in {key["id"] for key in told("key list") if key["isCurrent"]}
