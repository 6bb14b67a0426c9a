"""A container group whose instance is no Packer, but the way from one of its ports to the held VM's ssh server.

Nothing but a held run starts one: the container groups that Packer works in have no such port. Each visit has its own.

*Leaves behind:* an input disk in the run's folder. *Undone by:* the deletion of the folder. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.harmless_text import harmless
from vmkiln.host.devices.late_port import plugged_in
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Machine
from vmkiln.packer.input_disk import make_input_disk
from vmkiln.packer.packer_template import INPUT, InputFile, PackerInput, environment_file
from vmkiln.run.held.door import OPEN, Session
from vmkiln.run_failures import ContainerGroupLost
from vmkiln.staging import container_group
from vmkiln.staging.container_group import ContainerGroup, ContainerInstance, started
from vmkiln.staging.virtual_network import VirtualNetwork

NAME = "container-shell"
INPUT_DISK = "held-input.ext4"
ENTERED, LEFT = "somebody enters the failed VM", "nobody is in the failed VM any more"
PORT = "held.shell"
NUMBER = 3  # behind the two ports that every container group has
WIRE = "shell_wire.pl"
CHUNK_BYTES = 65536
LONGEST_TAIL_BYTES = 1024
END_SECONDS = 5  # between the end of a VM's port and its own
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
    """The machine: as of every container group; it gets its port when it runs, and goes on from what they do; pure."""
    return container_group.describe(replace(group, input_disk=input_disk), network, name=NAME)


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
    said = bytearray()

    def from_program(chunk: bytes) -> None:
        said.extend(chunk)
        del said[:-LONGEST_TAIL_BYTES]

    async def led(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> int:
        passed = 0
        while chunk := await source.read(CHUNK_BYTES):
            passed += len(chunk)
            sink.write(chunk)
            await sink.drain()
        return passed

    writer.write(OPEN)
    async with started(namespace, machine, directory=directory, on_output=from_program) as group, _port(group) as port:
        from_port, to_port = port
        leading = asyncio.create_task(led(reader, to_port))
        answering = asyncio.create_task(led(from_port, writer))
        try:
            either: list[asyncio.Future[Any]] = [leading, answering, group.machine.unheard]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            # the port ends with the VM, and all that it sent is read by then
            if answering.done() and not answering.exception() and not answering.result():
                await asyncio.wait([group.machine.ended], timeout=END_SECONDS)
                raise ContainerGroupLost(f"no way led into the VM: {harmless(said.decode(errors='replace')).strip()}")
        finally:
            for task in (leading, answering):
                task.cancel()
            await asyncio.gather(leading, answering, return_exceptions=True)
    with contextlib.suppress(OSError):
        await writer.drain()


@contextlib.asynccontextmanager
async def _port(group: ContainerInstance) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Our end of the port that leads to the VM. Raises: `ContainerGroupLost`."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(plugged_in(group.machine.control, PORT))
        except QMPError as error:
            raise ContainerGroupLost(f"no way leads into the VM: {error}") from error
        yield port
