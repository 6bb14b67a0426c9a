"""What is odd around a command, such as a folder that is gone or an input that is closed, ends in no traceback."""

import json
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vmkiln.api.identity.issuer import ensure_issuer
from vmkiln.cli.output import json_text
from vmkiln.cli.written.target_file import as_typed

COMMAND = "import sys; from vmkiln.cli.main import main; main(sys.argv[1:])"
# prints until its terminal takes nothing more, of which SIGHUP does not tell
LASTING = """
import asyncio, signal, sys, typer
from vmkiln.cli import main
from vmkiln.cli.interrupts import run_to_end

app = typer.Typer()

async def lasting():
    try:
        while True:
            typer.echo("line")
            await asyncio.sleep(0.01)
    finally:
        open(sys.argv[1], "w").write("cleaned up")

@app.command()
def build() -> None:
    run_to_end(lasting())

signal.signal(signal.SIGHUP, signal.SIG_IGN)
main.app = app
main.main([])
"""
# a table of doctor, as wide as COLUMNS says
TABLE = """
import typer
from vmkiln.cli import main

app = typer.Typer()

@app.command()
def look() -> None:
    from rich.console import Console
    from vmkiln.cli.commands.doctor import table
    from vmkiln.host.doctor.fitness import Finding, Status
    Console().print(table([Finding("user", Status.OK, "somebody")]))

main.app = app
main.main([])
"""


def surroundings(home: Path, **changed: str) -> dict[str, str]:
    return {"HOME": str(home), "VMKILN_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **changed}


def done(
    *words: str, home: Path, script: str = COMMAND, before: str = "", **changed: str
) -> subprocess.CompletedProcess[str]:
    """A command that a shell starts after `before`, there."""
    command = ["sh", "-c", f'{before} exec "$0" -c "$@"', sys.executable, script, *words]
    environment = surroundings(home, **changed)
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_command_that_would_ask_asks_nothing_of_a_closed_input(closed: str, tmp_path: Path) -> None:
    ended = done("init", "t.json", home=tmp_path, before=f"exec {closed};")
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False)
    assert json.loads((tmp_path / "t.json").read_text())["name"] == "my-image"


@pytest.mark.parametrize("words", ["login https://localhost:1 --token-stdin", "validate -"])
def test_what_should_come_by_a_closed_input_is_missed_in_words(words: str, tmp_path: Path) -> None:
    ended = done(*words.split(), home=tmp_path, before="exec <&-;")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")


@pytest.mark.parametrize("words", ["init t.json", "schema -o t.json", "setup"])
def test_what_cannot_be_written_to_a_folder_that_is_gone_is_told(words: str, tmp_path: Path) -> None:
    ended = done(*words.split(), home=tmp_path, before="mkdir gone; cd gone; rmdir ../gone;")
    assert ended.returncode == 2
    assert "the folder that this command was started in is not there any more\nhint: " in ended.stderr


def test_a_table_has_its_letters_whatever_width_is_claimed(tmp_path: Path) -> None:
    for columns in ("0", "1", "80", "-1", "many"):
        ended = done(home=tmp_path, script=TABLE, COLUMNS=columns)
        assert "user" in ended.stdout, columns
        assert "somebody" in ended.stdout, columns


def test_a_name_that_is_no_text_is_told_in_json_that_all_read(tmp_path: Path) -> None:
    ended = done("validate", os.fsdecode(b"bad\xff.json"), "--json", home=tmp_path)
    assert ended.returncode == 2
    told = json.loads(ended.stdout)["mistakes"][0]["message"]
    assert told == "there is no file bad\\xff.json"
    told.encode()  # a half of a letter has no bytes


def test_json_keeps_every_whole_letter() -> None:
    data = {"a": ["\U0001f600", "\\ud83d", 'q"', None, 1.5], "\udcff": "x"}
    assert json.loads(json_text(data)) == {"a": data["a"], "\\xff": "x"}
    assert json_text(data).isascii()


@pytest.mark.parametrize(
    ("name", "typed"), [("t.json", "t.json"), ("-t.json", "./-t.json"), ("a b.json", "'a b.json'")]
)
def test_a_told_command_can_be_pasted(name: str, typed: str, tmp_path: Path) -> None:
    assert as_typed(Path(name)) == typed
    ended = done("init", "--", name, home=tmp_path)
    assert f"`vmkiln build {typed}`" in ended.stderr


def test_commands_that_begin_together_make_one_tenant(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ensure_issuer(tmp_path / "service", tmp_path / "keys").tenant_id, range(8)))
    assert set(made) == {(tmp_path / "service" / "tenant").read_text().strip()}


def test_a_terminal_that_is_gone_ends_a_command_as_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    kept = tmp_path / "kept"
    command = [sys.executable, "-c", LASTING, str(kept)]
    with subprocess.Popen(
        command, env=surroundings(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        assert os.read(ours, 4)
        os.close(ours)
        assert process.wait(timeout=60) == 130
    assert kept.read_text() == "cleaned up"
