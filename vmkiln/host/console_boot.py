"""A disk started on a throw-away overlay, its serial console on this terminal, in the jail of a build VM.

It has no network, unless it is to be entered, and then no way out of it.

The image is whatever somebody built or imported, so what holds a build VM holds it, too. Its console is a socket of
ours; what it says is shown as it comes, and what is typed goes to it, but for Ctrl-A X, which ends it.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.files.held_folder import held_folder
from vmkiln.files.private_folder import private_folder
from vmkiln.host import namespace
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, Disk, Firmware, Machine, accelerator_for
from vmkiln.host.virtual_machine import CONSOLE, INSIDE, VirtualMachine, bind_run_directory, running
from vmkiln.waiting.off_loop import off_loop, off_loop_with

NAME, PREFIX = "booted", ".booting-"
CHUNK_BYTES = 4096
TAKEN_SECONDS = 5.0
MOST_UNTAKEN_BYTES = 1024**2
ESCAPE, END = b"\x01", b"xX"

Show = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Entrance:
    """How a VM is entered: its tap and MAC, the disc that tells it who may, and what makes the tap in its namespace.

    `opened` is entered before the VM starts, and left when it has ended.
    """

    tap: str
    mac: str
    seed: Path
    opened: Callable[[Namespace], AbstractAsyncContextManager[object]]


@dataclass
class Keys:
    """What is typed, on its way to a guest: Ctrl-A X ends it, Ctrl-A twice is Ctrl-A, before others it is itself."""

    is_over: bool = False
    _is_escaped: bool = False

    def typed(self, text: bytes) -> bytes:
        """What of it the guest gets."""
        found = bytearray()
        for number in text:
            key = bytes([number])
            if self._is_escaped:
                self._is_escaped = False
                if key in END:
                    self.is_over = True
                    break
                found += key if key == ESCAPE else ESCAPE + key
            elif key == ESCAPE:
                self._is_escaped = True
            else:
                found += key
        return bytes(found)


def machine_of(
    disks: Sequence[Disk],
    *,
    accelerator: Accelerator,
    memory_mib: int,
    cpus: int,
    firmware: tuple[Path, Path] | None,
    architecture: Architecture = Architecture.X64,
    entrance: Entrance | None = None,
) -> Machine:
    """The VM: a console, and no network without an entrance; pure.

    `firmware` is UEFI's code and the variables of this VM.
    """
    discs = () if entrance is None else (Disk(entrance.seed, "raw", read_only=True, is_disc=True),)
    return Machine(
        name=NAME,
        accelerator=accelerator_for(architecture, accelerator),
        cpus=cpus,
        memory_mib=memory_mib,
        disks=(*disks, *discs),
        tap="" if entrance is None else entrance.tap,
        mac="" if entrance is None else entrance.mac,
        console_socket=INSIDE / f"{NAME}.console",
        control_socket=INSIDE / f"{NAME}.qmp",
        boot=None if firmware is None else Firmware(*firmware),
        architecture=architecture,
    )


async def boot_with_console(
    disk: Disk,
    *,
    workplace: Path,
    accelerator: Accelerator,
    memory_mib: int,
    cpus: int,
    firmware: FirmwareFiles | None,
    architecture: Architecture = Architecture.X64,
    data_disks: Sequence[Disk] = (),
    entrance: Entrance | None = None,
) -> int:
    """Start the disk, show its console here, and wait until it powers off; no disk is changed.

    Returns QEMU's exit status. Raises: as `booted`; `VmkilnError` when the VM could not write its overlay.
    """
    is_raw = asyncio.Event()

    async def show(chunk: bytes) -> None:
        # who answers what is shown must find the terminal raw: until then Ctrl-C is not the guest's, and setting it
        # throws away what was typed
        await is_raw.wait()
        await off_loop(_write_all, chunk)

    booting = booted(
        disk,
        workplace=workplace,
        accelerator=accelerator,
        memory_mib=memory_mib,
        cpus=cpus,
        firmware=firmware,
        architecture=architecture,
        data_disks=data_disks,
        entrance=entrance,
        show=show,
    )
    async with booting as (vm, console):
        with _raw_terminal():
            is_raw.set()
            return await _talk(vm, console)


@contextlib.asynccontextmanager
async def booted(
    disk: Disk,
    *,
    workplace: Path,
    accelerator: Accelerator,
    memory_mib: int,
    cpus: int,
    firmware: FirmwareFiles | None,
    show: Show,
    architecture: Architecture = Architecture.X64,
    data_disks: Sequence[Disk] = (),
    entrance: Entrance | None = None,
) -> AsyncIterator[tuple[VirtualMachine, asyncio.StreamWriter]]:
    """The disk as a live VM, and what writes to its console; `show` gets what that says. Killed at the block's end.

    Raises: `HostUnfit` when this host cannot hold it, `VirtualMachineLost`, `NotConfined`, `CommandFailed`.
    """
    await off_loop(private_folder, workplace)
    connected: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    async with (
        off_loop_with(lambda: held_folder(workplace, PREFIX)) as folder,
        namespace.opened() as inside,
    ):
        boot = replace(await create_overlay(disk, folder / "overlay.qcow2"), is_boot=True)
        others = [
            replace(await create_overlay(other, folder / f"overlay-{index}.qcow2"), serial=other.serial)
            for index, other in enumerate(data_disks)
        ]
        files = None
        if firmware is not None:
            files = (firmware.code, folder / "variables.fd")
            await off_loop(shutil.copyfile, firmware.variables, files[1])
        machine = machine_of(
            (boot, *others),
            accelerator=accelerator,
            memory_mib=memory_mib,
            cpus=cpus,
            firmware=files,
            architecture=architecture,
            entrance=entrance,
        )
        await bind_run_directory(inside, folder)
        channels, writers = {CONSOLE: show}, {CONSOLE: connected.set_result}
        async with (
            contextlib.nullcontext() if entrance is None else entrance.opened(inside),
            running(inside, machine, directory=folder, channels=channels, writers=writers) as vm,
        ):
            yield vm, await connected


async def _talk(vm: VirtualMachine, console: asyncio.StreamWriter) -> int:
    """Until the VM ends, or whoever types ends it, which is no failure."""
    typing = asyncio.create_task(_pass_on(console))
    stopped = asyncio.create_task(vm.stopped_by_write_error())
    try:
        while not (vm.ended.done() or vm.unheard.done() or stopped.done()):
            waiting = [one for one in (vm.ended, vm.unheard, stopped, typing) if not one.done()]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if typing.done() and typing.result():
                return 0
        if vm.unheard.done():
            raise vm.unheard.result()
        if stopped.done():
            raise VmkilnError(f"the VM could not write to its overlay: {stopped.result().reason}")
        return vm.ended.result().status
    finally:
        for task in (typing, stopped):
            task.cancel()
        await asyncio.gather(typing, stopped, return_exceptions=True)


async def _pass_on(console: asyncio.StreamWriter) -> bool:
    """Give the guest what is typed; whether it is to end.

    A guest that takes nothing makes the keyboard wait a little, and loses what is typed when that becomes too much: it
    can be ended all the same.
    """
    keys, descriptor = Keys(), sys.stdin.fileno()
    while not keys.is_over:
        if not await _readable(descriptor) or not (text := os.read(descriptor, CHUNK_BYTES)):
            return False  # nobody types: the guest goes on
        given = keys.typed(text)
        if console.transport.get_write_buffer_size() < MOST_UNTAKEN_BYTES:
            console.write(given)
        with contextlib.suppress(ConnectionError, TimeoutError):  # it is ending, or takes nothing now
            async with asyncio.timeout(TAKEN_SECONDS):
                await console.drain()
    return True


async def _readable(descriptor: int) -> bool:
    """Return when there is something to read; False for what cannot be waited for, as a file (epoll_ctl(2))."""
    loop = asyncio.get_running_loop()
    is_so: asyncio.Future[None] = loop.create_future()

    def told() -> None:
        if not is_so.done():
            is_so.set_result(None)

    try:
        loop.add_reader(descriptor, told)
    except PermissionError:
        return False
    try:
        await is_so
    finally:
        loop.remove_reader(descriptor)
    return True


def _write_all(chunk: bytes) -> None:
    """A terminal that takes nothing makes the guest wait, and nobody else."""
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key as it is, so that Ctrl-C is the guest's; afterwards the terminal is as it was (termios(3))."""
    descriptor = sys.stdin.fileno()
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
