"""A tiny guest saved and restored as VMs of builds are, before a build trusts that the restored one runs on.

That a guest boots under an accelerator does not say that another goes on from what was saved of it: nested
virtualization, or a CPU feature that is not restored, may leave one that stands still. So a guest is asked twice, once
before it is saved and once behind, for what only the program in its memory knows: a word, and how often it was asked.
It sleeps before each answer, so that its timers have to go on, too. RAM, devices and jail are those of a build VM.

*Leaves behind:* nothing. *Undone by:* leaving the block; a folder of a process that was killed goes with the next one.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, replace
from pathlib import Path

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.files.held_folder import held_folder
from vmkiln.files.private_folder import private_folder
from vmkiln.host import namespace
from vmkiln.host.accelerator import MEMORY_MIB, busybox_content, last_line
from vmkiln.host.disk.initramfs import DIRECTORY, EXECUTABLE, Entry, archive
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, DirectKernel, Machine, SavedVm
from vmkiln.host.saved import device_state, saved_vm
from vmkiln.host.virtual_machine import CONSOLE, INSIDE, VirtualMachine, bind_run_directory, running
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.waiting.off_loop import off_loop, off_loop_with

NAME, PREFIX = "restored-guest", ".restored-"
TAP, MAC = "tap-restored", "02:00:00:00:00:01"
BOOT_SECONDS = 60.0
ANSWER_SECONDS = 20.0  # measured: 0.4 s
WHOLE_SECONDS = 120.0
LOOK_SECONDS = 0.02
UNTAKEN_SECONDS = 5.0


@dataclass(frozen=True)
class Restored:
    """What became of it: whether the restored guest ran on, in how many seconds from its start, else why not."""

    runs: bool
    seconds: float = 0.0
    reason: str = ""


async def restored_guest_runs(
    accelerator: Accelerator, *, kernel: Path, busybox: Path, workplace: Path, limit_seconds: float = WHOLE_SECONDS
) -> Restored:
    """Boot a guest, save it, restore it, and see it run on; nothing of it is left on return. Raises nothing of its own.

    `workplace` is a folder of ours to work in.
    """
    limit = asyncio.timeout(limit_seconds)
    try:
        async with limit:
            return await _restored(accelerator, kernel, busybox, workplace)
    except (VmkilnError, QMPError, OSError) as error:
        if limit.expired():
            return Restored(False, reason=f"it took longer than {limit_seconds:g} s")
        text = str(error)
        if isinstance(error, TimeoutError):  # of a step, such as that namespaces are made
            text = text or "a step of it took too long"
        return Restored(False, reason=" ".join(text.split()) or type(error).__name__)


def initial_files(word: str, busybox: bytes) -> bytes:
    """A file system whose program answers each line with `word`, how often it was asked, and the line; pure."""
    script = (
        "#!/bin/busybox sh\n"
        f"count=0\n/bin/busybox echo {word} ready\n"
        "while read line; do count=$((count + 1)); /bin/busybox sleep 0.2 || /bin/busybox sleep 1; "
        f'/bin/busybox echo "{word} $count $line"; done\n'
        "/bin/busybox poweroff -f\n"
    )
    return archive(
        [
            Entry("bin", DIRECTORY),
            Entry("bin/busybox", EXECUTABLE, busybox),
            Entry("init", EXECUTABLE, script.encode()),
        ]
    )


def machine_of(accelerator: Accelerator, *, kernel: Path, initial: Path) -> Machine:
    """The guest, to be saved: no disk, a network card that leads nowhere; pure."""
    return Machine(
        name=NAME,
        accelerator=accelerator,
        cpus=1,
        memory_mib=MEMORY_MIB,
        disks=(),
        tap=TAP,
        mac=MAC,
        console_socket=INSIDE / f"{NAME}.console",
        control_socket=INSIDE / f"{NAME}.qmp",
        boot=DirectKernel(kernel, initial, "console=ttyS0 panic=-1"),
        is_saveable=True,
        boots_plugged_in=True,
    )


async def _restored(accelerator: Accelerator, kernel: Path, busybox: Path, workplace: Path) -> Restored:
    word = secrets.token_hex(16)
    await off_loop(private_folder, workplace)
    async with off_loop_with(lambda: held_folder(workplace, PREFIX)) as folder, namespace.opened() as inside:
        initial = folder / "initramfs"
        await off_loop(_write, initial, word, busybox)
        machine = machine_of(accelerator, kernel=kernel, initial=initial)
        await bind_run_directory(inside, folder)
        await inside.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"])
        saved = await _saved(inside, machine, folder, word)
        began = time.monotonic()
        async with _Talk(inside, replace(machine, is_saveable=False, saved=saved), folder) as guest:
            try:
                await guest.answers(word, count=2)
            except VirtualMachineLost as error:
                raise VirtualMachineLost(f"a guest was saved, and the restored one does not run: {error}") from error
        return Restored(True, time.monotonic() - began)


def _write(initial: Path, word: str, busybox: Path) -> None:
    initial.write_bytes(initial_files(word, busybox_content(busybox)))


async def _saved(inside: Namespace, machine: Machine, folder: Path, word: str) -> SavedVm:
    workplace = folder / "saved"
    await off_loop(workplace.mkdir, 0o700)
    async with _Talk(inside, machine, folder) as guest:
        await guest.says(f"{word} ready", seconds=BOOT_SECONDS)
        await guest.answers(word, count=1)
        devices = await device_state.save(guest.vm.control)
        digest = await inside.keep_memory(machine.name, workplace / saved_vm.MEMORY)
    return await off_loop(saved_vm.finished, workplace, devices, digest)


class _Talk:
    """A live guest whose console is written to and read. Raises: as `running`."""

    vm: VirtualMachine
    _writer: asyncio.StreamWriter

    def __init__(self, inside: Namespace, machine: Machine, folder: Path) -> None:
        self._inside, self._machine, self._folder = inside, machine, folder
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "_Talk":
        connected: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        starting = running(
            self._inside,
            self._machine,
            directory=self._folder,
            channels={},
            writers={CONSOLE: connected.set_result},
        )
        async with contextlib.AsyncExitStack() as stack:
            self.vm = await stack.enter_async_context(starting)
            self._writer = await connected
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._stack.aclose()

    async def answers(self, word: str, *, count: int) -> None:
        """Ask the guest, and have its answer, the `count`-th. Raises: `VirtualMachineLost`."""
        nonce = secrets.token_hex(8)
        self._writer.write(f"{nonce}\n".encode())
        with contextlib.suppress(ConnectionError, TimeoutError):  # which is told by there being no answer
            async with asyncio.timeout(UNTAKEN_SECONDS):
                await self._writer.drain()
        await self.says(f"{word} {count} {nonce}", seconds=ANSWER_SECONDS)

    async def says(self, text: str, *, seconds: float) -> None:
        """Wait until the guest says this. Raises: `VirtualMachineLost` when it does not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.vm.ended.done():
                    if text.encode() in self.vm.console:
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        what = "ended" if self.vm.ended.done() else f"said nothing for {seconds:g} s"
        seen = last_line(bytes(self.vm.console))
        raise VirtualMachineLost(f"the guest {what}" + (f" after: {seen}" if seen else ""))
