"""A group of commands whose modules are imported when one of them is called, and not to list them.

The list has what is told of each command where all are told: the first line of its help. A test compares the two.

typer converts the values of options with pydantic, whose import takes as long as everything else here. It does without
for a flag that is true or false already; its own flags are None when they are not given (typer 0.29), which is mended.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from vmkiln.cli.manual.examples import epilog_of
from vmkiln.cli.written.text_values import keep_to_text

COMMANDS = "vmkiln.cli.commands"
COMPLETION_FLAGS = {"install_completion", "show_completion"}  # typer adds them


@dataclass(frozen=True)
class Listed:
    """A command as it is listed: where its function, or its `typer.Typer`, is, and the first line of its help.

    `takes_all` says that whatever follows its first argument is another's, options too.
    """

    module: str
    name: str
    text: str
    takes_all: bool = False


class LazyGroup(TyperGroup):
    """The commands in `listed`, by their name."""

    listed: ClassVar[Mapping[str, Listed]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, short_help=one.text) for name, one in self.listed.items()}
        self._is_listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; while they are listed, one that has a name and a help and nothing else."""
        if self._is_listing or cmd_name not in self.listed:
            return super().get_command(ctx, cmd_name)
        command = loaded(cmd_name, self.listed[cmd_name])
        if ctx.resilient_parsing:  # a shell completes: it wants names, and no values
            _keep_values_as_they_are(command)
        else:
            keep_to_text(command)
        return command

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, false when it is not given."""
        return _false(super().get_help_option(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The options before the command."""
        for option in self.params:
            if option.name in COMPLETION_FLAGS:
                _false(option)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The part of the help that lists commands."""
        with self._listing():
            super().format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What a shell offers for the beginning of a command's name."""
        with self._listing():
            return super().shell_complete(ctx, incomplete)

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        self._is_listing = True
        try:
            yield
        finally:
            self._is_listing = False


def loaded(name: str, listed: Listed) -> Any:
    """The command with its options, and with the commands below it."""
    found = getattr(import_module(f"{COMMANDS}.{listed.module}"), listed.name)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    command: Any
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name)
        command = typer.main.get_group(alone).commands[name]
        for below in () if isinstance(command, LazyGroup) else command.commands.values():
            below.short_help = first_line(below.help)  # whole: without this, it is cut to fit a line
    else:
        settings = {"allow_interspersed_args": False} if listed.takes_all else None
        alone.command(name, context_settings=settings)(found)
        command = typer.main.get_command(alone)
    for one in (command, *getattr(command, "commands", {}).values()):
        _make_help_quick(one)
        one.epilog = epilog_of(one)
    return command


def first_line(text: str | None) -> str:
    """The first line of a help; pure."""
    return (text or "").partition("\n")[0]


def _false(flag: Any) -> Any:
    if flag is not None:
        flag.default = False
    return flag


def _make_help_quick(command: Any) -> None:
    theirs = command.get_help_option
    command.get_help_option = lambda context: _false(theirs(context))


def _keep_values_as_they_are(command: Any) -> None:
    for option in command.params:
        option.process_value = lambda _context, value: value
    for below in getattr(command, "commands", {}).values():
        _keep_values_as_they_are(below)
