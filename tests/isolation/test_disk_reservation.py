"""What a run may have of the host's disk: a guest that writes more is stopped, and the build beside it goes on."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from boot_sectors import SECTOR, disk_with, writes_for_ever

from vmkiln.host import namespace, qemu, virtual_machine
from vmkiln.host.network import network_setup
from vmkiln.host.qemu import Accelerator, Disk, Machine
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.staging import virtual_network

MIB = 1024**2
FILE_SYSTEM_MIB = 48
DISK_MIB = 256
RESERVED_MIB = 20
CLUSTER_SECTORS = 65536 // SECTOR
NETWORK = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=())


@dataclass
class Builds:
    """Two VMs with disks on one small file system; each has been promised less than half of it."""

    greedy: VirtualMachine
    beside: VirtualMachine
    inside: namespace.Namespace
    disks: Path

    async def write_beside(self, count_mib: int) -> None:
        """Write to the second VM's disk as its device does; QEMU says to nobody how it went."""
        answers = []
        for number in range(8):
            device = f"/machine/peripheral-anon/device[{number}]/virtio-backend"
            command = f'qemu-io -d {device} "write -P 1 0 {count_mib}M"'
            answers.append(await self.beside.control.execute("human-monitor-command", {"command-line": command}))
        assert "" in answers, answers

    async def written_mib(self, vm: VirtualMachine) -> int:
        found = await self.inside.run(["stat", "-c", "%b", self.disks / f"{vm.name}.qcow2"])
        return int(found.text) * 512 // MIB


@contextlib.asynccontextmanager
async def two_builds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Builds]:
    monkeypatch.setattr(qemu, "TABLES_BYTES", 0)
    disks = folder / "disks"
    disks.mkdir()
    guest = disk_with(folder / "guest", writes_for_ever(CLUSTER_SECTORS), size_bytes=DISK_MIB * MIB)
    empty = disk_with(folder / "empty", bytes(SECTOR), size_bytes=DISK_MIB * MIB)
    async with (
        asyncio.timeout(60),
        contextlib.AsyncExitStack() as stack,
        namespace.opened() as inside,
        network_setup.joined(inside, NETWORK.network),
    ):
        await inside.run(["mount", "-t", "tmpfs", "-o", f"size={FILE_SYSTEM_MIB}m,mode=0700", "none", disks])
        vms = []
        subnets = (NETWORK.build_vm_subnet, NETWORK.container_group_subnet)
        for name, below, subnet in zip(("greedy", "beside"), (guest, empty), subnets, strict=True):
            own = folder / name
            own.mkdir()
            file = disks / f"{name}.qcow2"
            await inside.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", file])
            disk = Disk(file, "qcow2", backing=Disk(below, "raw"), size_bytes=RESERVED_MIB * MIB, is_boot=True)
            sockets = own / "console", own / "control"
            machine = Machine(name, Accelerator.TCG, 1, 64, (disk,), subnet.tap, "02:00:00:00:00:01", *sockets)
            running = virtual_machine.running(inside, machine, directory=own, channels={})
            vms.append(await stack.enter_async_context(running))
        yield Builds(*vms, inside, disks)


async def test_a_guest_that_writes_more_than_its_reservation_is_stopped_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_builds(tmp_path, monkeypatch) as builds:
        error = await builds.greedy.stopped_by_write_error()
        assert (error.has_no_room, error.reason) == (False, os.strerror(errno.EFBIG))
        assert RESERVED_MIB - 2 <= await builds.written_mib(builds.greedy) <= RESERVED_MIB
        await builds.write_beside(RESERVED_MIB - 4)
        assert await builds.written_mib(builds.beside) >= RESERVED_MIB - 4
        assert not builds.beside.ended.done()


async def test_without_a_reservation_a_greedy_guest_takes_the_disk_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "most_file_bytes", lambda _machine: 1024 * MIB)
    async with two_builds(tmp_path, monkeypatch) as builds:
        assert (await builds.greedy.stopped_by_write_error()).has_no_room
        await builds.write_beside(RESERVED_MIB - 4)
        assert await builds.written_mib(builds.beside) < 8
