"""What the walls of a run cost: their set-up and tear-down, and a VM's boot inside them against the bare QEMU.

    python bench/isolation_tax.py [--rounds N] [--boots N] [--kernel FOLDER] [--json]

walls  control group, namespaces, rules, network, resolver, way out with its jail, flow log: up, and gone again
boot   a VM of a kernel and busybox, until it has powered itself off, in the jail of a build VM inside all walls / the
       same kernel, memory and devices by QEMU on its own; the two take turns, and the ratio is of the medians

The walls are up before the boot's clock begins, as in a build, where they are set up once; what that takes is a row of
its own. `--kernel` is where the container group's kernel is kept, and is filled when it is empty.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from vmkiln.host import command, qemu
from vmkiln.host.accelerator import probe_initramfs
from vmkiln.host.confinement import run_group
from vmkiln.host.copies import launching
from vmkiln.host.disk.container_kernel import obtain_kernel
from vmkiln.host.namespace import Namespace, opened
from vmkiln.host.network import flow_log, network_setup
from vmkiln.host.network.flow_log import FlowLog, Whereabouts
from vmkiln.host.qemu import Accelerator, DirectKernel, Machine
from vmkiln.host.virtual_machine import INSIDE, bind_run_directory, running
from vmkiln.staging import virtual_network

MEMORY_MIB = 256
UP_TARGET_SECONDS, DOWN_TARGET_SECONDS, BOOT_TARGET = 0.15, 0.3, 1.03
NETWORK = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False, allowances=()).network


@dataclass
class Seconds:
    """How long each part of the walls took to be set up, and all of them to be set up and to be gone."""

    parts: dict[str, list[float]] = field(default_factory=dict)
    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)

    def part(self, name: str, began: float) -> float:
        """A part is up; gives when the next one begins."""
        now = time.monotonic()
        self.parts.setdefault(name, []).append(now - began)
        return now


@contextlib.asynccontextmanager
async def walls(folder: Path, seconds: Seconds) -> AsyncIterator[Namespace]:
    """All that stands round the VMs of a run, as `run/workflow.py` sets it up."""
    began = now = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        limits = run_group.limits_of(guests_mib=2 * MEMORY_MIB)
        group = stack.enter_context(run_group.held(f"bench-{os.getpid()}", limits))
        inside = await stack.enter_async_context(opened(group=group))
        now = seconds.part("namespaces", now)
        await bind_run_directory(inside, folder)
        flows = FlowLog(NETWORK, Whereabouts(), str)
        lost = await stack.enter_async_context(network_setup.joined(inside, NETWORK, on_question=flows.question))
        now = seconds.part("rules, network, resolver, way out", now)
        await stack.enter_async_context(flow_log.recorded(inside, flows, folder / "flows.jsonl", lost))
        seconds.part("flow log", now)
        seconds.up.append(time.monotonic() - began)
        yield inside
        leaving = time.monotonic()
    seconds.down.append(time.monotonic() - leaving)


def machine_of(kernel: Path, initramfs: Path) -> Machine:
    """The VM of both sides; it has no network device, for the bare one has no network."""
    return Machine(
        name="booted",
        accelerator=Accelerator.KVM if os.access("/dev/kvm", os.R_OK | os.W_OK) else Accelerator.TCG,
        cpus=1,
        memory_mib=MEMORY_MIB,
        disks=(),
        tap="",
        mac="",
        console_socket=INSIDE / "booted.console",
        control_socket=INSIDE / "booted.qmp",
        boot=DirectKernel(kernel, initramfs, "console=ttyS0 panic=-1 quiet"),
        may_reboot=False,
    )


async def inside_walls(machine: Machine, folder: Path, seconds: Seconds) -> float:
    """Seconds from the start of the VM to its end."""
    async with walls(folder, seconds) as inside:
        began = time.monotonic()
        async with running(inside, machine, directory=folder, channels={}) as vm:
            ended = await vm.ended
            took = time.monotonic() - began
        if ended.status != 0:
            raise RuntimeError(f"QEMU ended with status {ended.status}: {ended.output}")
    return took


def bare_arguments(machine: Machine) -> list[str]:
    """The same VM by QEMU on its own: it begins at once, its console is its output, and nobody controls it; pure."""
    assert isinstance(machine.boot, DirectKernel)
    replaced = {
        qemu.KERNEL_INSIDE: str(machine.boot.image),
        qemu.INITRAMFS_INSIDE: str(machine.boot.initramfs),
        "socket,id=console,fd=@console@,server=off": "stdio,id=console",
        "socket,id=control,fd=@control@,server=off": "null,id=control",
    }
    return [replaced.get(word, word) for word in qemu.arguments(machine) if word != "-S"]


async def bare(machine: Machine) -> float:
    """Seconds from the start of QEMU to its end."""
    began = time.monotonic()
    await command.run(bare_arguments(machine), timeout_seconds=600)
    return time.monotonic() - began


def percentile(values: list[float], part: float) -> float:
    """The smallest value that so large a part of them is not above; pure."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


