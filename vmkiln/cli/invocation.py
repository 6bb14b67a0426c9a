"""One call of the command line: its common options, and the settings that are in force for it."""

import gc
import os
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from vmkiln.setting_texts.declaration import LogLevel
    from vmkiln.settings import Settings
    from vmkiln.settings_sources import InForce


COLLECTION = gc.get_threshold()  # how often Python looks for garbage by itself
RARELY = 50_000  # new objects until it does: imports make many that stay, and looking took a tenth of a short command


@dataclass(frozen=True)
class Invocation:
    """What was given before the subcommand, and what was told already."""

    is_verbose: bool = False
    told: set[str] = field(default_factory=set)
    answers: list[bool] = field(default_factory=list)  # one entry for each answer that was printed


_current: ContextVar[Invocation | None] = ContextVar("invocation", default=None)


def collect_rarely() -> None:
    """Look for garbage rarely, until `collect_as_usual` is called."""
    gc.set_threshold(RARELY, *COLLECTION[1:])


def collect_as_usual() -> None:
    """What lasts longer than its imports looks for garbage as often as Python does by itself."""
    gc.set_threshold(*COLLECTION)


def begin(*, is_verbose: bool) -> None:
    """A call begins."""
    _current.set(Invocation(is_verbose))


def mark_answered() -> None:
    """What was asked for is on standard output."""
    if (call := _current.get()) is not None:
        call.answers.append(True)


def is_answered() -> bool:
    """Whether this call has printed what was asked for."""
    call = _current.get()
    return call is not None and bool(call.answers)


def is_verbose() -> bool:
    """Whether this call was asked to tell everything."""
    call = _current.get()
    return call is not None and call.is_verbose


def settings_here(**flags: Any) -> "InForce":
    """What is in force for this call; flags that are None were not given. What is amiss is told, once.

    Raises: `InputError`.
    """
    from vmkiln.settings_sources import settings_in_force

    call = _current.get() or Invocation()
    found = settings_in_force(os.environ, {"log_level": "debug" if call.is_verbose else None, **flags})
    for warning in found.warnings:
        if warning not in call.told:
            call.told.add(warning)
            typer.echo(f"warning: {warning}", err=True)
    return found


def read_settings(*, default_level: "LogLevel | None" = None, **flags: Any) -> "Settings":
    """The settings of this call, with the log switched on as they say; where they do not, from `default_level` on.

    Raises: `InputError`.
    """
    from vmkiln.process_log import set_up
    from vmkiln.setting_texts.declaration import LogLevel
    from vmkiln.shown_settings import secrets_of

    settings = settings_here(**flags).settings
    level = settings.log_level or default_level or LogLevel.WARNING
    set_up(level, settings.log_format, secrets=secrets_of(settings))
    if settings.http_proxy or settings.https_proxy or settings.no_proxy or settings.ca_bundle:
        _tell_programs(settings)
    return settings


def _tell_programs(settings: "Settings") -> None:
    """Programs that fetch (apt, npm) find the proxies of our settings where they look for such things."""
    from vmkiln.fetching.way_out import environment_of, way_out_of

    wanted = environment_of(way_out_of(settings), os.environ)
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)
