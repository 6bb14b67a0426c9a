"""Rows of starts alone, without a run round them: a build VM until its ssh server answers, and a container group.

Both stand in namespaces as those of a run, in its jails. The network of the build VM ends in them, and there a small
program asks its port 22 until it says what it is.
"""

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface
from pathlib import Path

from against_packer import VM_SIZE, BuildFailed

from speed_rows.row import Found, Row, Work
from vmkiln.host import namespace
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.making import work_group
from vmkiln.host.namespace import Ended, Namespace
from vmkiln.host.qemu import Disk, Firmware, SavedVm
from vmkiln.host.saved import saved_vm
from vmkiln.host.virtual_machine import bind_run_directory, running
from vmkiln.packer.input_disk import make_input_disk
from vmkiln.packer.packer_template import Connection, InlineShell, packer_input
from vmkiln.run.run_context import BuildHost
from vmkiln.run.starts.warming import warmed
from vmkiln.staging import build_vm, cloud_init_seed, container_group, virtual_network
from vmkiln.staging.build_vm import BuildVm
from vmkiln.staging.login_key import new_key
from vmkiln.template.source import PlatformImageSource
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.saved_base import Base, BaseStart

DISK_GB = 4
MOST_SECONDS = 600
SSH_BOOTED, SSH_RESTORED, TWO_RESTORED = "ssh answers, booted", "ssh answers, restored", "ssh of both, two at once"
GROUP_BOOTED, GROUP_RESTORED = "Packer's first line, booted", "Packer's first line, restored"
NO_GATE = "none: no image is made"
ROWS = (
    Row("ssh", "base to first ssh answer, restored / cold", 0.05, NO_GATE, SSH_RESTORED, SSH_BOOTED),
    Row("restores", "two restores at once / one", 1.4, NO_GATE, TWO_RESTORED, SSH_RESTORED),
    Row(
        "group", "container group to Packer's first line, restored / cold", 0.25, NO_GATE, GROUP_RESTORED, GROUP_BOOTED
    ),
)
ASKS = """
import socket, sys, time
while True:
    try:
        with socket.create_connection((sys.argv[1], 22), 0.25) as way:
            way.settimeout(5)
            if way.recv(4) == b"SSH-":
                break
    except OSError:
        time.sleep(0.02)
"""


@dataclass(frozen=True)
class Place:
    """Where a VM is about to start: its folder, its namespaces, its seed, from what, and who asks its port."""

    folder: Path
    inside: Namespace
    seed: Path
    start: BaseStart
    asking: "asyncio.Future[Ended]"


async def saved_base_of(host: BuildHost, image: dict[str, str], tell: Callable[[str], None]) -> tuple[Base, BaseStart]:
    """What builds of this call go on from, made now if it is not there. Raises: `BuildFailed`."""
    source = PlatformImageSource(
        type="PlatformImage", publisher="Debian", offer="debian-12", sku="12", version=image["exact_version"]
    )
    base, start = await warmed(host, source, vm_size=VM_SIZE, os_disk_size_gb=DISK_GB, progress=tell)
    if start.saved is None:
        raise BuildFailed(f"no booted build VM could be saved: {start.reason}")
    return base, start


def works(host: BuildHost, base: Base, start: BaseStart) -> tuple[Work, ...]:
    """The works of these rows; pure."""

    async def ssh_booted(folder: Path, _wanted: frozenset[str]) -> Found:
        return {SSH_BOOTED: await _ssh(folder, base, BaseStart())}

    async def ssh_restored(folder: Path, _wanted: frozenset[str]) -> Found:
        return {SSH_RESTORED: await _ssh(folder, base, start)}

    async def two_restored(folder: Path, _wanted: frozenset[str]) -> Found:
        return {TWO_RESTORED: await _ssh(folder, base, start, start)}

    async def group(folder: Path, wanted: frozenset[str]) -> Found:
        found: dict[str, float] = {}
        for name in sorted(wanted):
            place = folder / name.rpartition(" ")[2]
            place.mkdir()
            if name == GROUP_RESTORED and host.saved_group is None:
                raise BuildFailed("no container group could be saved")
            found[name] = await _first_line(place, host, host.saved_group if name == GROUP_RESTORED else None)
        return found

    return (
        Work(frozenset({SSH_BOOTED}), ssh_booted),
        Work(frozenset({SSH_RESTORED}), ssh_restored),
        Work(frozenset({TWO_RESTORED}), two_restored),
        Work(frozenset({GROUP_BOOTED, GROUP_RESTORED}), group),
    )


