"""The container group that all others go on from: booted once, saved where it would look at its input disk.

Up to there nothing is of any run: no address, no input, no user. It is booted without a network, in namespaces of its
own. It is tried once before it gets its name: another goes on from it, and Packer in that one carries out a build of
nothing.

*Leaves behind:* a folder in the cache. *Undone by:* `saved_vm.make_room`. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host import namespace
from vmkiln.host.making import work_group
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, SavedVm
from vmkiln.host.saved import device_state, saved_vm
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.images.container_image import ContainerImage
from vmkiln.packer import waiting_packer
from vmkiln.packer.input_disk import make_input_disk
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging.container_group import (
    NETWORK_FILE,
    ContainerGroup,
    ContainerInstance,
    machine_of,
    started,
)
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.machine_facts import machine_facts

log = logging.getLogger(__name__)
NAME = "container-to-be-saved"
TAP = "tap-saved"
MAC = "02:00:00:00:00:01"  # which a container group that goes on changes for its own
# the place in the network of one that is tried, where nobody else is
NO_NETWORK = f"mac={MAC}\naddress=192.0.2.2/24\ngateway=192.0.2.1\nrelay=2222\ntarget=192.0.2.3\nport=22\nway=relay\n"
BOOT_SECONDS = 180
TRIAL_SECONDS = 120  # measured: 4 s
NO_INPUT_BYTES = 65536
MOST_SAID_BYTES = 2000  # of the end of what Packer says in the trial
MIB = 1024**2


async def obtain_saved_group(
    folder: Path,
    image: ContainerImage,
    accelerator: Accelerator,
    *,
    most_mib: int,
    progress: Callable[[str], None],
    room: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
    may_make: bool = True,
) -> SavedVm | None:
    """What container groups of this image go on from, made now if it is not there; none where that is not possible.

    `room` is had only while one is made. Where it did not work it is not tried again for a day; with a `most_mib` of 0
    it is not tried. Who may not make it waits for nobody who does, either.
    """
    if most_mib <= 0:
        return None
    group = ContainerGroup(image.kernel, image.initramfs, image.disk, Path("no-input"), accelerator)
    try:
        machine = machine_of(group, name=NAME, tap=TAP, mac=MAC, is_saveable=True)
        key = saved_vm.key_of({**await machine_facts(machine), "image": image.digest})
        if not may_make:
            return await off_loop(saved_vm.found, folder, key)
        async with alone(folder, key, waiting=lambda: progress("waiting for another process that saves a booted VM")):
            if saved := await off_loop(saved_vm.found, folder, key):
                return saved
            if await off_loop(saved_vm.is_refused, folder, key):
                return None
            progress("booting the container group once, to save it for all that come")
            try:
                async with room():
                    await _made(folder, key, group)
            except (VirtualMachineLost, QMPError, TimeoutError) as error:
                await off_loop(saved_vm.refuse, folder, key, _reason(error))
                raise
            await off_loop(lambda: saved_vm.make_room(folder, most_bytes=most_mib * MIB, keep=key))
            return await off_loop(saved_vm.found, folder, key)
    except (VmkilnError, QMPError, OSError, TimeoutError) as error:
        log.warning("container groups are booted, for none could be saved: %s", _reason(error))
        return None


def _reason(error: Exception) -> str:
    """What an error says; one of a time that is over says nothing."""
    return str(error) or f"it took longer than {BOOT_SECONDS} s, or its trial longer than {TRIAL_SECONDS} s"


async def _made(folder: Path, key: str, group: ContainerGroup) -> None:
    workplace = await off_loop(saved_vm.begun, folder, key)
    try:
        run_folder = workplace.with_name(f"{workplace.name}.run")
        walls = work_group.held(guests_mib=2 * group.memory_mib)  # that which is saved, and that which is tried
        async with _run_folder(run_folder) as no_input, walls, namespace.opened() as inside:
            await bind_run_directory(inside, run_folder)
            await inside.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"])
            empty = replace(group, input_disk=no_input)
            async with asyncio.timeout(BOOT_SECONDS):
                saved = await _saved(inside, empty, workplace, run_folder)
            async with asyncio.timeout(TRIAL_SECONDS):
                await _tried(inside, replace(empty, saved=saved), run_folder)
        await off_loop(saved_vm.named, workplace)
    finally:
        await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)


@contextlib.asynccontextmanager
async def _run_folder(path: Path) -> AsyncIterator[Path]:
    """The folder of the sockets, deleted at the end; with a disk that has nothing on it."""
    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)  # of one that was killed
    try:
        yield await off_loop(_no_input, path)
    finally:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


def _no_input(path: Path) -> Path:
    path.mkdir(mode=0o700)
    disk = path / "no-input"
    disk.touch(mode=0o600)
    os.truncate(disk, NO_INPUT_BYTES)
    return disk


async def _saved(inside: Namespace, group: ContainerGroup, workplace: Path, run_folder: Path) -> SavedVm:
    machine = machine_of(group, name=NAME, tap=TAP, mac=MAC, is_saveable=True)
    async with started(inside, machine, directory=run_folder, on_output=_nothing) as instance:
        await _until(instance, instance.ready)
        if instance.rehearsed:
            log.warning(
                "no plugin of Packer's waits in the saved group: its rehearsal ended with %d", instance.rehearsed
            )
        devices = await device_state.save(instance.machine.control)
        memory_digest = await inside.keep_memory(machine.name, workplace / saved_vm.MEMORY)
    return await off_loop(saved_vm.finished, workplace, devices, memory_digest)


async def _tried(inside: Namespace, group: ContainerGroup, run_folder: Path) -> None:
    """Let another go on from what was saved, and Packer in it carry out a build of nothing.

    Raises: `VirtualMachineLost`, also where Packer fails.
    """
    trial = replace(group, input_disk=run_folder / "trial.ext4")
    await make_input_disk(trial.input_disk, waiting_packer.trial().with_file(NETWORK_FILE, NO_NETWORK))
    machine = machine_of(trial, name=NAME, tap=TAP, mac=MAC)
    said = bytearray()

    def hear(chunk: bytes) -> None:
        said.extend(chunk)
        del said[:-MOST_SAID_BYTES]

    async with started(inside, machine, directory=run_folder, on_output=hear, may_boot=False) as instance:
        await _until(instance, instance.started)
        either: list[asyncio.Future[Any]] = [instance.exit_status, instance.machine.ended]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        status = instance.exit_status.result() if instance.exit_status.done() else None
    if status != 0:
        how = "was not heard of again" if status is None else f"ended with {status}"
        raise VirtualMachineLost(f"Packer in one that went on {how}: {said.decode(errors='replace').strip()}")


async def _until(instance: ContainerInstance, event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait())
    try:
        either: list[asyncio.Future[Any]] = [waiting, instance.machine.ended]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    if not event.is_set():
        ended = instance.machine.ended.result()
        raise VirtualMachineLost(
            f"the container group ended (status {ended.status}): "
            f"{ended.output.strip() or instance.machine.last_console_lines(20)}"
        )


def _nothing(_chunk: bytes) -> None:
    """Packer in a container group that is to be saved waits for its template, and has nothing to print."""
