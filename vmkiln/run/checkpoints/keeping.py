"""Keeping a build's VM behind a customizer while Packer waits: saved as a whole, named, and the others make room.

A build never fails for it: what cannot be kept is told, and the VM goes on.

*Leaves behind:* a folder in the cache. *Undone by:* `checkpoint.make_room`, `checkpoint.forget`. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import VmkilnError
from vmkiln.files import locks
from vmkiln.host.namespace import Namespace
from vmkiln.host.saved import saved_vm, whole_vm
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run_failures import VirtualMachineNotSaved
from vmkiln.settings import Settings
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm import checkpoint
from vmkiln.warm.checkpoint_step import write_word
from vmkiln.warm.saved_base import SAYS

READY_SECONDS = 180  # measured: 5 s under emulation
LOOK_SECONDS = 0.05
MIB = 1024**2
SPARE_MIB = 1024  # of disk, beside the VM's whole memory and what it wrote


class NotKept(VmkilnError):
    """Why the VM is not kept at this checkpoint; the build goes on."""

    code = "NotKept"


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

    async def at_each(self, inside: Namespace, reached: "asyncio.Queue[int]", vm: VirtualMachine) -> None:
        """Keep the VM at each checkpoint that Packer has reached, without an end.

        Raises: `VirtualMachineLost` when it does not go on.
        """
        done = 0
        while True:
            number = await reached.get()
            if number <= done:  # Packer began the step once more
                continue
            done = number
            step = self.build.at(number).step
            try:
                seconds = await self._kept(inside, reached, vm, number)
                self.tell(f"what the {vm.name} has come to behind `{step}` is kept for later builds ({seconds:.1f} s)")
            except (NotKept, OSError, TimeoutError) as error:
                text = error.message if isinstance(error, NotKept) else str(error) or "it took too long"
                self.tell(f"what the {vm.name} has come to behind `{step}` is not kept: {text}")
            finally:
                await off_loop(write_word, self.seed, self.build.token, number)

    async def _kept(self, inside: Namespace, reached: "asyncio.Queue[int]", vm: VirtualMachine, number: int) -> float:
        """Save the VM, and give it its name; the seconds that it stood still. Raises: `NotKept`, `OSError`."""
        position = self.build.at(number)
        await _ready(vm, number, reached)
        since = self.build.since or time.time()  # or each build that begins behind another would make it new again
        about = checkpoint.About(
            self.build.scope, number, position.step, self.run_id, self.template, since, self.instance_id
        )
        with contextlib.ExitStack() as stack:
            workplace = await off_loop(self._begun, position.key, stack)
            try:
                began = time.monotonic()
                try:
                    saving = whole_vm.saved_and_goes_on(
                        inside, vm, workplace, disk=self.disk, source=self.source, about=checkpoint.record_of(about)
                    )
                    async with saving:
                        pass
                except VirtualMachineNotSaved as error:
                    raise NotKept(error.message) from error
                seconds = time.monotonic() - began
                await off_loop(write_word, self.seed, self.build.token, number)  # the disk may take its time
                await off_loop(self._named, workplace, position.key)
            finally:
                await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)
        return seconds

    def _begun(self, key: str, stack: contextlib.ExitStack) -> Path:
        folder = self.settings.saved_vms
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if reason := saved_vm.refusal(folder, key):
            raise NotKept(reason)
        disk_mib, most_mib = self.disk.stat().st_blocks * 512 // MIB, self.settings.most_saved_vms_mib // 2
        if disk_mib > most_mib:
            raise NotKept(f"its disk has {disk_mib} MiB, and all checkpoints may have {most_mib} (most_saved_vms_mib)")
        if not stack.enter_context(locks.tried(locks.file_of(folder, key))):
            raise NotKept("another build keeps the same just now")
        needed = self.memory_mib + disk_mib + SPARE_MIB
        if (free := shutil.disk_usage(folder).free // MIB) < needed:
            raise NotKept(f"{free} MiB of disk are free, and it takes up to {needed}")
        return saved_vm.begun(folder, key)

    def _named(self, workplace: Path, key: str) -> None:
        """Give it its name in the place of others of its template's position, and make room for it."""
        folder = self.settings.saved_vms
        if (older := saved_vm.found(folder, key)) is not None:
            saved_vm.discard(older)
        saved_vm.named(workplace)
        for one in checkpoint.all_of(folder):
            if one.key == key:
                checkpoint.replace_others(folder, one)
        checkpoint.make_room(folder, most_bytes=self.settings.most_saved_vms_mib * MIB, keep=key)


async def _ready(vm: VirtualMachine, number: int, reached: "asyncio.Queue[int]") -> None:
    """Wait until the guest says that it is ready to be saved. Raises: `NotKept` with why it is not."""
    async with asyncio.timeout(READY_SECONDS):
        while not vm.ended.done():
            for word, reason in _said(bytes(vm.console).decode(errors="replace"), number):
                if word == "ready":
                    return
                raise NotKept(reason[:300] or "it cannot be done in it")
            while not reached.empty():
                if (following := reached.get_nowait()) > number:
                    reached.put_nowait(following)
                    raise NotKept("its program did not begin")
            await asyncio.sleep(LOOK_SECONDS)
    raise NotKept("it has ended")


def _said(console: str, number: int) -> Iterator[tuple[str, str]]:
    """What the guest said of a checkpoint: `ready`, or `skipped` with the reason; pure."""
    for found in re.finditer(rf"{SAYS} (ready|skipped) {number}(?:: ([^\r\n]*))?[\r\n]", console):
        yield found[1], found[2] or ""
