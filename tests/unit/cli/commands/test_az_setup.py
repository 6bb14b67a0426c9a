"""az-setup: a configuration of its own, private, and never the user's."""

import configparser
import json
import socket
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmkiln.api.identity.first_start import ensure_owner
from vmkiln.cli.main import app
from vmkiln.cli.service.answers import ServiceAway
from vmkiln.errors import InputError
from vmkiln.store.database import opened

URL = "https://localhost:8443"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    monkeypatch.setenv("VMKILN_HOME", str(state))
    monkeypatch.setenv("HOME", str(tmp_path))
    with opened(state / "vmkiln.sqlite") as store:
        ensure_owner(store, state, tenant_id="t")
    (state / "service" / "endpoint").write_text(URL + "\n")
    return state


def test_two_exports_are_printed_and_the_files_are_private(home: Path) -> None:
    result = CliRunner().invoke(app, ["az-setup"])
    assert result.exit_code == 0
    assert [line.split("=")[0] for line in result.stdout.splitlines()] == [
        "export AZURE_CONFIG_DIR",
        "export REQUESTS_CA_BUNDLE",
    ]
    directory = home / "az"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in directory.iterdir())
    clouds = configparser.ConfigParser()
    clouds.read(directory / "clouds.config")
    assert clouds["vmkiln"]["endpoint_resource_manager"] == URL
    entry = json.loads((directory / "service_principal_entries.json").read_text())[0]
    owner = json.loads((home / "service" / "owner.json").read_text())
    assert (entry["client_id"], entry["client_secret"]) == (owner["appId"], owner["password"])
    assert owner["password"] not in result.output


def test_the_users_own_configuration_is_not_touched(home: Path, tmp_path: Path) -> None:
    own = tmp_path / ".azure"
    for target in (own, own / "below", tmp_path / "state" / ".." / ".azure"):
        result = CliRunner().invoke(app, ["az-setup", "--dir", str(target)])
        assert isinstance(result.exception, InputError)
    assert not own.exists()


def test_without_a_service_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["az-setup"])
    assert isinstance(result.exception, ServiceAway)
    assert result.exception.exit_code == 3, "the same command goes well once there is a service"
    assert "vmkiln serve" in str(result.exception.hint)


def test_it_says_when_nobody_answers_there(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service:
        url = f"https://127.0.0.1:{service.getsockname()[1]}"
        (home / "service" / "endpoint").write_text(url)
        assert "nobody answers" not in CliRunner().invoke(app, ["az-setup"]).stderr
    ended = CliRunner().invoke(app, ["az-setup"])
    assert "nobody answers there now" in ended.stderr
    assert ended.stdout.startswith("export "), "which is no reason not to set it up"


def test_the_owner_is_made_once(home: Path) -> None:
    with opened(home / "vmkiln.sqlite") as store:
        first = ensure_owner(store, home, tenant_id="t")
        assert ensure_owner(store, home, tenant_id="t") == first
        assert store.principals.check_secret(first.app_id, first.secret)
        store.principals.remove(first.app_id)
        assert ensure_owner(store, home, tenant_id="t") != first


def test_principals_and_roles_are_managed_from_the_command_line(home: Path) -> None:
    made = json.loads(CliRunner().invoke(app, ["principal", "create", "ci"]).stdout)
    scope = "/subscriptions/s/resourceGroups/g"
    assigned = CliRunner().invoke(app, ["role", "assign", "contributor", made["appId"], "--scope", scope])
    assert assigned.exit_code == 0
    roles = json.loads(CliRunner().invoke(app, ["role", "list", "--json"]).stdout)
    assert {"id": assigned.stdout.strip(), "objectId": made["objectId"], "role": "Contributor", "scope": scope} in roles
    assert CliRunner().invoke(app, ["role", "remove", assigned.stdout.strip()]).exit_code == 0
    second = CliRunner().invoke(app, ["principal", "secret", made["appId"], "--only"]).stdout.strip()
    with opened(home / "vmkiln.sqlite") as store:
        assert store.principals.check_secret(made["appId"], second)
        assert not store.principals.check_secret(made["appId"], made["password"])
    assert CliRunner().invoke(app, ["principal", "delete", made["appId"]]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, ["principal", "delete", made["appId"]]).exception, InputError)


@pytest.mark.parametrize("arguments", [["Boss", "x", "--scope", "/"], ["Reader", "x", "--scope", "/resourceGroups/g"]])
def test_what_is_no_role_or_scope_is_refused(home: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["role", "assign", *arguments])
    assert isinstance(result.exception, InputError)


def test_a_role_is_given_in_a_scope_that_is_named(home: Path) -> None:
    made = json.loads(CliRunner().invoke(app, ["principal", "create", "ci"]).stdout)
    result = CliRunner().invoke(app, ["role", "assign", "Owner", made["appId"]])
    assert result.exit_code == 2
    assert "--scope" in result.stderr
    listed = json.loads(CliRunner().invoke(app, ["role", "list", "--json"]).stdout)
    assert made["objectId"] not in [role["objectId"] for role in listed], "only this machine's owner has a role"


def test_a_shell_does_not_go_on_when_nothing_was_set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eval "$(vmkiln az-setup)" && az ...` would go on with the user's own login, for `eval ""` is a success."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["az-setup"])
    assert (result.exit_code == 0, result.stdout) == (False, "false\n")
    assert CliRunner().invoke(app, ["az-setup", "--json"]).stdout == ""