async def _ssh(folder: Path, base: Base, *starts: BaseStart) -> float:
    """Seconds until the ssh servers of all these VMs have answered, which start at the same time.

    Its disk is part of it: a copy of what the saved VM had written, or a new overlay. Raises: `BuildFailed`.
    """
    subnet = base.network.build_vm_subnet
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(work_group.held(guests_mib=base.memory_mib * len(starts)))
        machines = []
        for number, start in enumerate(starts):
            place = folder / str(number)
            place.mkdir()
            seed = await _seed(place / "seed.iso", base, start)
            inside = await stack.enter_async_context(namespace.opened())
            await bind_run_directory(inside, place)
            for words in (
                ("tuntap", "add", "dev", subnet.tap, "mode", "tap"),
                ("address", "add", f"{subnet.router}/{subnet.prefix.prefixlen}", "dev", subnet.tap),
                ("link", "set", subnet.tap, "up"),
                ("neighbor", "add", str(subnet.address), "lladdr", subnet.mac, "dev", subnet.tap, "nud", "permanent"),
            ):
                await inside.run(["ip", *words])
            words = [sys.executable, "-I", "-S", "-c", ASKS, str(subnet.address)]
            asking = await stack.enter_async_context(inside.start("asking", words))
            machines.append(Place(place, inside, seed, start, asking))
        await asyncio.sleep(1)  # until those who ask have begun
        begin = time.monotonic()
        ends = await asyncio.gather(*(_answered(base, machine) for machine in machines))
        return max(ends) - begin


async def _seed(path: Path, base: Base, start: BaseStart) -> Path:
    """The seed of a run that goes on from this start."""
    contents = cloud_init_seed.contents(
        instance_id=start.instance_id or "bench",
        host_name=cloud_init_seed.HOST_NAME,
        network=base.network,
        login=new_key(cloud_init_seed.KEY_COMMENT),
        host_key=new_key("host"),
    )
    await make_iso(path, contents, label=cloud_init_seed.LABEL)
    return path


async def _answered(base: Base, place: Place) -> float:
    """When the ssh server of a VM that is started here has answered. Raises: `BuildFailed`."""
    disk, firmware, saved = place.folder / "disk.qcow2", None, place.start.saved
    if saved is not None:
        await off_loop(saved_vm.copy_disk, saved, disk)
    else:
        await create_overlay(base.source, disk, size_bytes=base.disk_bytes)
    if base.firmware is not None:
        firmware = Firmware(base.firmware.code, place.folder / "variables.fd")
        await off_loop(shutil.copyfile, base.firmware.variables, firmware.variables)
        await off_loop(firmware.variables.chmod, 0o600)
    vm = BuildVm(
        name=base.name,
        cpus=base.cpus,
        memory_mib=base.memory_mib,
        disk=Disk(disk, "qcow2", backing=base.source, is_boot=True, size_bytes=base.disk_bytes),
        seed=place.seed,
        accelerator=base.accelerator,
        firmware=firmware,
        architecture=base.architecture,
    )
    machine = replace(build_vm.describe(vm, base.network), saved=saved)
    async with running(place.inside, machine, directory=place.folder, channels={}) as vm_here:
        await asyncio.wait([place.asking, vm_here.ended], timeout=MOST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not place.asking.done() or place.asking.result().status != 0:
            raise BuildFailed(f"no ssh server answered; the end of its console: {vm_here.last_console_lines(10)}")
        return time.monotonic()


async def _first_line(folder: Path, host: BuildHost, saved: SavedVm | None) -> float:
    """Seconds from the start of a container group until Packer has said something. Raises: `BuildFailed`."""
    network = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False)
    login = Connection(container_group.RELAY_PORT, cloud_init_seed.USER, new_key("login").private, 300, "/run/packer")
    content = packer_input([InlineShell("one", "", ("true",))], login)
    content = content.with_file(container_group.NETWORK_FILE, container_group.network_text(network))
    await make_input_disk(folder / "input.ext4", content)
    image, said = host.container_image, asyncio.Event()
    group = container_group.ContainerGroup(
        image.kernel, image.initramfs, image.disk, folder / "input.ext4", host.accelerator, saved=saved
    )
    machine = container_group.describe(group, network, name="container-vm")
    async with work_group.held(guests_mib=group.memory_mib), namespace.opened() as inside:
        await bind_run_directory(inside, folder)
        await inside.run(["ip", "tuntap", "add", "dev", machine.tap, "mode", "tap"])
        begin = time.monotonic()
        starting = container_group.started(inside, machine, directory=folder, on_output=lambda _chunk: said.set())
        async with starting as instance:
            try:
                async with asyncio.timeout(MOST_SECONDS):
                    await said.wait()
            except TimeoutError as error:
                raise BuildFailed(f"Packer said nothing; {instance.machine.last_console_lines(10)}") from error
            seconds = time.monotonic() - begin
            if instance.machine.went_on != (saved is not None):
                raise BuildFailed("the saved container group was of no use, and it was booted")
            return seconds
