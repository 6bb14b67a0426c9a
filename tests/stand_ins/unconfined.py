"""Lets stand-ins run where QEMU and qemu-img would be jailed: they write to the run's folder, and wait at a pipe there.

They get their sockets as QEMU does, open; nothing else of the jails is there, and nothing is said of them. What holds
the real programs is tried in tests/isolation and tests/vm.
"""

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vmkiln.host import virtual_machine
from vmkiln.host.confinement import program_jail, vm_jail
from vmkiln.host.confinement.confinement import Confinement
from vmkiln.host.confinement.descriptors import Kind
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.confinement.vm_jail import confinement_of
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Machine

HELD_SECONDS = 300


@dataclass(frozen=True)
class _Unconfined(Confinement):
    """Sockets, and nothing that holds the process."""

    def described(self) -> dict[str, Any]:
        plugs = [one.described() for one in self.descriptors if one.kind is Kind.CONNECT]
        return {"jail": None, "descriptors": plugs, "environment": dict(os.environ)}


def _unconfined(machine: Machine, files: ProgramFiles, *, own_id: int) -> Confinement:
    assert own_id > 0
    meant = confinement_of(machine, files, own_id=own_id)
    return _Unconfined(meant.jail, meant.descriptors, meant.environment)


async def _nothing_said(*_arguments: object) -> list[Any]:
    return []


async def _program(program: str) -> ProgramFiles:
    return ProgramFiles(program, ())


def _as_it_is(_jail: program_jail.ProgramJail) -> None:
    """Nothing holds it."""


def install() -> None:
    """For the rest of this process, which is one of stand-ins."""
    vm_jail.confinement_of = _unconfined
    virtual_machine._confinement = _nothing_said  # type: ignore[assignment]
    virtual_machine.program_files = _program
    Namespace.next_vm_id = lambda _self: 1  # type: ignore[method-assign]
    program_jail.enter = _as_it_is


def wait_for_those_held() -> None:
    """For the rest of this process: what is held on purpose is no program that hangs.

    It is held until all others are, which takes longer on a busy machine than anything real does.
    """
    virtual_machine.CONNECT_SECONDS = HELD_SECONDS
    Namespace.run = functools.partialmethod(Namespace.run, timeout_seconds=HELD_SECONDS)  # type: ignore[assignment, method-assign]


@contextlib.contextmanager
def unconfined() -> Iterator[None]:
    """For a block of a test."""
    before = vm_jail.confinement_of, virtual_machine._confinement, virtual_machine.program_files
    next_vm_id, enter = Namespace.next_vm_id, program_jail.enter
    install()
    try:
        yield
    finally:
        vm_jail.confinement_of, virtual_machine._confinement, virtual_machine.program_files = before
        Namespace.next_vm_id = next_vm_id  # type: ignore[method-assign]
        program_jail.enter = enter
