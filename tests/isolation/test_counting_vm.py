"""A VM saved as a whole while it works: it goes on, and so does another, from the same moment and on copies."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from boot_sectors import COUNT_AT, LOADED_AT, SECTOR, counts_for_ever, disk_with

from vmkiln.host import namespace, virtual_machine
from vmkiln.host.network import network_setup
from vmkiln.host.qemu import Accelerator, Disk, Machine, SavedVm
from vmkiln.host.saved import saved_vm, whole_vm
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run_failures import VirtualMachineNotSaved
from vmkiln.staging import virtual_network

MIB = 1024**2
MEMORY_MIB = 64
KEY = "key"
COUNTED = bytes(range(1, 20))
# the end of the BIOS's last words, which it says at a tick of the clock that may come when the guest counts already
BIOS_ENDS = (b"", b".\r\n", b"\r\n", b"\n")
NETWORK = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=())


def goes_on(console: Sequence[int], count: int) -> bool:
    """Whether a guest that counts goes on where it stood."""
    ways = [end + bytes([(count + more) % 256]) for end in BIOS_ENDS for more in (0, 1)]
    return any(map(bytes(console[:20]).startswith, ways))


@dataclass
class Counting:
    """A namespace with a network, and the guest's disk; it counts in memory, on its disk and on its console."""

    inside: namespace.Namespace
    folder: Path
    guest: Path
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def started(self, name: str, disk: Path, saved: SavedVm | None = None) -> VirtualMachine:
        own = self.folder / name
        own.mkdir()
        machine = Machine(
            name,
            Accelerator.TCG,
            1,
            MEMORY_MIB,
            (Disk(disk, "qcow2", backing=Disk(self.guest, "raw"), is_boot=True, size_bytes=MIB),),
            NETWORK.build_vm_subnet.tap,
            "02:00:00:00:00:01",
            own / "console",
            own / "control",
            is_saveable=True,
            boots_plugged_in=True,
            saved=saved,
        )
        running = virtual_machine.running(self.inside, machine, directory=own, channels={})
        return await self.stack.enter_async_context(running)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def byte_at(path: Path, position: int) -> int:
    with path.open("rb") as file:
        file.seek(position)
        return file.read(1)[0]


async def test_a_whole_vm_is_saved_at_one_moment_and_goes_on_twice(tmp_path: Path) -> None:
    guest = disk_with(tmp_path / "guest", counts_for_ever(), size_bytes=MIB)
    disk, own_disk, shown = tmp_path / "disk.qcow2", tmp_path / "own-disk.qcow2", tmp_path / "shown"
    kept = tmp_path / "kept"
    kept.mkdir()
    workplace = saved_vm.begun(kept, KEY)
    async with (
        asyncio.timeout(120),
        namespace.opened() as inside,
        network_setup.joined(inside, NETWORK.network),
        contextlib.AsyncExitStack() as stack,
    ):
        await inside.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", guest, "-F", "raw", disk])
        counting = Counting(inside, tmp_path, guest)
        stack.push_async_exit(counting.stack)
        first = await counting.started("first", disk)
        await until(lambda: COUNTED in first.console)  # behind what the BIOS says
        saved = await whole_vm.saved_and_goes_on(inside, first, workplace, disk=disk)
        saved_vm.named(workplace)
        said_when_it_stood = len(first.console)
        await until(lambda: len(first.console) > said_when_it_stood + 10 or first.ended.done())
        assert not first.ended.done(), "it went on itself"
        await counting.stack.aclose()

        found = saved_vm.found(kept, KEY)
        assert found is not None
        assert found.memory_digest == saved.memory_digest
        count = byte_at(found.memory, COUNT_AT)
        assert found.disk is not None
        await inside.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", found.disk, shown])
        assert (count - byte_at(shown, SECTOR + COUNT_AT - LOADED_AT)) % 256 in {0, 1}, "at one moment"

        saved_vm.copy_disk(found, own_disk)
        second = await counting.started("second", own_disk, found)
        await until(lambda: len(second.console) > 10 or second.ended.done())
        assert not second.ended.done()
        assert goes_on(second.console, count), f"from {count}: {list(second.console[:20])}"
        assert saved_vm.is_whole(found), "nobody wrote to what is kept"


async def test_a_vm_for_whose_memory_there_is_no_room_goes_on(tmp_path: Path) -> None:
    guest, disk = disk_with(tmp_path / "guest", counts_for_ever(), size_bytes=MIB), tmp_path / "disk.qcow2"
    workplace = saved_vm.begun(tmp_path / "kept", KEY)
    async with (
        asyncio.timeout(120),
        namespace.opened() as inside,
        network_setup.joined(inside, NETWORK.network),
        contextlib.AsyncExitStack() as stack,
    ):
        await inside.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", guest, "-F", "raw", disk])
        await inside.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", workplace])
        counting = Counting(inside, tmp_path, guest)
        stack.push_async_exit(counting.stack)
        vm = await counting.started("first", disk)
        await until(lambda: COUNTED in vm.console)
        with pytest.raises(VirtualMachineNotSaved, match="No space left on device"):
            await whole_vm.saved_and_goes_on(inside, vm, workplace, disk=disk)
        said_when_it_stood = len(vm.console)
        await until(lambda: len(vm.console) > said_when_it_stood + 10 or vm.ended.done())
        assert not vm.ended.done(), "it went on"
    # its disk was copied at the same time, outside of the namespace, and goes with the folder
    assert not (workplace / saved_vm.MEMORY).exists(), "what was begun of its memory lay on the full disk"
