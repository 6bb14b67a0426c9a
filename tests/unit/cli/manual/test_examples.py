"""The examples of commands: every command has one, and what is shown can be typed."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.cli.manual.examples import examples_of
from vmkiln.cli.manual.man_pages import OTHER_EXIT_CODES, as_roff, man_pages

COMMAND: Any = typer.main.get_command(app)
FILES = ("template.json", "main.bicep", "main.bicepparam", "azuredeploy.json", "parameters.json", "group.json")
MORE_FILES = ("server.pem", "server.key", "ca.pem", "certificate.pem", "server.vhdx")


def acting() -> dict[str, Any]:
    """Every command that does something itself and is not hidden, by the words that call it."""
    found: dict[str, Any] = {}

    def collect(command: Any, words: tuple[str, ...]) -> None:
        names = getattr(command, "commands", {})
        if not command.hidden and not names:
            found[" ".join(words)] = command
        context = typer.Context(command, resilient_parsing=True)
        for name in names:
            collect(command.get_command(context, name), (*words, name))

    collect(COMMAND, ("vmkiln",))
    return found


def parsed(line: str) -> str:
    """The words of the command that a line calls, after the real parser took all of it."""
    _, *arguments = shlex.split(line)
    context = COMMAND.make_context("vmkiln", arguments)
    words = ["vmkiln"]
    command = COMMAND
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        words.append(name)
        context = command.make_context(name, arguments, parent=context)
    return " ".join(words)


def test_each_example_of_each_command_can_be_typed_and_is_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*FILES, *MORE_FILES):
        Path(name).write_text("{}")
    pages, seen = man_pages(), set()
    for words, command in acting().items():
        lines = examples_of(command)
        assert lines, words
        for line in lines:
            assert parsed(line) == words
            assert line not in seen
            seen.add(line)
            assert as_roff(line) in pages[f"{words.replace(' ', '-')}.1"]


def test_the_help_ends_with_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = CliRunner().invoke(app, ["build", "--help"]).output.splitlines()
    lines = examples_of(acting()["vmkiln build"])
    assert [line.strip() for line in shown[-len(lines) - 1 :]] == ["Examples:", *lines]


def test_pages_of_commands_with_exit_codes_of_another_program_say_so() -> None:
    pages = man_pages()
    for words, codes in OTHER_EXIT_CODES.items():
        assert all(as_roff(text) in pages[f"{words.replace(' ', '-')}.1"] for _, text in codes)
        assert "published only a part" not in pages[f"{words.replace(' ', '-')}.1"]
