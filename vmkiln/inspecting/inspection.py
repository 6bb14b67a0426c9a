"""Looking at disks from outside the VM that wrote them, by a VM of its own: the inspection VM.

A file system that a guest wrote is never read by this machine's kernel. The inspection VM has one of its own, the
container group's, no network, in the same jail as every other VM, and tells what it finds over one virtio-serial port.

*Leaves behind:* nothing; with `scrub`, zeros where the disk's file systems have free blocks; with `trim`, disks without
what a first boot needs not wait for. *Undone by:* leaving. *Safe to repeat:* yes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.host.confinement.confinement import OnConfinement
from vmkiln.host.namespace import Ended, Namespace
from vmkiln.host.qemu import Accelerator, Channel, DirectKernel, Disk, Machine
from vmkiln.host.virtual_machine import INSIDE, VirtualMachine, running
from vmkiln.images.container_image import ContainerImage
from vmkiln.inspecting.answer import Answer
from vmkiln.inspecting.disk_contents import DiskContents
from vmkiln.inspecting.kept_contents import keep
from vmkiln.run_failures import InspectionFailed
from vmkiln.waiting.off_loop import off_loop

NAME = "inspection-vm"
CHANNEL = "inspection.answer"
CPUS, MEMORY_MIB = 1, 320
# as a staging resource: type, name, detail
_DETAIL: dict[str, object] = {"cpus": CPUS, "memoryMiB": MEMORY_MIB, "hasNetwork": False}
RESOURCE = (VIRTUAL_MACHINE, NAME, _DETAIL)
LOOK_SECONDS = 900
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off"


def describe(
    image: ContainerImage,
    disks: Sequence[Disk],
    *,
    accelerator: Accelerator,
    scrub: bool,
    trim: bool = False,
    name: str = NAME,
) -> Machine:
    """The inspection VM; its disks may be written to only to scrub them, and with `trim` to trim them before; pure."""
    options = f"{KERNEL_OPTIONS} vmkiln.work={'trim' if trim else 'scrub' if scrub else 'look'}"
    return Machine(
        name=name,
        accelerator=accelerator,
        cpus=CPUS,
        memory_mib=MEMORY_MIB,
        disks=tuple(replace(disk, read_only=not (scrub or trim), is_boot=False) for disk in disks),
        tap="",
        mac="",
        console_socket=INSIDE / f"{name}.console",
        control_socket=INSIDE / f"{name}.qmp",
        boot=DirectKernel(image.kernel, image.inspector, options),
        channels=(Channel(CHANNEL, INSIDE / f"{name}.answer"),),
        may_reboot=False,
    )


async def look_at(
    namespace: Namespace,
    machine: Machine,
    *,
    directory: Path,
    on_confinement: OnConfinement | None = None,
    limit_seconds: float = LOOK_SECONDS,
    is_kept: bool = True,
    answer: Answer | None = None,
) -> DiskContents:
    """What is on the disks of an inspection VM. `directory` is the run's folder, bound into the namespace.

    What of it goes with an image is kept in the folder (`kept_contents.py`), unless the disks are not the image's.
    `answer` reads what is told, for a caller who wants more of it.

    Raises: `InspectionFailed` when it does not answer in time, or not in its form; `VirtualMachineLost` and
    `NotConfined` as every VM.
    """
    answer = answer or Answer()
    started = running(
        namespace, machine, directory=directory, channels={CHANNEL: answer.feed}, on_confinement=on_confinement
    )
    async with started as vm:
        ended, console = await until_ended(vm, machine.name, limit_seconds=limit_seconds)
    # its sockets were read to their end when the block was left
    if vm.unheard.done():
        raise vm.unheard.result()
    if not answer.is_complete:
        raise InspectionFailed(
            f"the {machine.name} ended (status {ended.status}) before its answer was whole: {ended.output}".strip(),
            hint="the end of its console:\n" + console,
        )
    found = answer.contents()
    if is_kept:
        await off_loop(keep, directory, found)
    return found


async def until_ended(vm: VirtualMachine, name: str, *, limit_seconds: float) -> tuple[Ended, str]:
    """How a VM of this kind has ended, and the end of its console.

    Raises: `InspectionFailed` when it does not end in time, or cannot write; what its answer was refused with.
    """
    stopped = asyncio.create_task(vm.stopped_by_write_error())
    try:
        waiting: list[asyncio.Future[Any]] = [vm.ended, vm.unheard, stopped]
        await asyncio.wait(waiting, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
        if vm.unheard.done():
            raise vm.unheard.result()
        if stopped.done():
            raise InspectionFailed(f"the {name} could not write: {stopped.result().reason}")
        if not vm.ended.done():
            raise InspectionFailed(f"the {name} did not end within {limit_seconds:.0f} s")
        return vm.ended.result(), vm.last_console_lines(10)
    finally:
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)
