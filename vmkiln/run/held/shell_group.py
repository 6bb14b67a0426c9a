"""A container group whose instance is no Packer, but the way from one of its ports to the held VM's ssh server.

Nothing but a held run starts one: the container groups that Packer works in have no such port. Each visit has its own.

*Leaves behind:* an input disk in the run's folder. *Undone by:* the deletion of the folder. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from enum import Enum, auto
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
END_SECONDS = 5.0  # between the end of a VM's port and its own
REPORT_SECONDS = 1.0  # until what its program ended with has arrived, behind its end
PLUG_SECONDS = 30.0
PROCESSES = 1
log = logging.getLogger(__name__)


class End(Enum):
    """One of the two ends of the way."""

    VISITOR = auto()
    PORT = auto()


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
        except (VmkilnError, OSError) as error:
            tell(f"{LEFT}: {error}")
        except Exception as error:
            log.error("a visit to a failed VM went wrong", exc_info=error)
            tell(f"{LEFT}: something went wrong that was not foreseen ({type(error).__name__})")
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
    """Lead whoever entered to the VM's ssh server, until either ends; come back when it was meant to end.

    Raises: `ContainerGroupLost` when the way ended before anything came through it, or broke off; `NotBelieved` as its
    container group, `NotConfined`, `OSError`.
    """
    said = bytearray()
    came = 0  # bytes of the VM's: counted here, for a way that breaks off gives no number back

    def from_program(chunk: bytes) -> None:
        said.extend(chunk)
        del said[:-LONGEST_TAIL_BYTES]

    def from_vm(count: int) -> None:
        nonlocal came
        came += count

    writer.write(OPEN)
    async with started(namespace, machine, directory=directory, on_output=from_program) as group, _port(group) as port:
        from_port, to_port = port
        leading = asyncio.create_task(_led(reader, to_port, (End.VISITOR, End.PORT)))
        answering = asyncio.create_task(_led(from_port, writer, (End.PORT, End.VISITOR), from_vm))
        try:
            either: list[asyncio.Future[Any]] = [leading, answering, group.machine.unheard]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if group.machine.unheard.done():
                raise group.machine.unheard.result()
            if End.PORT in {task.result() for task in (leading, answering) if task.done()}:
                await _check_end(group, has_led=came > 0, said=said)
        finally:
            for task in (leading, answering):
                task.cancel()
            await asyncio.gather(leading, answering, return_exceptions=True)
    with contextlib.suppress(OSError):
        await writer.drain()


async def _led(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    ends: tuple[End, End],
    on_bytes: Callable[[int], None] | None = None,
) -> End:
    """Pass bytes until one of `ends`, that of the source and that of the sink, is there no more; gives which.

    An end that breaks off is one too: what it was, whoever asks finds out.
    """
    of_source, of_sink = ends
    while True:
        try:
            chunk = await source.read(CHUNK_BYTES)
        except OSError:
            return of_source
        if not chunk:
            return of_source
        if on_bytes is not None:
            on_bytes(len(chunk))
        try:
            sink.write(chunk)
            await sink.drain()
        except OSError:
            return of_sink


async def _check_end(group: ContainerInstance, *, has_led: bool, said: bytearray) -> None:
    """Look at how the VM's end of the way has ended: in order, when the ssh server closed what it had answered on.

    The port ends with the container group's VM, and all that was sent through it is read by then.

    Raises: `ContainerGroupLost` when it was not so.
    """
    ended, exit_status = group.machine.ended, group.exit_status
    await asyncio.wait([ended], timeout=END_SECONDS)
    await asyncio.wait([exit_status], timeout=REPORT_SECONDS)
    if has_led and exit_status.done() and exit_status.result() == 0:
        return
    reason = harmless(said.decode(errors="replace").strip())
    if not reason and ended.done() and not exit_status.done():
        reason = f"its container group ended (status {ended.result().status}) {ended.result().output}".strip()
    if not reason:
        reason = "it ended" if ended.done() else "its container group still runs"
    raise ContainerGroupLost(
        f"the way into the VM broke off: {reason}" if has_led else f"no way led into the VM: {reason}"
    )


@contextlib.asynccontextmanager
async def _port(group: ContainerInstance) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Our end of the port that leads to the VM. Raises: `ContainerGroupLost`."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(PLUG_SECONDS):
                port = await stack.enter_async_context(plugged_in(group.machine.control, PORT))
        except (QMPError, OSError) as error:  # a time that is over is one of these
            raise ContainerGroupLost(f"no way leads into the VM: {str(error) or 'QEMU does not answer'}") from error
        yield port
