"""Which devices each kind of VM has, as QEMU itself tells, and that what is read-only is so for a guest's own root."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from boot_sectors import SECTOR, disk_with, flash_writer, writes_to_both_disks
from qemu.qmp import QMPError

from vmkiln.azure_names import Architecture
from vmkiln.host import namespace, virtual_machine
from vmkiln.host.devices import machine_events
from vmkiln.host.disk import disk_image
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.network import network_setup
from vmkiln.host.qemu import Accelerator, Disk, Firmware, Machine
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging import build_vm, container_group, virtual_network

MIB = 1024**2
DEVICES = Path(__file__).parent / "devices"
NETWORK = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=())
TRIED = b"W"


def a_build_vm(folder: Path, *, architecture: Architecture = Architecture.X64, generation: int = 1) -> Machine:
    firmware = None
    if generation == 2:
        files = find_firmware(architecture=architecture)
        assert files is not None, "the firmware is installed by script/bootstrap"
        variables = folder / "variables"
        variables.write_bytes(files.variables.read_bytes())
        firmware = Firmware(files.code, variables)
    disk = disk_with(folder / "disk", bytes(SECTOR), size_bytes=MIB)
    seed = disk_with(folder / "seed", bytes(SECTOR), size_bytes=MIB)
    data = disk_with(folder / "data", bytes(SECTOR), size_bytes=MIB)
    return build_vm.describe(
        build_vm.BuildVm(
            name="build-vm",
            cpus=2,
            memory_mib=256,
            disk=Disk(disk, "raw", is_boot=True, size_bytes=MIB),
            seed=seed,
            accelerator=Accelerator.TCG,
            firmware=firmware,
            architecture=architecture,
            data_disks={0: Disk(data, "raw", size_bytes=MIB)},
        ),
        NETWORK,
    )


def a_container_group(folder: Path) -> Machine:
    """With a kernel that is as large as none, and has no more than the header that QEMU wants of one."""
    kernel = bytearray(64 * 1024)
    kernel[0x1F1], kernel[0x211] = 4, 1
    kernel[0x202:0x208] = b"HdrS\x0c\x02"
    kernel[0x22C:0x230] = (0x37FFFFFF).to_bytes(4, "little")
    (folder / "kernel").write_bytes(kernel)
    (folder / "initramfs").write_bytes(bytes(1024))
    image, given = (disk_with(folder / name, bytes(SECTOR), size_bytes=MIB) for name in ("image", "input"))
    group = container_group.ContainerGroup(
        folder / "kernel", folder / "initramfs", image, given, Accelerator.TCG, memory_mib=64
    )
    return container_group.describe(group, NETWORK, name="container-vm")


KINDS: dict[str, Callable[[Path], Machine]] = {
    "container-group": a_container_group,
    "build-vm-generation-1": a_build_vm,
    "build-vm-generation-2": lambda folder: a_build_vm(folder, generation=2),
    "build-vm-arm64": lambda folder: a_build_vm(folder, architecture=Architecture.ARM64, generation=2),
}


@contextlib.asynccontextmanager
async def running(machine: Machine, folder: Path) -> AsyncIterator[VirtualMachine]:
    channels = {channel.name: lambda _chunk: None for channel in machine.channels}
    async with (
        asyncio.timeout(60),
        namespace.opened() as inside,
        network_setup.joined(inside, NETWORK.network),
    ):
        await virtual_machine.bind_run_directory(inside, folder)
        async with virtual_machine.running(inside, machine, directory=folder, channels=channels) as vm:
            yield vm


async def asked(vm: VirtualMachine, command: str, **arguments: object) -> Any:
    return await vm.control.execute(command, arguments)


async def pci_devices(vm: VirtualMachine) -> list[str]:
    found = []
    for bus in await asked(vm, "query-pci"):
        for device in bus["devices"]:
            ids = device["id"]
            found.append(
                f"pci {bus['bus']}:{device['slot']}.{device['function']} "
                f"{ids['vendor']:04x}:{ids['device']:04x} {device['class_info'].get('desc', 'unnamed')}"
            )
    return found


async def object_kinds(vm: VirtualMachine) -> list[str]:
    """How many objects of each kind of device there are, anywhere in the machine."""
    kinds = {one["name"] for one in await asked(vm, "qom-list-types", implements="device", abstract=False)}
    counts: Counter[str] = Counter()
    places = ["/machine"]
    while places:
        place = places.pop()
        for member in await asked(vm, "qom-list", path=place):
            if member["type"].startswith("child<"):
                kind = member["type"][len("child<") : -1]
                counts[kind] += kind in kinds
                places.append(f"{place}/{member['name']}")
    return [f"{count} x {kind}" for kind, count in sorted(counts.items()) if count]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_vm_has_the_devices_that_are_listed_and_no_other(kind: str, tmp_path: Path) -> None:
    async with running(KINDS[kind](tmp_path), tmp_path) as vm:
        found = [*await pci_devices(vm), *await object_kinds(vm)]
    assert found == (DEVICES / f"{kind}.txt").read_text().splitlines()


async def test_a_vm_of_which_qemu_tells_too_much_is_listened_to_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_events, "MOST_EVENTS", 8)
    async with running(a_build_vm(tmp_path), tmp_path) as vm:
        with contextlib.suppress(QMPError):
            for command in ("stop", "cont") * 10:  # QEMU tells of each that it was done
                await asked(vm, command)
        error = await asyncio.wait_for(vm.unheard, 30)
    assert isinstance(error, VirtualMachineLost)
    assert vm.control.events.history == vm.resets.history == ()


async def until_tried(vm: VirtualMachine) -> None:
    while TRIED not in vm.console:  # noqa: ASYNC110 (the console is no event)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_read_only", [True, False], ids=["as it is", "the control: writable"])
async def test_a_guests_root_changes_nothing_of_a_read_only_disk(is_read_only: bool, tmp_path: Path) -> None:
    boot = disk_with(tmp_path / "boot", writes_to_both_disks(), size_bytes=MIB)
    seed = disk_with(tmp_path / "seed", b"of the host".ljust(SECTOR, b"."), size_bytes=MIB)
    own = await disk_image.create_overlay(Disk(boot, "raw"), tmp_path / "own.qcow2", size_bytes=MIB)
    vm = build_vm.BuildVm("build-vm", 1, 64, replace(own, is_boot=True), seed, Accelerator.TCG, None)
    machine = build_vm.describe(vm, NETWORK)
    # the BIOS starts no disk without a place in its order
    second = replace(machine.disks[1], serial="seed,bootindex=1")
    if not is_read_only:
        second = replace(second, read_only=False, size_bytes=MIB)
    machine = replace(machine, disks=(machine.disks[0], second))
    before = seed.read_bytes(), boot.read_bytes()
    async with running(machine, tmp_path) as live:
        await until_tried(live)
    assert boot.read_bytes() == before[1], "what lies below its own disk"
    await disk_image.convert(own, tmp_path / "flat", target_format="raw")
    assert (tmp_path / "flat").read_bytes()[SECTOR : 2 * SECTOR] == writes_to_both_disks(), "its own disk it can write"
    assert (seed.read_bytes() == before[0]) is is_read_only


async def test_a_guests_root_changes_nothing_of_its_firmware(tmp_path: Path) -> None:
    code, variables = tmp_path / "code", tmp_path / "variables"
    code.write_bytes(flash_writer())
    variables.write_bytes(b"\xff" * 64 * 1024)
    machine = a_build_vm(tmp_path)
    machine = replace(machine, boot=Firmware(code, variables))
    async with running(machine, tmp_path) as live:
        await until_tried(live)
        nodes = {node["node-name"]: node["ro"] for node in await asked(live, "query-named-block-nodes")}
    assert code.read_bytes() == flash_writer()
    assert variables.read_bytes() != b"\xff" * 64 * 1024, "its variables it can write"
    assert (nodes["firmware"], nodes["variables"]) == (True, False)
