"""Examples of a command, declared above its function, and told at the end of its help and in its man page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Command = TypeVar("_Command", bound=Callable[..., Any])
_MEMBER = "command_line_examples"  # of the function; typer copies a function's members to what it wraps around it


def examples(*lines: str) -> Callable[[_Command], _Command]:
    """Declare command lines, each whole from `vmkiln` on, that can be pasted when names in them are one's own."""

    def declare(command: _Command) -> _Command:
        setattr(command, _MEMBER, lines)
        return command

    return declare


def examples_of(command: Any) -> tuple[str, ...]:
    """The command lines that are declared for a command of typer; none for a group of commands."""
    return tuple(getattr(command.callback, _MEMBER, ()))


def epilog_of(command: Any) -> str | None:
    """What the help of a command ends with; nothing without an example.

    typer wraps no line of a paragraph that begins with a backspace.
    """
    lines = examples_of(command)
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)]) if lines else None
