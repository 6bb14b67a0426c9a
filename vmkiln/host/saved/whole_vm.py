"""A running VM saved as a whole: its RAM, its devices and its disk, as they were at one moment.

The VM has its RAM in a file of its own (`Machine.has_memory_file`), which is mapped shared, so what is in the file is
what the VM has. It is stopped, its devices are saved, RAM and disk are copied at the same time; then it may go on, or
be ended. The digests are taken of the copies, which nobody else has, so a VM that goes on does not wait for them.
Another goes on from copies of what was saved: `Machine.saved` for RAM and devices, `saved_vm.copy_disk` for the disk.
So nobody has a writable descriptor on anything that is kept.

*Leaves behind:* the folder that it is given. *Undone by:* `saved_vm.discard`. *Safe to repeat:* yes, in another folder.
Source: QEMU's run states: a VM that has been migrated takes its disks again when it is told to go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import SavedVm
from vmkiln.host.saved import device_state, memory_file, saved_vm
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
    devices = await _copied(inside, vm, workplace, disk)
    return await _finished(workplace, devices, source=source, about=about)


async def saved_and_goes_on(
    inside: Namespace,
    vm: VirtualMachine,
    workplace: Path,
    *,
    disk: Path | None = None,
    source: str = "",
    about: Mapping[str, object] | None = None,
    when_copied: Callable[[], Awaitable[None]] | None = None,
) -> SavedVm:
    """The same for a VM that goes on: as soon as all of it is copied, and whatever happened before.

    `when_copied` is called while it still stands.

    Raises: as `save`, and as `when_copied`; `VirtualMachineLost` when it does not go on.
    """
    try:
        devices = await _copied(inside, vm, workplace, disk)
        if when_copied is not None:
            await when_copied()
    finally:
        try:
            await vm.control.execute("cont")
        except QMPError as error:
            raise VirtualMachineLost(f"the {vm.name} did not go on after it was saved: {error}") from error
    return await _finished(workplace, devices, source=source, about=about)


async def _copied(inside: Namespace, vm: VirtualMachine, workplace: Path, disk: Path | None) -> bytes:
    """Stop the VM and copy RAM and disk into the folder; gives the state of the devices."""
    try:
        devices = await device_state.save(vm.control)
    except QMPError as error:
        raise VirtualMachineNotSaved(f"the {vm.name} could not be saved: {error}") from error
    # each waits for the end of the other, whatever becomes of it: the VM goes on behind this, and the folder goes
    for failure in await asyncio.gather(
        _memory_kept(inside, vm, workplace), _disk_kept(disk, workplace), return_exceptions=True
    ):
        if failure is not None:
            raise failure
    return devices


async def _memory_kept(inside: Namespace, vm: VirtualMachine, workplace: Path) -> None:
    try:
        await inside.keep_memory(vm.name, workplace / saved_vm.MEMORY, has_digest=False)
    except NamespaceLost:
        raise
    except VmkilnError as error:
        raise VirtualMachineNotSaved(f"the memory of the {vm.name} could not be saved: {error}") from error


async def _disk_kept(disk: Path | None, workplace: Path) -> None:
    if disk is not None:
        await off_loop(saved_vm.copy_file, disk, workplace / saved_vm.DISK)


async def _finished(workplace: Path, devices: bytes, *, source: str, about: Mapping[str, object] | None) -> SavedVm:
    digest = await asyncio.to_thread(memory_file.digest_of_file, workplace / saved_vm.MEMORY)
    return await asyncio.to_thread(saved_vm.finished, workplace, devices, digest, source=source, about=about)
