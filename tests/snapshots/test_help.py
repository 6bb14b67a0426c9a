"""The help of every command, as it stands on a terminal of 100 columns."""

import re
from typing import Any

import pytest
import typer
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from vmkiln.cli.main import app

COMMAND: Any = typer.main.get_command(app)
TERMINAL = {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1", "HOME": "/home/user", "LC_ALL": "C.UTF-8"}


def below(command: Any, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of a command and of every command below it."""
    found = [above]
    if hasattr(command, "list_commands"):
        context = COMMAND.make_context("vmkiln", [], resilient_parsing=True)
        for name in command.list_commands(context):
            found += below(command.get_command(context, name), (*above, name))
    return found


@pytest.mark.parametrize("words", below(COMMAND), ids=lambda words: " ".join(words) or "vmkiln")
def test_help_reads_as_it_did(
    words: tuple[str, ...], snapshot: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in TERMINAL.items():
        monkeypatch.setenv(name, value)
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name="vmkiln")
    assert shown.exit_code == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.output)
    assert "\n".join(line.rstrip() for line in plain.splitlines()) == snapshot
