"""Values that are no text, and files that cannot be written: told in a sentence, with exit code 2, before any work."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmkiln.cli.main import main
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow

ODD = os.fsdecode(b"\xff\xfe")
TEMPLATE = {
    "type": "Microsoft.VirtualMachineImages/imageTemplates",
    "apiVersion": "2024-02-01",
    "name": "t",
    "location": "<region>",
    "identity": {"type": "None"},
    "properties": {
        "source": {
            "type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"
        },
        "customize": [{"type": "Shell", "name": "n", "inline": ["echo <word>"]}],
        "distribute": [{"type": "VHD", "runOutputName": "x"}],
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command works: a folder with a template, and a state directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    (tmp_path / "t.json").write_text(json.dumps(TEMPLATE))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """The exit code of a command, and what it said on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize("value", [f"word={ODD}", f"{ODD}=x", "word=a\0b", "a\0=b", "word=\ud800"])
@pytest.mark.parametrize("command", ["validate", "plan", "build"])
def test_a_parameter_that_is_no_text_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, value: str
) -> None:
    code, words = told(capsys, command, "t.json", "--parameters", "region=westus2", "--parameters", value)
    assert code == 2, words
    assert words.startswith("error: --parameters: what was given holds ")
    assert not (folder / "home/runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "list", "--template", ODD),
        ("run", "show", ODD),
        ("rest", "GET", f"/{ODD}"),
        ("build", "t.json", "--resource-group", ODD),
        ("init", "new.json", "--name", ODD),
        ("explain", ODD),
    ],
)
def test_any_other_value_that_is_no_text_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, words = told(capsys, *arguments)
    assert (code, "holds bytes that are not UTF-8 text" in words) == (2, True), words
    assert "Traceback" not in words


@pytest.mark.parametrize("value", ["inf", "nan", "Infinity"])
@pytest.mark.parametrize(
    "arguments", [("build", "t.json", "--max-age"), ("run", "wait", "--timeout"), ("cache", "prune", "--max-age")]
)
def test_what_is_no_number_for_json_is_none_here(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], value: str
) -> None:
    code, words = told(capsys, *arguments, value)
    assert (code, arguments[-1] in words) == (2, True), words
    assert not (folder / "home/runs").exists()


@pytest.mark.parametrize("command", [("run", "list"), ("history",)])
def test_no_more_runs_are_asked_for_than_a_database_counts(
    folder: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    with opened(Settings(folder / "home").database):
        pass
    code, words = told(capsys, *command, "--limit", str(2**63))
    assert (code, "--limit" in words) == (2, True), words


def test_an_age_before_all_times_is_older_than_every_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = datetime(2020, 1, 1, tzinfo=UTC)
    with opened(Settings(folder / "home").database) as store:
        for number in range(2):
            run_id = f"{number:08}-0000-0000-0000-000000000000"
            store.runs.add_many([RunRow(run_id, "web", "rg", {}, RunState.FAILED, "", "", "", "", {}, ended, ended)])
    with pytest.raises(SystemExit) as caught:
        main(["run", "prune", "--older-than", "999999d", "--keep", "0", "--yes"])
    assert not caught.value.code, capsys.readouterr().err
    assert "deleted 0 runs" in capsys.readouterr().out


def test_with_json_the_refusal_is_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "list", "--template", ODD, "--json"])
    assert json.loads(capsys.readouterr().out)["error"]["exitCode"] == 2


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("none/x.json", "there is no folder"),
        ("t.json/x.json", "there is no folder"),
        (".", "is a folder"),
        ("a\0b", "holds NUL"),
        ("x" * 300, "File name too long"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [("schema", "--output"), ("init", "--force"), ("support-bundle", "--no-examine", "--output")]
)
def test_a_file_that_cannot_be_written_is_wrong_input(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], target: str, words: str
) -> None:
    code, found = told(capsys, *arguments, target)
    assert (code, words in found) == (2, True), found


def test_a_summary_that_cannot_be_written_is_told_before_the_build(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--parameters", "region=westus2", "--parameters", "word=x")
    code, words = told(capsys, "build", "t.json", *given, "--summary-file", "none/summary.md")
    assert (code, "there is no folder" in words) == (2, True), words
    assert not (folder / "home/runs").exists()


def run(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """A real command line, whose arguments are bytes."""
    return subprocess.run([sys.executable, "-m", "vmkiln", *arguments], capture_output=True, check=False)


def test_files_may_have_names_of_any_bytes(folder: Path) -> None:
    (folder / f"{ODD}.json").write_text(json.dumps({**TEMPLATE, "nmae": 1}))
    given = ("--parameters", "region=westus2", "--parameters", "word=x")
    for done, words in (
        (run("validate", f"{ODD}.json", *given), b"nmae"),
        (run("schema", "--output", f"{ODD}/none/x.json"), b"there is no folder"),
        (run("validate", f"{ODD}-none.json"), b"there is no file"),
    ):
        assert (done.returncode, words in done.stderr, b"Traceback" in done.stderr) == (2, True, False), done
    assert run("schema", "--output", f"{ODD}.schema.json").returncode == 0
    assert json.loads((folder / f"{ODD}.schema.json").read_text())["type"] == "object"
