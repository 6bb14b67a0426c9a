"""Man pages: one for each command, with each of its options."""

from pathlib import Path
from typing import Any

import typer

from vmkiln.cli.main import app
from vmkiln.cli.manual.man_pages import as_roff, man_pages, write_man_pages


def commands() -> dict[str, Any]:
    """Every command that is not hidden, by the words that call it."""
    found: dict[str, Any] = {}

    def collect(command: Any, words: tuple[str, ...]) -> None:
        if not command.hidden:
            found["-".join(words)] = command
            context = typer.Context(command, resilient_parsing=True)
            for name in getattr(command, "commands", ()):
                collect(command.get_command(context, name), (*words, name))

    collect(typer.main.get_command(app), ("vmkiln",))
    return found


def test_each_command_has_a_man_page_with_all_its_options() -> None:
    known, pages = commands(), man_pages()
    assert {f"{name}.1" for name in known} == set(pages)
    assert len(pages) > 60
    for name, command in known.items():
        page = pages[f"{name}.1"]
        for option in command.params:
            if not getattr(option, "hidden", False):
                assert all(as_roff(sign) in page for sign in option.opts if sign.startswith("-")), (name, option.opts)


def test_text_of_a_man_page_cannot_be_read_as_a_request_of_roff() -> None:
    assert as_roff(".so /etc/passwd\n'br\nC:\\x") == "\\&.so /etc/passwd\n\\(aqbr\nC:\\(rsx"


def test_man_pages_of_commands_that_are_no_more_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "vmkiln-gone.1").write_text("old")
    (tmp_path / "other.1").write_text("another program's")
    write_man_pages(tmp_path)
    assert not (tmp_path / "vmkiln-gone.1").exists()
    assert (tmp_path / "other.1").exists()
    assert (tmp_path / "vmkiln-run-list.1").read_text().startswith(".TH ")
