"""The container group that all others go on from: booted once, saved where it would look at its input disk.

Up to there nothing is of any run: no address, no input, no user. It is booted without a network, in namespaces of its
own. It is tried once before it gets its name: another goes on from it and has to tell that it runs.

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
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging.container_group import ContainerGroup, ContainerInstance, machine_of, started
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.machine_facts import machine_facts

log = logging.getLogger(__name__)
NAME = "container-to-be-saved"
TAP = "tap-saved"
MAC = "02:00:00:00:00:01"  # which a container group that goes on changes for its own
BOOT_SECONDS = 180
TRIAL_SECONDS = 60  # measured: 2 s, on a busy machine
NO_INPUT_BYTES = 65536
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
                await off_loop(saved_vm.refuse, folder, key, str(error))
                raise
            await off_loop(lambda: saved_vm.make_room(folder, most_bytes=most_mib * MIB, keep=key))
            return await off_loop(saved_vm.found, folder, key)
    except (VmkilnError, QMPError, OSError, TimeoutError) as error:
        log.warning("container groups are booted, for none could be saved: %s", error)
        return None


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
        devices = await device_state.save(instance.machine.control)
        memory_digest = await inside.keep_memory(machine.name, workplace / saved_vm.MEMORY)
    return await off_loop(saved_vm.finished, workplace, devices, memory_digest)


async def _tried(inside: Namespace, group: ContainerGroup, run_folder: Path) -> None:
    """Let another go on from what was saved, until it tells that it runs. Raises: `VirtualMachineLost`."""
    machine = machine_of(group, name=NAME, tap=TAP, mac=MAC)
    async with started(inside, machine, directory=run_folder, on_output=_nothing, may_boot=False) as instance:
        await _until(instance, instance.started)


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
            f"{ended.output.strip() or instance.machine.last_console_lines(5)}"
        )


def _nothing(_chunk: bytes) -> None:
    """A container group that is to be saved starts no Packer, which could print something."""
