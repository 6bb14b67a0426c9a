"""`vmkiln cache`: what is kept of builds, looked at and deleted."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.warm import checkpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two checkpoints of `web`, one a day old, and one of `db`."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    folder = Settings(home=tmp_path).saved_vms
    for key, template, hours in (("aa1", "web", 0), ("aa2", "web", 24), ("bb3", "db", 0)):
        workplace = saved_vm.begun(folder, key)
        (workplace / saved_vm.MEMORY).write_bytes(b"ram")
        with (workplace / saved_vm.MEMORY).open("rb") as file:
            digest = memory_file.digest_of(file.fileno())
        about = checkpoint.About("command:0:rg/x", 2, "install", "run-1", template, time.time() - hours * 3600, "i")
        saved_vm.finished(workplace, b"devices", digest, about=checkpoint.record_of(about))
        saved_vm.named(workplace)
    return folder


def told(*words: str) -> Any:
    result = CliRunner().invoke(app, ["cache", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_lists_what_is_kept_and_shows_whether_it_is_whole(folder: Path) -> None:
    assert {one["key"] for one in told("list")} == {"aa1", "aa2", "bb3"}
    assert told("show", "bb")["is_whole"] is True
    text = CliRunner().invoke(app, ["cache", "list"]).stdout
    assert re.search(r"^KEY +AGE +SIZE +RUN +BEHIND$", text, re.MULTILINE)
    assert re.search(r"^bb3 +0 min .* run-1 +db: 2 \(`install`\)$", text, re.MULTILINE)
    memory = folder / "bb3" / saved_vm.MEMORY
    memory.chmod(0o600)
    memory.write_bytes(b"rum")
    assert told("show", "bb")["is_whole"] is False


def test_a_steps_name_has_no_power_over_the_terminal(folder: Path) -> None:
    record = folder / "bb3" / saved_vm.RECORD
    record.chmod(0o600)
    noted = json.loads(record.read_text())
    noted["about"]["step"] = "\x1b]0;title\x07\nfaked line"
    record.write_text(json.dumps(noted))
    for words in (("list",), ("show", "bb"), ("prune", "--template", "db")):
        text = CliRunner().invoke(app, ["cache", *words]).stdout
        assert "\\x1b]0;title" in text
        assert "\x1b" not in text
        assert "\nfaked" not in text


@pytest.mark.parametrize("key", ["aa", "zz", ""])
def test_a_key_of_none_or_of_several_is_refused_with_what_to_do(folder: Path, key: str) -> None:
    result = CliRunner().invoke(app, ["cache", "show", key])
    assert isinstance(result.exception, InputError)
    assert result.exception.hint == "`vmkiln cache list` has them"
    assert folder.exists()


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ((), set()),
        (("--template", "WEB"), {"bb3"}),
        (("--max-age", "23"), {"aa1", "bb3"}),
        (("--template", "db", "--max-age", "1"), {"aa1", "aa2", "bb3"}),
    ],
)
def test_it_deletes_those_that_are_named_and_no_other(folder: Path, words: tuple[str, ...], left: set[str]) -> None:
    gone = {one["key"] for one in told("prune", *words)}
    assert {one.key for one in checkpoint.all_of(folder)} == left
    assert gone | left == {"aa1", "aa2", "bb3"}


@pytest.mark.usefixtures("folder")
def test_a_template_that_nobody_knows_is_told_with_the_one_meant() -> None:
    result = CliRunner().invoke(app, ["cache", "prune", "--template", "wbe"])
    assert isinstance(result.exception, InputError)
    assert result.exception.message == "--template: no run of a template `wbe` is on record; did you mean `web`?"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--template", "app"), "nothing is kept of builds of `app`"),
        (("--template", "db", "--max-age", "48"), "nothing that is kept of `db` is older than 48 h"),
        (("--max-age", "48"), "nothing that is kept is older than 48 h"),
    ],
)
def test_what_was_not_there_to_be_deleted_is_told(folder: Path, words: tuple[str, ...], said: str) -> None:
    with opened(Settings(home=folder.parents[1]).database) as store:
        store.runs.add(RunRow("1", "app", "rg", {}, RunState.FAILED, "", "", "", "", {}, utc_now(), utc_now()))
    result = CliRunner().invoke(app, ["cache", "prune", *words])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{said}\n")