async def booted_machine(home: Path, kept: Path | None) -> Machine:
    """What is booted; its kernel is fetched where it is not kept."""
    kernel = await obtain_kernel(kept or home / "kernel", progress=lambda text: print(text, file=sys.stderr))
    initramfs = home / "initramfs"
    initramfs.write_bytes(probe_initramfs("booted", Path(shutil.which("busybox") or "/bin/busybox").read_bytes()))
    return machine_of(kernel.vmlinuz, initramfs)


async def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, in one call."""
    seconds, boots = Seconds(), dict[str, list[float]](walls=[], bare=[])
    async with contextlib.AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmkiln-tax-", dir="/var/tmp")))
        machine = await booted_machine(home, options.kernel) if options.boots else None
        await stack.enter_async_context(launching.kept())  # as a service does
        for number in range(options.rounds + 1):
            folder = home / f"run-{number}"
            folder.mkdir()
            kept = Seconds() if number == 0 else seconds  # what is asked once for each process is asked then
            async with walls(folder, kept):
                pass
        for number in range(options.boots):
            assert machine is not None
            folder = home / f"boot-{number}"
            folder.mkdir()
            boots["bare"].append(await bare(machine))
            boots["walls"].append(await inside_walls(machine, folder, Seconds()))
    return {
        "load": os.getloadavg()[0],
        "up": seconds.up,
        "down": seconds.down,
        "parts": seconds.parts,
        "boots": boots,
        "ratio": statistics.median(boots["walls"]) / statistics.median(boots["bare"]) if options.boots else None,
    }


def shown(found: dict[str, Any]) -> None:
    """The rows, one below the other."""
    print(f"load of the last minute: {found['load']:.1f}, {os.cpu_count()} CPUs")
    for name, target in (("up", UP_TARGET_SECONDS), ("down", DOWN_TARGET_SECONDS)):
        middle, most = (1000 * percentile(found[name], part) for part in (0.5, 0.95))
        print(f"walls {name:<5} p50 {middle:6.0f} ms  p95 {most:6.0f} ms  (target p95 {1000 * target:.0f} ms)")
    for name, values in found["parts"].items():
        middle, most = (1000 * percentile(values, part) for part in (0.5, 0.95))
        print(f"  {name:<34} p50 {middle:6.0f} ms  p95 {most:6.0f} ms")
    if found["ratio"] is not None:
        print(f"boot inside all walls / bare: {found['ratio']:.3f} (target {BOOT_TARGET})")
        for name, values in found["boots"].items():
            print(f"  {name:<8} {' '.join(f'{value:7.2f}' for value in values)} s")


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how often the walls are set up (default 20)")
    parser.add_argument("--boots", type=int, default=5, help="how often each side boots (default 5)")
    parser.add_argument("--kernel", type=Path, help="where the container group's kernel is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = await measured(options)
    if options.json:
        print(json.dumps(found))
    else:
        shown(found)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
