"""Counts what a step changes, and breaks it off before the change with a given number, or just after it.

A change is an audit event of Python (a file that is made, linked, renamed, written, a process that is started), a call
of the store that writes, and a request to a namespace's supervisor.
"""

import contextlib
import errno
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from vmkiln.host.namespace import Namespace
from vmkiln.store.image_table import ImageTable
from vmkiln.store.staging_table import StagingTable

AUDITED = {"os.mkdir", "os.link", "os.rename", "os.chmod", "os.truncate", "subprocess.Popen", "socket.bind", "open"}
WRITES = (
    (ImageTable, "add"),
    (ImageTable, "add_version"),
    (ImageTable, "put_output"),
    (ImageTable, "replace"),
    (StagingTable, "add_group"),
    (StagingTable, "add_resource"),
    (StagingTable, "add_resources"),
    (StagingTable, "resource_exists"),
)


class Broken(OSError):
    """The change was broken off, by a full disk as it seems."""

    def __init__(self, event: str) -> None:
        super().__init__(errno.ENOSPC, f"broken off at {event}")


@dataclass
class Effects:
    """The changes that were made while it is on; the one with number `break_at` raises."""

    break_at: int = -1
    seen: list[str] = field(default_factory=list)
    is_on: bool = False

    def happens(self, event: str) -> None:
        """Count a change. Raises: `Broken` when its turn has come, and never again."""
        if self.is_on:
            self.seen.append(event)
            if len(self.seen) - 1 == self.break_at:
                self.is_on = False
                raise Broken(event)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False


_current: list[Effects] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _current or not _current[0].is_on or event not in AUDITED:
        return
    if event == "open" and not _makes_or_writes(*arguments[1:]):
        return
    _current[0].happens(event)


def _makes_or_writes(mode: object, flags: object) -> bool:
    """Of the arguments of `open`'s event: `os.open` has no mode (PEP 578)."""
    return bool(set(mode) & set("wax+")) if isinstance(mode, str) else isinstance(flags, int) and flags & os.O_CREAT > 0


@functools.cache
def _hooked() -> None:
    sys.addaudithook(_audit)  # there is no way to take one away
    os.register_at_fork(after_in_child=_current.clear)  # what a program's own process does before it is the program


def _watched(effects: Effects, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def ask(*arguments: Any, **named: Any) -> Any:
            effects.happens(f"before {name}")
            result = await function(*arguments, **named)
            effects.happens(f"after {name}")
            return result

        return ask

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        effects.happens(f"before {name}")
        result = function(*arguments, **named)
        effects.happens(f"after {name}")
        return result

    return call


@contextlib.contextmanager
def watching(effects: Effects) -> Iterator[None]:
    """Watch this process's changes."""
    _hooked()
    with pytest.MonkeyPatch.context() as patch:
        for table, name in WRITES:
            patch.setattr(table, name, _watched(effects, f"{table.__name__}.{name}", getattr(table, name)))
        patch.setattr(Namespace, "_ask", _watched(effects, "ask", Namespace._ask))
        _current[:] = [effects]
        try:
            yield
        finally:
            _current.clear()
