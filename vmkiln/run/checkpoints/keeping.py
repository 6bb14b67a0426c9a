"""Keeping a build's VM behind a customizer while Packer waits: saved as a whole, named, and the others make room.

A build never fails for it: what cannot be kept is told, and the VM goes on.

*Leaves behind:* a folder in the cache. *Undone by:* `checkpoint.make_room`, `checkpoint.forget`. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import functools
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from vmkiln.files import locks
from vmkiln.files.private_folder import private_folder
from vmkiln.files.sparse_file import taken_bytes
from vmkiln.host.namespace import Namespace
from vmkiln.host.saved import saved_vm, whole_vm
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.waiting_guest import NotKept, WaitingGuest
from vmkiln.run_failures import VirtualMachineNotSaved
from vmkiln.settings import Settings
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm import checkpoint

MIB = 1024**2
SPARE_MIB = 1024  # of disk, beside the VM's whole memory and what it wrote


@dataclass(frozen=True)
class Keeper:
    """What is needed to keep a run's VM: its build, its seed, the overlay that it writes, the digest of its source.

    `tell` gets a sentence for the user at each checkpoint.
    """

    build: KeptBuild
    settings: Settings
    seed: Path
    disk: Path
    source: str
    run_id: str
    template: str
    instance_id: str
    memory_mib: int
    tell: Callable[[str], None]

    async def at_each(self, inside: Namespace, reached: "asyncio.Queue[tuple[int, str]]", vm: VirtualMachine) -> None:
        """Keep the VM at each checkpoint that is reached, without an end.

        Raises: `VirtualMachineLost` when it does not go on.
        """
        guest, done = WaitingGuest(vm, self.seed, self.build.token), 0
        while True:
            number, name = await guest.reached(reached)
            step, waits = self.build.at(number).step, False
            try:
                await guest.waits(name, reached)
                waits = True
                if number > done:  # else Packer ran the script once more
                    done = number
                    seconds = await self._kept(inside, vm, number, functools.partial(guest.go_on, name))
                    text = f"is kept for later builds ({seconds:.1f} s)"
                    self.tell(f"what the {vm.name} has come to behind `{step}` {text}")
            except (NotKept, OSError, TimeoutError) as error:
                text = error.message if isinstance(error, NotKept) else str(error) or "it took too long"
                self.tell(f"what the {vm.name} has come to behind `{step}` is not kept: {text}")
            finally:
                if waits:
                    await guest.go_on(name)

    async def _kept(
        self, inside: Namespace, vm: VirtualMachine, number: int, go_on: Callable[[], Awaitable[None]]
    ) -> float:
        """Save the VM, and give it its name; the seconds that it stood still. Raises: `NotKept`, `OSError`."""
        position = self.build.at(number)
        since = self.build.since or time.time()  # or each build that begins behind another would make it new again
        about = checkpoint.About(
            self.build.scope, number, position.step, self.run_id, self.template, since, self.instance_id
        )
        with contextlib.ExitStack() as stack:
            begun = functools.partial(begun_for, self.settings, position.key, self.disk, stack)
            workplace = await off_loop(lambda: begun(memory_mib=self.memory_mib))
            seconds = 0.0

            async def when_copied() -> None:
                nonlocal seconds
                seconds = time.monotonic() - began
                await go_on()  # digests and the disk may take their time

            try:
                began = time.monotonic()
                try:
                    await whole_vm.saved_and_goes_on(
                        inside,
                        vm,
                        workplace,
                        disk=self.disk,
                        source=self.source,
                        about=checkpoint.record_of(about),
                        when_copied=when_copied,
                    )
                except VirtualMachineNotSaved as error:
                    raise NotKept(error.message) from error
                await off_loop(named, self.settings, workplace, position.key)
            finally:
                await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)
        return seconds


def begun_for(settings: Settings, key: str, disk: Path, stack: contextlib.ExitStack, *, memory_mib: int) -> Path:
    """An empty folder to keep something in, with its lock in `stack`. Raises: `NotKept`, `OSError`."""
    folder = settings.saved_vms
    private_folder(folder)
    if reason := saved_vm.refusal(folder, key):
        raise NotKept(reason)
    disk_mib, most_mib = taken_bytes(disk) // MIB, settings.most_saved_vms_mib // 2
    if disk_mib > most_mib:
        raise NotKept(f"its disk has {disk_mib} MiB, and all checkpoints may have {most_mib} (most_saved_vms_mib)")
    if not stack.enter_context(locks.tried(locks.file_of(folder, key))):
        raise NotKept("another build keeps the same just now")
    needed = memory_mib + disk_mib + SPARE_MIB
    if (free := shutil.disk_usage(folder).free // MIB) < needed:
        raise NotKept(f"{free} MiB of disk are free, and it takes up to {needed}")
    return saved_vm.begun(folder, key)


def named(settings: Settings, workplace: Path, key: str) -> None:
    """Give it its name in the place of others of its template's position, and make room for it."""
    folder = settings.saved_vms
    if (older := saved_vm.found(folder, key)) is not None:
        saved_vm.discard(older)
    saved_vm.named(workplace)
    for one in checkpoint.all_of(folder):
        if one.key == key:
            checkpoint.replace_others(folder, one)
    checkpoint.make_room(folder, most_bytes=settings.most_saved_vms_mib * MIB, keep=key)
