"""A running VM saved as a whole: its RAM, its devices and its disk, as they were at one moment.

The VM has its RAM in a file of its own (`Machine.has_memory_file`), which is mapped shared, so what is in the file is
what the VM has. It is stopped, its devices are saved, RAM and disk are copied at the same time; then it may go on, or
be ended. Another goes on from copies of what was saved: `Machine.saved` for RAM and devices, `saved_vm.copy_disk` for
the disk. So nobody has a writable descriptor on anything that is kept.

*Leaves behind:* the folder that it is given. *Undone by:* `saved_vm.discard`. *Safe to repeat:* yes, in another folder.
Source: QEMU's run states: a VM that has been migrated takes its disks again when it is told to go on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import SavedVm
from vmkiln.host.saved import device_state, saved_vm
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run_failures import NamespaceLost, VirtualMachineLost, VirtualMachineNotSaved
from vmkiln.waiting.off_loop import off_loop


async def save(
    inside: Namespace,
    vm: VirtualMachine,
    workplace: Path,
    *,
    disk: Path | None = None,
    source: str = "",
    about: Mapping[str, object] | None = None,
) -> SavedVm:
    """Stop a VM and save it in a folder that `saved_vm.begun` made; it stands still from then on.

    `disk` is the overlay that it writes; without it, its disk is its caller's to keep. The folder has no name yet:
    `saved_vm.named` gives it one. `source` and `about` go into its record.

    Raises: `VirtualMachineNotSaved` when it cannot be saved, also for want of room for its RAM; `OSError` when there is
    none for the rest; `NamespaceLost`.
    """
    try:
        devices = await device_state.save(vm.control)
    except QMPError as error:
        raise VirtualMachineNotSaved(f"the {vm.name} could not be saved: {error}") from error
    # each waits for the end of the other, whatever becomes of it: the VM goes on behind this, and the folder goes
    memory, copied = await asyncio.gather(
        _memory_kept(inside, vm, workplace), _disk_kept(disk, workplace), return_exceptions=True
    )
    if isinstance(memory, BaseException):
        raise memory
    if isinstance(copied, BaseException):
        raise copied
    return await off_loop(
        lambda: saved_vm.finished(workplace, devices, memory, source=source, disk_digest=copied, about=about),
    )


async def _memory_kept(inside: Namespace, vm: VirtualMachine, workplace: Path) -> str:
    try:
        return await inside.keep_memory(vm.name, workplace / saved_vm.MEMORY)
    except NamespaceLost:
        raise
    except VmkilnError as error:
        raise VirtualMachineNotSaved(f"the memory of the {vm.name} could not be saved: {error}") from error


async def _disk_kept(disk: Path | None, workplace: Path) -> str:
    return "" if disk is None else await off_loop(saved_vm.copied_file, disk, workplace / saved_vm.DISK)


@contextlib.asynccontextmanager
async def saved_and_goes_on(
    inside: Namespace,
    vm: VirtualMachine,
    workplace: Path,
    *,
    disk: Path | None = None,
    source: str = "",
    about: Mapping[str, object] | None = None,
) -> AsyncIterator[SavedVm]:
    """The same for a VM that goes on: at the end of the block, and whatever happened before.

    Raises: as `save`; `VirtualMachineLost` when it does not go on.
    """
    try:
        yield await save(inside, vm, workplace, disk=disk, source=source, about=about)
    finally:
        try:
            await vm.control.execute("cont")
        except QMPError as error:
            raise VirtualMachineLost(f"the {vm.name} did not go on after it was saved: {error}") from error
