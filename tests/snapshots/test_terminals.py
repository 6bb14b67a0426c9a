"""Help and tables on terminals of 80 and of 200 columns, with colours and without: what is read is always the same."""

import fcntl
import io
import os
import re
import struct
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from rich.console import Console
from syrupy.assertion import SnapshotAssertion
from test_help import COMMAND, below
from test_tables import COMMANDS
from test_views import EXAMINATION

from vmkiln.cli import main
from vmkiln.cli.commands.doctor import table
from vmkiln.host.doctor.fitness import Finding, Status

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
WIDTHS = (80, 200)
LONG = Finding(
    "space", Status.WARNING, "only 19 MiB are free under /var/lib/vmkiln, of the 4096 MiB that a build needs at least"
)


def read_all(descriptor: int) -> bytes:
    """What a terminal is told until nobody has it open any more."""
    told = b""
    with suppress(OSError):  # Linux says so by EIO
        while part := os.read(descriptor, 65536):
            told += part
    return told


def on_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, *arguments: str) -> str:
    """What a command prints when its standard output is a terminal of so many columns."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with ThreadPoolExecutor() as pool, monkeypatch.context() as patched:
        told = pool.submit(read_all, master)  # a terminal holds little, so that it is read meanwhile
        with os.fdopen(slave, "w", encoding="utf-8") as terminal:
            patched.setattr(sys, "stdout", terminal)
            patched.setenv("COLUMNS", str(columns))
            with pytest.raises(SystemExit):
                main.main(list(arguments))
        text = told.result().decode()
    os.close(master)
    return text.replace("\r\n", "\n")


@pytest.mark.parametrize("has_colours", [False, True], ids=["NO_COLOR", "colours"])
@pytest.mark.parametrize("columns", WIDTHS)
def test_help_reads_the_same_on_each_terminal(
    columns: int, has_colours: bool, home: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    del home
    if has_colours:
        monkeypatch.delenv("NO_COLOR")
    words = [words for words in below(COMMAND) if words]
    for each in words if has_colours else words[::7]:
        with pytest.raises(SystemExit):
            main.main([*each, "--help"])
        piped = capfd.readouterr().out
        assert on_terminal(monkeypatch, columns, *each, "--help") == piped
        text, _, shown = piped.partition("Examples:")
        assert max(map(len, text.splitlines())) <= 80, each
        assert shown or "Commands:" in text, each


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("columns", WIDTHS)
def test_tables_read_the_same_on_each_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR")
    for words in COMMANDS:
        with pytest.raises(SystemExit):
            main.main(list(words))
        assert on_terminal(monkeypatch, columns, *words) == capfd.readouterr().out


@pytest.mark.parametrize("columns", WIDTHS)
def test_what_doctor_found_fits_each_terminal(columns: int, snapshot: SnapshotAssertion) -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    for file, no_color in ((plain, True), (coloured, False)):
        told = Console(file=file, width=columns, force_terminal=True, color_system="standard", no_color=no_color)
        told.print(table((*EXAMINATION.findings, LONG)))
    assert COLOUR.search(coloured.getvalue())
    assert not COLOUR.search(plain.getvalue())
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", plain.getvalue()).splitlines()]
    assert max(map(len, lines)) <= columns
    assert "\n".join(lines) == snapshot
