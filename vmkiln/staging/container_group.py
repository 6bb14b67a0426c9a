"""The container group: one small VM with its own kernel, and Packer in it as the container instance.

Its input arrives on a read-only disk, its output leaves over virtio-serial; it has no network path to the service.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* yes; each start is a new VM.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, Channel, DirectKernel, Disk, Machine
from vmkiln.host.virtual_machine import INSIDE, OnConfinement, Reader, VirtualMachine, running
from vmkiln.run_failures import ContainerGroupLost, NotBelieved, VirtualMachineLost
from vmkiln.staging.virtual_network import VirtualNetwork

CONTAINER_INSTANCE = "packerizercontainer"
MEMORY_MIB = 384
PROCESSES_THAT_FIT = 20
PROCESS_MIB = 12
RELAY_PORT = 2222
MOST_DIGITS = 12
MOST_EVENT_BYTES = 4096  # three short lines are all that its init tells
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off"


@dataclass(frozen=True)
class ContainerGroup:
    """What a container group is made of: its image's files and the input disk of its container instance."""

    kernel: Path
    initramfs: Path
    image_disk: Path
    input_disk: Path
    accelerator: Accelerator
    memory_mib: int = MEMORY_MIB


@dataclass
class ContainerInstance:
    """The live container instance: `exit_status` ends when Packer does; `peak_memory_kib` is what its VM used."""

    machine: VirtualMachine
    exit_status: "asyncio.Future[int]"
    started: asyncio.Event
    peak_memory_kib: int = 0


class EventPort:
    """What the container group's init tells, one line an event: `started`, `peak KIB`, `exited STATUS`.

    Packer has root there, so anything may come through it: what is no event is passed over, and more than
    `MOST_EVENT_BYTES` in all is refused before it is looked at.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._seen = 0

    def feed(self, chunk: bytes) -> list[tuple[str, int]]:
        """The events that this chunk completes, each with its number. Raises: `NotBelieved` when too much has come."""
        self._seen += len(chunk)
        if self._seen > MOST_EVENT_BYTES:
            raise NotBelieved(f"the container group told more than {MOST_EVENT_BYTES} bytes of events")
        self._pending += chunk
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending[:] = rest
        return [event for line in lines if (event := _event(line)) is not None]


def _event(line: bytes) -> tuple[str, int] | None:
    """Pure."""
    match line.decode("ascii", errors="replace").split():
        case ["started"]:
            return "started", 0
        case ["peak" | "exited" as name, number] if number.isdecimal() and len(number) <= MOST_DIGITS:
            return name, int(number)
    return None


def memory_mib(process_count: int) -> int:
    """The memory for this many Packer processes: one more for each provisioner (measured: 33 fill 384 MiB)."""
    return MEMORY_MIB + PROCESS_MIB * max(0, process_count - PROCESSES_THAT_FIT)


def describe(group: ContainerGroup, network: VirtualNetwork, *, name: str) -> Machine:
    """The container group's VM; `name` distinguishes its sockets from another one's in the same run."""
    subnet = network.container_group_subnet
    options = (
        f"{KERNEL_OPTIONS} vmkiln.address={subnet.address_with_prefix} vmkiln.gateway={subnet.router} "
        f"vmkiln.target={network.target}:{network.service_port} vmkiln.relay={RELAY_PORT}"
    )
    return Machine(
        name=name,
        accelerator=group.accelerator,
        cpus=1,
        memory_mib=group.memory_mib,
        disks=(
            Disk(group.image_disk, "raw", read_only=True),
            Disk(group.input_disk, "raw", read_only=True),
        ),
        tap=subnet.tap,
        mac=subnet.mac,
        console_socket=INSIDE / f"{name}.console",
        control_socket=INSIDE / f"{name}.qmp",
        boot=DirectKernel(group.kernel, group.initramfs, options),
        channels=(
            Channel(f"{CONTAINER_INSTANCE}.log", INSIDE / f"{name}.log"),
            Channel(f"{CONTAINER_INSTANCE}.events", INSIDE / f"{name}.events"),
        ),
        may_reboot=False,
    )


@contextlib.asynccontextmanager
async def started(
    namespace: Namespace,
    machine: Machine,
    *,
    directory: Path,
    on_output: Reader,
    on_confinement: OnConfinement | None = None,
) -> AsyncIterator[ContainerInstance]:
    """A running container group; `on_output` gets what Packer prints, raw and in order.

    Raises: `ContainerGroupLost` when its VM does not start, `NotConfined` when it is not held as it is meant to be.
    """
    loop = asyncio.get_running_loop()
    exit_status: asyncio.Future[int] = loop.create_future()
    has_started = asyncio.Event()
    events = EventPort()
    instance: ContainerInstance | None = None
    peak = 0

    def on_event(chunk: bytes) -> None:
        nonlocal peak
        for name, number in events.feed(chunk):
            if name == "started":
                has_started.set()
            elif name == "peak":
                peak = number
                if instance is not None:
                    instance.peak_memory_kib = peak
            elif not exit_status.done():
                exit_status.set_result(number)

    channels: dict[str, Reader] = {f"{CONTAINER_INSTANCE}.log": on_output, f"{CONTAINER_INSTANCE}.events": on_event}
    async with contextlib.AsyncExitStack() as stack:
        try:
            virtual_machine = await stack.enter_async_context(
                running(namespace, machine, directory=directory, channels=channels, on_confinement=on_confinement)
            )
        except VirtualMachineLost as error:
            raise ContainerGroupLost(error.message) from error
        instance = ContainerInstance(virtual_machine, exit_status, has_started, peak)
        yield instance


async def finished(instance: ContainerInstance) -> int:
    """Packer's exit status. Raises: `ContainerGroupLost` when the container group ends without reporting one."""
    either: list[asyncio.Future[Any]] = [instance.exit_status, instance.machine.ended]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not instance.exit_status.done():
        # the report may still be on its way when the VM powers off
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                return await asyncio.shield(instance.exit_status)
        ended = instance.machine.ended.result()
        raise ContainerGroupLost(
            f"the container group ended while Packer was running (status {ended.status}): "
            f"{ended.output.strip() or instance.machine.last_console_lines(5)}"
        )
    return instance.exit_status.result()
