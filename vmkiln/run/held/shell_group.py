"""A container group whose instance is no Packer, but the way from one of its ports to the held VM's ssh server.

Nothing but a held run starts one: the container groups that Packer works in have no such port. Each visit has its own.

*Leaves behind:* an input disk in the run's folder. *Undone by:* the deletion of the folder. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.harmless_text import harmless
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Channel, Machine
from vmkiln.host.virtual_machine import INSIDE, Reader, running
from vmkiln.packer.input_disk import make_input_disk
from vmkiln.packer.packer_template import INPUT, InputFile, PackerInput, environment_file
from vmkiln.run.held.door import OPEN, Session
from vmkiln.run_failures import ContainerGroupLost
from vmkiln.staging import container_group
from vmkiln.staging.container_group import ContainerGroup
from vmkiln.staging.virtual_network import VirtualNetwork

NAME = "container-shell"
INPUT_DISK = "held-input.ext4"
ENTERED, LEFT = "somebody enters the failed VM", "nobody is in the failed VM any more"
PORT = "held.shell"
NUMBER = 3  # behind the two ports that every container group has
WIRE = "shell_wire.pl"
CHUNK_BYTES = 65536
LONGEST_TAIL_BYTES = 1024
PROCESSES = 1


def shell_input(network: VirtualNetwork) -> PackerInput:
    """What its instance gets: the program of the way, and where it leads; pure."""
    words = ("/perl", f"{INPUT}/{WIRE}", str(network.target), str(network.service_port), str(NUMBER))
    program = (resources.files("vmkiln.run.held") / WIRE).read_text()
    files = (
        InputFile("arguments", "".join(f"{word}\n" for word in words)),
        environment_file({}),
        InputFile(WIRE, program),
        InputFile(container_group.NETWORK_FILE, container_group.network_text(network)),
    )
    return PackerInput(files, process_count=PROCESSES)


def describe(group: ContainerGroup, network: VirtualNetwork, input_disk: Path) -> Machine:
    """The machine: as of every container group, with one port more; it is booted; pure."""
    machine = container_group.describe(replace(group, input_disk=input_disk, saved=None), network, name=NAME)
    return replace(machine, channels=(*machine.channels, Channel(PORT, INSIDE / f"{NAME}.shell")))


async def made(group: ContainerGroup, network: VirtualNetwork, directory: Path) -> Machine:
    """The machine, with its input disk in the run's folder."""
    input_disk = directory / INPUT_DISK
    await make_input_disk(input_disk, shell_input(network))
    return describe(group, network, input_disk)


def session_of(namespace: Namespace, machine: Machine, directory: Path, tell: Callable[[str], None]) -> Session:
    """What becomes of whoever enters; `tell` is told when, and when nobody is in any more."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tell(ENTERED)
        try:
            await visit(namespace, machine, directory, reader, writer)
        except VmkilnError as error:
            tell(f"the failed VM could not be entered: {error}")
        else:
            tell(LEFT)

    return session


async def visit(
    namespace: Namespace,
    machine: Machine,
    directory: Path,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Lead whoever entered to the VM's ssh server, until either ends.

    Raises: `ContainerGroupLost` when the way ended before anything came through it, `NotConfined`, `OSError`.
    """
    way: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    count = 0

    async def from_vm(chunk: bytes) -> None:
        nonlocal count
        count += len(chunk)
        writer.write(chunk)
        await writer.drain()

    def connected(writer_of_port: asyncio.StreamWriter) -> None:
        if not way.done():
            way.set_result(writer_of_port)

    said = bytearray()

    def from_program(chunk: bytes) -> None:
        said.extend(chunk)
        del said[:-LONGEST_TAIL_BYTES]

    def passed_over(_chunk: bytes) -> None:
        pass

    log_port, event_port = (channel.name for channel in machine.channels[:2])
    channels: dict[str, Reader] = {log_port: from_program, event_port: passed_over, PORT: from_vm}
    writer.write(OPEN)
    start = running(namespace, machine, directory=directory, channels=channels, writers={PORT: connected})
    async with start as group:
        leading = asyncio.create_task(_led(reader, way))
        try:
            waiting: list[asyncio.Future[Any]] = [leading, group.ended, group.unheard]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if group.ended.done() and not count:
                raise ContainerGroupLost(f"no way led into the VM: {harmless(said.decode(errors='replace')).strip()}")
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
    with contextlib.suppress(OSError):
        await writer.drain()


async def _led(reader: asyncio.StreamReader, way: "asyncio.Future[asyncio.StreamWriter]") -> None:
    port = await way
    while chunk := await reader.read(CHUNK_BYTES):
        port.write(chunk)
        await port.drain()
