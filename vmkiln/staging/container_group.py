"""The container group: one small VM with its own kernel, and Packer in it as the container instance.

Its input arrives on a read-only disk, its output leaves over virtio-serial; it has no network path to the service.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* yes; each start is a new VM.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmkiln.host.confinement.confinement import OnConfinement
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, Channel, DirectKernel, Disk, Machine, SavedVm
from vmkiln.host.saved import saved_vm
from vmkiln.host.virtual_machine import INSIDE, Reader, VirtualMachine, running
from vmkiln.run_failures import ContainerGroupLost, NotBelieved, VirtualMachineLost
from vmkiln.staging.virtual_network import WINRM_PORT, VirtualNetwork
from vmkiln.waiting.off_loop import off_loop

log = logging.getLogger(__name__)
CONTAINER_INSTANCE = "packerizercontainer"
MEMORY_MIB = 384
PROCESSES_THAT_FIT = 20
PROCESS_MIB = 12
RELAY_PORT = 2222
MOST_DIGITS = 12
MOST_EVENT_BYTES = 4096  # three short lines are all that its init tells
KERNEL_OPTIONS = "console=ttyS0 quiet panic=-1 mitigations=off"
NETWORK_FILE = "network"


@dataclass(frozen=True)
class ContainerGroup:
    """What a container group is made of: its image's files and the input disk of its container instance.

    It goes on from what was `saved` of one that is the same up to where it looks at its input disk, if that is there.
    """

    kernel: Path
    initramfs: Path
    image_disk: Path
    input_disk: Path
    accelerator: Accelerator
    memory_mib: int = MEMORY_MIB
    saved: SavedVm | None = None


@dataclass
class ContainerInstance:
    """The live container instance: `exit_status` ends when Packer does; `peak_memory_kib` is what its VM used.

    `rehearsed` is how the rehearsal of one that is to be saved ended, by the status of its Packer.
    """

    machine: VirtualMachine
    exit_status: "asyncio.Future[int]"
    started: asyncio.Event
    ready: asyncio.Event
    peak_memory_kib: int = 0
    rehearsed: int = 0


class EventPort:
    """What the container group's init tells, one line an event: `ready`, `started`, `peak KIB`, `exited STATUS`.

    `rehearsed STATUS` and `ready` are told by one that is to be saved, or believes so.

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
        case ["ready" | "started" as name]:
            return name, 0
        case ["peak" | "exited" | "rehearsed" as name, number] if number.isdecimal() and len(number) <= MOST_DIGITS:
            return name, int(number)
    return None


def memory_mib(process_count: int) -> int:
    """The memory for this many Packer processes: one more for each provisioner (measured: 33 fill 384 MiB)."""
    return MEMORY_MIB + PROCESS_MIB * max(0, process_count - PROCESSES_THAT_FIT)


def network_text(network: VirtualNetwork) -> str:
    """The file of the input disk from which a container group takes its place in the run's network; pure."""
    subnet = network.container_group_subnet
    values = {
        "mac": subnet.mac,
        "address": subnet.address_with_prefix,
        "gateway": subnet.router,
        "relay": RELAY_PORT,
        "target": network.target,
        "port": network.service_port,
        "way": "forwarder" if network.service_port == WINRM_PORT else "relay",
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def machine_name(vm_name: str) -> str:
    """What the VM of the container group beside this VM is called; pure."""
    return f"container-{vm_name}"


def describe(group: ContainerGroup, network: VirtualNetwork, *, name: str) -> Machine:
    """The container group's VM; `name` distinguishes its sockets from another one's in the same run; pure."""
    subnet = network.container_group_subnet
    return machine_of(group, name=name, tap=subnet.tap, mac=subnet.mac)


def machine_of(group: ContainerGroup, *, name: str, tap: str, mac: str, is_saveable: bool = False) -> Machine:
    """The VM of a container group, wherever it stands; pure."""
    return Machine(
        name=name,
        accelerator=group.accelerator,
        cpus=1,
        memory_mib=group.memory_mib,
        disks=(
            Disk(group.image_disk, "raw", read_only=True),
            Disk(group.input_disk, "raw", read_only=True),
        ),
        tap=tap,
        mac=mac,
        console_socket=INSIDE / f"{name}.console",
        control_socket=INSIDE / f"{name}.qmp",
        boot=DirectKernel(group.kernel, group.initramfs, KERNEL_OPTIONS),
        channels=(
            Channel(f"{CONTAINER_INSTANCE}.log", INSIDE / f"{name}.log"),
            Channel(f"{CONTAINER_INSTANCE}.events", INSIDE / f"{name}.events"),
        ),
        may_reboot=False,
        is_saveable=is_saveable,
        saved=group.saved,
    )


@contextlib.asynccontextmanager
async def started(
    namespace: Namespace,
    machine: Machine,
    *,
    directory: Path,
    on_output: Reader,
    on_confinement: OnConfinement | None = None,
    may_boot: bool = True,
) -> AsyncIterator[ContainerInstance]:
    """A running container group; `on_output` gets what Packer prints, raw and in order.

    One that is to go on from what was saved, which turns out to be of no use, is booted if it `may_boot`.

    Raises: `ContainerGroupLost` when its VM does not start, `NotConfined` when it is not held as it is meant to be.
    """
    loop = asyncio.get_running_loop()
    exit_status: asyncio.Future[int] = loop.create_future()
    has_started, is_ready = asyncio.Event(), asyncio.Event()
    events = EventPort()
    instance: ContainerInstance | None = None
    peak = rehearsed = 0

    def on_event(chunk: bytes) -> None:
        nonlocal peak, rehearsed
        for name, number in events.feed(chunk):
            if name == "started":
                has_started.set()
            elif name == "ready":
                is_ready.set()
            elif name == "peak":
                peak = number
                if instance is not None:
                    instance.peak_memory_kib = peak
            elif name == "rehearsed":
                rehearsed = number
                if instance is not None:
                    instance.rehearsed = rehearsed
            elif not exit_status.done():
                exit_status.set_result(number)

    channels: dict[str, Reader] = {f"{CONTAINER_INSTANCE}.log": on_output, f"{CONTAINER_INSTANCE}.events": on_event}
    async with contextlib.AsyncExitStack() as stack:
        try:
            start = functools.partial(
                running, namespace, directory=directory, channels=channels, on_confinement=on_confinement
            )
            virtual_machine = await (
                _warm_or_cold(stack, machine, start) if may_boot else stack.enter_async_context(start(machine))
            )
        except VirtualMachineLost as error:
            raise ContainerGroupLost(error.message) from error
        instance = ContainerInstance(virtual_machine, exit_status, has_started, is_ready, peak, rehearsed)
        yield instance


async def _warm_or_cold(
    stack: contextlib.AsyncExitStack,
    machine: Machine,
    start: Callable[[Machine], contextlib.AbstractAsyncContextManager[VirtualMachine]],
) -> VirtualMachine:
    """The VM going on from what was saved; where that is of no use it is thrown away, and the VM is booted."""
    if machine.saved is None:
        return await stack.enter_async_context(start(machine))
    try:
        return await stack.enter_async_context(start(machine))
    except VirtualMachineLost as error:
        log.warning("the container group is booted, for what was saved of one is of no use: %s", error.message)
        await off_loop(saved_vm.discard, machine.saved)
    return await stack.enter_async_context(start(replace(machine, saved=None)))


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
