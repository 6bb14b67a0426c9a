"""A VM that stands still becomes a lease: its RAM, devices and files sealed into the lease's folder; then it ends.

*Leaves behind:* sealed files, and the record of them. *Undone by:* `lease.forget`. *Safe to repeat:* yes, as the next
generation.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.files.sparse_file import taken_bytes
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Machine
from vmkiln.host.saved import device_state, sealed_copy
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.images.image_store import link_or_copy
from vmkiln.run.held import lease
from vmkiln.run.held.lease import MIB, Contents, Lease
from vmkiln.run_failures import NamespaceLost, VirtualMachineLost
from vmkiln.settings import Settings
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import off_loop

END_SECONDS = 30
SPARE_MIB = 1024  # of disk, beside the VM's whole memory and what it wrote


class NotLeased(VmkilnError):
    """Why a VM could not be put on disk; it goes on as it was."""

    code = "NotLeased"


@dataclass(frozen=True)
class Kept:
    """What a lease is made of: the machine on the files that it has now, its network, the key that opens it."""

    machine: Machine
    network: VirtualNetwork
    private_key: str


async def sealed(
    inside: Namespace,
    vm: VirtualMachine,
    kept: Kept,
    settings: Settings,
    store: Store,
    *,
    run_id: str,
    until: float,
    generation: int = 1,
) -> Lease:
    """Stop a VM and put it on disk until then; it has ended when this returns. The lock of its run is held by us.

    Raises: `NotLeased` when it cannot be done, and the VM goes on; `VirtualMachineLost` when it does not.
    """
    folder = lease.folder_of(settings, run_id)
    keys = {name: sealed_copy.new_key() for name in (lease.MEMORY, lease.DEVICES, *lease.own_files(kept.machine))}
    try:
        await off_loop(_begun, folder, kept.machine, settings, generation)
        devices = await device_state.save(vm.control)
        memory = folder / f"{lease.MEMORY}.{generation}"
        await inside.keep_memory(vm.name, memory, key=keys[lease.MEMORY])
        await off_loop(_files_sealed, folder, kept.machine, devices, keys, generation)
        await off_loop(_check_budget, settings, folder, generation)
        contents = Contents(
            lease.placed(
                replace(kept.machine, saved=None),
                {name: Path(name) for name in lease.own_files(kept.machine)},
                {name: Path(name) for name in lease.files_below(kept.machine)},
            ),
            kept.network,
            kept.private_key,
            {name: key.hex() for name, key in keys.items()},
        )
        found = await off_loop(
            lambda: lease.written(folder, contents, store, until=until, generation=generation),
        )
    except NamespaceLost:
        raise
    except (VmkilnError, QMPError, OSError) as error:
        await off_loop(_thrown_away, folder, generation)
        await _goes_on(vm)
        raise NotLeased(str(error) or type(error).__name__) from error
    except BaseException:
        await off_loop(_thrown_away, folder, generation)
        raise
    await _ended(vm)
    return found


def needed_mib(machine: Machine, written_mib: int) -> int:
    """What it takes of the disk at most, in MiB, when the VM's own files have so much; pure."""
    return machine.memory_mib + written_mib + SPARE_MIB


def _begun(folder: Path, machine: Machine, settings: Settings, generation: int) -> None:
    """The folder, with other names of what the disks lie on. Raises: `NotLeased`, `OSError`."""
    if settings.most_held_vms_mib <= 0:
        raise NotLeased("the setting most_held_vms_mib is 0")
    written = taken_bytes(*lease.own_files(machine).values()) // MIB
    needed = needed_mib(machine, written)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    if (free := shutil.disk_usage(folder.parent).free // MIB) < needed:
        raise NotLeased(f"{free} MiB of disk are free, and it takes up to {needed}")
    if generation > 1:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name, path in lease.files_below(machine).items():
        link_or_copy(path, folder / name)


def _files_sealed(folder: Path, machine: Machine, devices: bytes, keys: Mapping[str, bytes], generation: int) -> None:
    plain = os.memfd_create(lease.DEVICES)
    try:
        os.write(plain, devices)
        _sealed_file(plain, folder / f"{lease.DEVICES}.{generation}", keys[lease.DEVICES])
    finally:
        os.close(plain)
    for name, path in lease.own_files(machine).items():
        with path.open("rb") as file:
            _sealed_file(file.fileno(), folder / f"{name}.{generation}", keys[name])


def _sealed_file(source: int, target: Path, key: bytes) -> None:
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        sealed_copy.sealed(source, descriptor, key)
    finally:
        os.close(descriptor)


def _check_budget(settings: Settings, folder: Path, generation: int) -> None:
    going = taken_bytes(*folder.glob(f"*.{generation - 1}"))
    taken = (lease.bytes_of_all(settings) - going) // MIB
    if taken > (most := settings.most_held_vms_mib):
        raise NotLeased(f"all failed VMs that are held would take {taken} MiB, and may take {most} (most_held_vms_mib)")


def _thrown_away(folder: Path, generation: int) -> None:
    """What was begun goes; of a later generation, the lease as it was before stays.

    One that is on record by then is it: its record may have its name, and the folder not be on disk for certain.
    """
    if generation == 1:
        (folder / lease.RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        return
    recorded = lease.read(folder)
    if recorded is not None and recorded.generation == generation:
        return
    for path in folder.glob(f"*.{generation}"):
        path.unlink(missing_ok=True)


async def _goes_on(vm: VirtualMachine) -> None:
    if vm.ended.done():
        raise VirtualMachineLost(f"the {vm.name} ended while it was saved")
    try:
        await vm.control.execute("cont")
    except QMPError as error:
        raise VirtualMachineLost(f"the {vm.name} did not go on after it was not saved: {error}") from error


async def _ended(vm: VirtualMachine) -> None:
    """End what lies on disk now; whoever leaves its block ends it in any case."""
    with contextlib.suppress(QMPError):
        await vm.control.execute("quit")
    await asyncio.wait([vm.ended], timeout=END_SECONDS)
