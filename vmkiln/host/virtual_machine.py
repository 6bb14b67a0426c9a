"""A virtual machine, running: `qemu.py`'s description started inside a namespace, with its sockets on our side.

*Leaves behind:* nothing; its sockets live in the run's folder. *Undone by:* leaving the block (SIGKILL).
*Safe to repeat:* yes, with a new overlay.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient, QMPError

from vmkiln.harmless_text import harmless
from vmkiln.host.confinement import kernel_calls, process_facts, vm_jail
from vmkiln.host.confinement.confinement import (
    Confinement,
    Fact,
    OnConfinement,
    Surroundings,
    failed,
    judged,
)
from vmkiln.host.confinement.program_files import program_files
from vmkiln.host.devices.machine_events import Heard, counted, heard
from vmkiln.host.namespace import Ended, Namespace, ProgramGone
from vmkiln.host.qemu import BOARDS, NETWORK, Machine, arguments
from vmkiln.host.saved import device_state, saved_vm
from vmkiln.run_failures import NotConfined, VirtualMachineLost
from vmkiln.waiting.off_loop import off_loop

CONNECT_SECONDS = 30
CONTROL_END_SECONDS = 5  # between the end of a VM's control connection and its own
CONSOLE_TAIL_BYTES = 64 * 1024
CONSOLE = "console"  # among readers and writers: no channel has this name
# where the run's folder is seen inside its mount namespace: short, for socket paths end at 107 bytes (unix(7))
INSIDE = Path("/run/vmkiln")

Reader = Callable[[bytes], Awaitable[None] | None]
OnWriter = Callable[[asyncio.StreamWriter], None]


@dataclass(frozen=True)
class WriteError:
    """Why a VM could not write: no room on this host, or the words of the kernel (strerror(3)) for another reason."""

    has_no_room: bool
    reason: str


@dataclass
class VirtualMachine:
    """A live VM: `ended` tells when QEMU is gone; `console` has the last 64 KiB of its serial console.

    `unheard` ends, with the error, when a reader of what the VM sends failed, or QEMU tells too much. `went_on` is
    whether it went on from what was saved of another, and was not booted.
    """

    name: str
    ended: "asyncio.Future[Ended]"
    control: QMPClient
    console: bytearray
    panics: EventListener
    disk_errors: EventListener
    unheard: "asyncio.Future[Exception]"
    resets: EventListener = field(default_factory=lambda: Heard("RESET"))
    went_on: bool = False

    @property
    def has_panicked(self) -> bool:
        """Whether the guest's kernel said that it panicked (pvpanic); QEMU ends then."""
        return not self.panics.empty()

    async def stopped_by_write_error(self) -> WriteError:
        """Return when QEMU stopped the VM because this host did not write what it wrote, with the reason.

        It does so rather than let the guest go on without what it has written (`werror=stop`).
        """
        data: Any = {}
        while data.get("action") != "stop":
            data = (await self.disk_errors.get())["data"]
        return WriteError(bool(data.get("nospace")), str(data.get("reason", "")))

    async def reset(self) -> None:
        """Return when the guest restarted, for every time once; QEMU goes on, and the firmware boots again."""
        data: Any = {}
        while not data.get("guest"):
            data = (await self.resets.get())["data"]

    def last_console_lines(self, count: int = 20) -> str:
        """The last lines of the console that have something to read, made harmless, for an error message."""
        lines = (harmless(line).rstrip() for line in self.console.decode(errors="replace").splitlines())
        return "\n".join([line for line in lines if line][-count:])


async def bind_run_directory(namespace: Namespace, directory: Path) -> None:
    """Make the run's folder visible inside at `INSIDE`."""
    await namespace.bind(directory, INSIDE)


