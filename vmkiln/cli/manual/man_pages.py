"""Man pages of every command, made from the commands themselves: `python -m vmkiln.cli.manual.man_pages FOLDER`.

A page is roff text of the macros in man(7). `script/bootstrap` writes them to `.venv/share/man/man1`, where man(1)
looks for the pages of programs in `.venv/bin`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from vmkiln import __version__
from vmkiln.cli.main import app
from vmkiln.cli.manual.examples import examples_of

EXIT_CODES = (
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "The input is wrong, and nothing was started."),
    ("3", "This host cannot do it."),
    ("4", "A run published only a part of its images."),
    ("130", "Cancelled."),
    ("141", "Nobody read any more what it printed."),
)
_QEMU_CODES = (
    ("0", "The VM was ended."),
    ("2", "The input is wrong, and nothing was started."),
    ("3", "This host cannot do it."),
    ("other", "QEMU's own."),
)
OTHER_EXIT_CODES = {
    "vmkiln image boot": _QEMU_CODES,
    "vmkiln staging boot": _QEMU_CODES,
    "vmkiln run shell": (
        ("0", "The shell or the command in the VM ended well."),
        ("2", "The input is wrong, and nothing was started."),
        ("3", "The service, or the host that holds the VM, is away; or this host cannot do it."),
        ("255", "The way into the VM ended, as ssh says it."),
        ("other", "That of the shell or the command in the VM."),
    ),
}


def man_pages() -> dict[str, str]:
    """The text of each page by its file's name, such as `vmkiln-run-list.1`; hidden commands have none."""
    command: Any = typer.main.get_command(app)
    return dict(_pages(command, command.make_context("vmkiln", [], resilient_parsing=True), ("vmkiln",)))


def write_man_pages(folder: Path) -> None:
    """Write every page to a folder, which is made; pages of commands that are no more are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = man_pages()
    for old in folder.glob("vmkiln*.1"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def as_roff(text: str) -> str:
    """Text with what roff would read as its own signs escaped, also at the beginning of a line; pure."""
    escaped = text.replace("\\", "\\(rs").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return "\n".join(f"\\&{line}" if line.startswith(".") else line for line in escaped.splitlines())


def _pages(command: Any, context: Any, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    names = command.list_commands(context) if isinstance(command, TyperGroup) else []
    below = {name: command.get_command(context, name) for name in names}
    below = {name: one for name, one in below.items() if not one.hidden}
    yield f"{'-'.join(words)}.1", _page(command, context, words, list(below))
    for name, one in below.items():
        inner = one.make_context(name, [], parent=context, resilient_parsing=True)
        yield from _pages(one, inner, (*words, name))


def _page(command: Any, context: Any, words: tuple[str, ...], below: list[str]) -> str:
    name = "-".join(words)
    first, _, rest = (command.help or "").partition("\n")
    lines = [
        f'.TH "{as_roff(name.upper())}" "1" "" "vmkiln {__version__}" "vmkiln"',
        ".SH NAME",
        f"{as_roff(name)} \\- {as_roff(first)}",
        ".SH SYNOPSIS",
        f".B {as_roff(' '.join(words))}",
        as_roff(" ".join(command.collect_usage_pieces(context))),
    ]
    if rest.strip():
        lines += [".SH DESCRIPTION", as_roff(rest.strip()).replace("\n\n", "\n.PP\n")]
    told = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
    if told:
        lines += [".SH OPTIONS AND ARGUMENTS"]
        for signs, text in told:
            lines += [".TP", f".B {as_roff(signs)}", as_roff(text or "")]
    lines += [".SH EXIT STATUS"]
    for code, text in OTHER_EXIT_CODES.get(" ".join(words)) or EXIT_CODES:
        lines += [".TP", f".B {code}", as_roff(text)]
    if shown := examples_of(command):
        lines += [".SH EXAMPLES"]
        for line in shown:
            lines += [".PP", f".B {as_roff(line)}"]
    near = [*([words[:-1]] if len(words) > 1 else []), *((*words, one) for one in below)]
    lines += [".SH SEE ALSO", *(f".BR {as_roff('-'.join(one))} (1)" for one in near)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_man_pages(Path(sys.argv[1]))
