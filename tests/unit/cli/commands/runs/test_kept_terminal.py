"""A shell in a failed VM leaves its user's terminal as it was, however it ends."""

import os
import sys
import termios
import tty

import pytest

from vmkiln.cli.commands.runs import holding


def test_a_terminal_is_as_it_was_when_ssh_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = os.openpty()
    with os.fdopen(outer, "rb", buffering=0), os.fdopen(inner, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(inner)
        with holding.terminal_as_it_was():
            tty.setraw(inner)
            assert termios.tcgetattr(inner) != before
        assert termios.tcgetattr(inner) == before


def test_a_terminal_that_was_closed_meanwhile_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = os.openpty()
    with os.fdopen(inner, "rb", buffering=0) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        with holding.terminal_as_it_was():
            os.close(outer)