@contextlib.asynccontextmanager
async def running(
    namespace: Namespace,
    machine: Machine,
    *,
    directory: Path,
    channels: Mapping[str, Reader],
    on_confinement: OnConfinement | None = None,
    writers: Mapping[str, OnWriter] | None = None,
) -> AsyncIterator[VirtualMachine]:
    """A running VM. `directory` is the run's folder outside; `channels` gets what each named port sends, in order.

    Reading is back-pressured: a slow reader stops the guest's writes instead of filling memory. `on_confinement` gets
    what holds its process, before the guest's first instruction. `writers` get, by a port's name, what writes to it; a
    port that is not among them is never written to. `CONSOLE` may be among both.

    Raises: `VirtualMachineLost` when QEMU does not start, with what it printed; `NotConfined` when it is not held as it
    is meant to be.
    """
    console = bytearray()
    readers: dict[str, Reader] = {channel.socket.name: channels[channel.name] for channel in machine.channels}
    readers[machine.console_socket.name] = _tail_kept(console, channels.get(CONSOLE))
    ports = [(machine.console_socket, CONSOLE), *((channel.socket, channel.name) for channel in machine.channels)]
    to_guest = {socket.name: (writers or {}).get(name) for socket, name in ports}
    control = QMPClient(machine.name)
    unheard: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    counted(control, machine.name, unheard)
    async with contextlib.AsyncExitStack() as stack:
        descriptor = await off_loop(os.open, directory, os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, descriptor)
        for name, reader in readers.items():
            await stack.enter_async_context(
                _listening(f"/proc/self/fd/{descriptor}/{name}", reader, unheard, to_guest.get(name))
            )
        control_path = f"/proc/self/fd/{descriptor}/{machine.control_socket.name}"
        stack.push_async_callback(off_loop, _unlink, Path(control_path))
        try:
            await control.start_server(control_path)
        except QMPError as error:
            raise VirtualMachineLost(f"QEMU for {machine.name} could not be controlled: {error}") from error
        stack.push_async_callback(_disconnect, control)
        panics = heard(control, "GUEST_PANICKED", "GUEST_CRASHLOADED")
        disk_errors, resets = heard(control, "BLOCK_IO_ERROR"), heard(control, "RESET")
        files = await program_files(BOARDS[machine.architecture].program)
        meant = vm_jail.confinement_of(machine, files, own_id=namespace.next_vm_id())
        texts = arguments(machine, program=files.program)
        starting = namespace.start(machine.name, texts, confined=meant.described())
        ended = await stack.enter_async_context(starting)
        connecting = asyncio.create_task(control.accept())
        stack.callback(connecting.cancel)
        either: list[asyncio.Future[Any]] = [connecting, ended]
        await asyncio.wait(either, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done() or connecting.exception() is not None:
            await asyncio.wait([ended], timeout=1)
            reason = f"no answer within {CONNECT_SECONDS} s"
            if ended.done():
                reason = f"it ended (status {ended.result().status}) {ended.result().output}".strip()
            raise VirtualMachineLost(f"QEMU for {machine.name} did not start: {reason}")

        async def make_ready() -> None:
            facts = await _confinement(namespace, machine.name, meant)
            if on_confinement is not None:
                await on_confinement(machine.name, facts)
            await _load(machine, control)

        await _let_go_on(machine.name, control, ended, make_ready)
        went_on = machine.saved is not None
        yield VirtualMachine(machine.name, ended, control, console, panics, disk_errors, unheard, resets, went_on)


def _tail_kept(console: bytearray, reader: Reader | None) -> Reader:
    """What keeps the end of what a console says, and passes it on."""

    def keep_tail(chunk: bytes) -> Awaitable[None] | None:
        console.extend(chunk)
        del console[:-CONSOLE_TAIL_BYTES]
        return None if reader is None else reader(chunk)

    return keep_tail


async def _let_go_on(
    name: str,
    control: QMPClient,
    ended: "asyncio.Future[Ended]",
    make_ready: Callable[[], Awaitable[None]],
) -> None:
    """Let the guest run, once what holds its process was looked at.

    Raises: `VirtualMachineLost`, and as `make_ready`.
    """
    try:
        await make_ready()
        await control.execute("cont")
    except (QMPError, ProgramGone) as error:
        await asyncio.wait([ended], timeout=CONTROL_END_SECONDS)
        reason = f"{ended.result().output} (status {ended.result().status})" if ended.done() else str(error)
        raise VirtualMachineLost(f"QEMU for {name} ended before its guest ran: {reason}") from error


async def _load(machine: Machine, control: QMPClient) -> None:
    """Give the VM what was saved of its devices. Raises: `QMPError` when it does not fit, and as `saved_vm.devices_of`.

    A guest that is to be saved sees its network unplugged: it gets to where it waits for that, and no further.
    """
    if machine.is_saveable and not machine.boots_plugged_in:
        await unplug(control)
    if machine.saved is not None:
        await device_state.load(control, await off_loop(saved_vm.devices_of, machine.saved))
        await control.execute("set_link", {"name": NETWORK, "up": True})


async def unplug(control: QMPClient) -> None:
    """Pull the network out of a VM. Raises: `QMPError`."""
    await control.execute("set_link", {"name": NETWORK, "up": False})


async def _confinement(namespace: Namespace, name: str, meant: Confinement) -> list[Fact]:
    """What holds the machine's process. Raises: `NotConfined` naming what does not hold."""
    asked = await namespace.facts(name)
    here, landlock = await off_loop(process_facts.namespaces), kernel_calls.landlock_version()
    around = Surroundings(here, asked["supervisor"], namespace.control_group, landlock)
    facts = judged(asked["program"], meant, around)
    if wrong := failed(facts):
        texts = [f"{fact['name']} is {fact['found']}, and should be {fact['expected']}" for fact in wrong]
        raise NotConfined(f"the process of the {name} is not confined: {'; '.join(texts)}")
    return facts


async def _disconnect(control: QMPClient) -> None:
    with contextlib.suppress(Exception):  # the VM is being thrown away; a broken connection is what we want
        async with asyncio.timeout(2):
            await control.disconnect()


@contextlib.asynccontextmanager
async def _listening(
    path: str, reader: Reader, unheard: "asyncio.Future[Exception]", on_writer: OnWriter | None = None
) -> AsyncIterator[None]:
    connections: set[asyncio.Task[None]] = set()

    async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a connection callback always runs in a task
        connections.add(task)
        if on_writer is not None:
            on_writer(writer)
        try:
            while chunk := await stream.read(65536):
                result = reader(chunk)
                if result is not None:
                    await result
        except ConnectionResetError:
            pass
        except Exception as error:
            if not unheard.done():
                unheard.set_result(error)
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()
        if connections:
            _, late = await asyncio.wait(connections, timeout=2)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)  # what one is just writing is written, before its file is closed
        await off_loop(_unlink, Path(path))


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
