"""The options before a command: `--verbose` shows what is started; what is amiss in the environment is told once."""

import json
import os
import sys
from pathlib import Path

import pytest

from vmkiln.cli import main
from vmkiln.cli.commands.settings import page
from vmkiln.cli.invocation import read_settings
from vmkiln.host import command
from vmkiln.host.environment import for_fetching


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return tmp_path


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


async def start_something() -> None:
    """Start a program whose arguments hold a secret of the settings, and a signature."""
    url = "https://a.blob.core.windows.net/c?sp=r&sig=AbCdEf12"
    await command.run([sys.executable, "-c", "pass", "hunter22", url], timeout_seconds=60)


@pytest.mark.parametrize(
    ("arguments", "environment", "in_file", "is_shown"),
    [
        (["--verbose"], {}, "", True),
        ([], {"VMKILN_LOG_LEVEL": "debug"}, "", True),
        ([], {"VMKILN_LOG_LEVEL": "DEBUG"}, "", True),
        ([], {}, 'log_level = "debug"', True),
        (["--verbose"], {"VMKILN_LOG_LEVEL": "error"}, "", True),
        ([], {}, "", False),
        ([], {"VMKILN_LOG_LEVEL": "info"}, 'log_level = "debug"', False),
    ],
)
async def test_programs_are_shown_as_they_are_started_when_asked(
    *,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    in_file: str,
    is_shown: bool,
) -> None:
    monkeypatch.setenv("VMKILN_DATABASE_URL", "")
    monkeypatch.setenv("VMKILN_BLOB_CONNECTION_STRING", "AccountName=a;AccountKey=hunter22")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (home / "vmkiln.toml").write_text(in_file)
    assert vmkiln(*arguments, "run", "list") == 0
    await start_something()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("DEBUG vmkiln.host.command: starting: " in captured.err) == is_shown
    assert "hunter22" not in captured.err
    assert "AbCdEf12" not in captured.err


def test_a_variable_that_is_no_setting_is_told_once_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_OBJECTSTORE", "file:///x")
    assert vmkiln("image", "list", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert captured.err == (
        "warning: VMKILN_OBJECTSTORE in the environment is no setting; did you mean VMKILN_OBJECT_STORE?\n"
    )


def test_settings_are_shown_with_where_each_comes_from_and_without_secrets(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_DATABASE_URL", "postgresql://u:hunter22@db/v")
    (home / "vmkiln.toml").write_text("lease_seconds = 30\n")
    assert vmkiln("settings", "--json") == 0
    told = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(told)}
    assert rows["database_url"] == {
        "name": "database_url", "variable": "VMKILN_DATABASE_URL",
        "value": "postgresql://***@db/v", "origin": "environment",
    }  # fmt: skip
    assert (rows["lease_seconds"]["value"], rows["lease_seconds"]["origin"]) == (30.0, str(home / "vmkiln.toml"))
    assert rows["builds"]["origin"] == "default"
    assert vmkiln("settings") == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 1 + len(rows)
    assert "hunter22" not in told + text


def test_a_mistake_in_a_setting_ends_a_command_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_LEASE_SECONDS", "1")
    assert vmkiln("run", "list") == 2
    assert "VMKILN_LEASE_SECONDS" in capsys.readouterr().err


def test_the_page_of_settings_is_what_the_code_declares() -> None:
    written = Path(__file__).parents[3] / "docs" / "settings.md"
    assert written.read_text() == page(), "vmkiln settings --describe > docs/settings.md"


def test_programs_that_fetch_find_the_proxies_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "VMKILN_HOME": str(tmp_path), "VMKILN_HTTPS_PROXY": "http://me:word@new.example:1",
        "http_proxy": "http://old.example:1", "HTTPS_PROXY": "http://old.example:1",
    }  # fmt: skip
    monkeypatch.setattr(os, "environ", environment)
    read_settings()
    proxies = {"http_proxy": "http://old.example:1", "https_proxy": "http://me:word@new.example:1"}
    assert for_fetching(environment) == proxies
