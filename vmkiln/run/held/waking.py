"""A failed VM that lies on disk is woken: as it was, in a network as it had, until its user leaves it.

Its disks are opened into a folder of the runs, its RAM inside its jail. When it is left it is put on disk again as it
is then, for the rest of its time; one that was killed, or whose host died, lies there as it was before.

*Leaves behind:* nothing beside the lease. *Undone by:* leaving the block, and the deletion of the folder, by
whichever command comes next when this one was killed. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import functools
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmkiln.errors import InputError
from vmkiln.files.sparse_file import taken_bytes
from vmkiln.host import namespace
from vmkiln.host.confinement import run_group
from vmkiln.host.network import network_setup
from vmkiln.host.qemu import Disk, Machine, SavedVm
from vmkiln.host.saved import sealed_copy
from vmkiln.host.virtual_machine import Reader, VirtualMachine, bind_run_directory, running
from vmkiln.run.held import door, lease, releasing, sealing, shell_group
from vmkiln.run.held.lease import Contents, Lease
from vmkiln.run.held.sealing import Kept, NotLeased
from vmkiln.run.room import CONTAINER_GROUP_CPUS, QEMU_MIB, Room
from vmkiln.run.run_context import BuildHost
from vmkiln.run.starts import beside_runs
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.settings import Settings
from vmkiln.staging import container_group, run_directory
from vmkiln.staging.container_group import ContainerGroup
from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import off_loop, off_loop_with

LOCK_SECONDS, LOOK_SECONDS = 5.0, 0.05
ENDING_SECONDS = 120.0  # for the end of the run whose VM it is
LEAVING_SECONDS = 10.0  # for a visitor to notice that the VM has ended


@dataclass(frozen=True)
class Woken:
    """A failed VM that is awake: the folder of its door, what it was woken from, and how it is put on disk again."""

    directory: Path
    lease: Lease
    vm: VirtualMachine
    released: asyncio.Event
    put_back: Callable[[], Coroutine[Any, Any, Lease]]


async def run_ended(settings: Settings, run_id: str) -> None:
    """Wait until the run whose VM it is has ended, which goes on for a moment when its VM lies on disk.

    Raises: `InputError` when somebody is in, or it goes on.
    """
    deadline, woken_folder = time.monotonic() + ENDING_SECONDS, run_directory.folder_of_woken(settings.runs, run_id)
    while await off_loop(run_directory.is_live, settings.runs, run_id):
        if await off_loop(door.is_held, woken_folder):
            raise door.taken()
        if time.monotonic() > deadline:
            raise InputError(f"the run {run_id[:8]} goes on, and nobody can enter it yet", hint="try again later")
        await asyncio.sleep(LOOK_SECONDS)


async def visited(
    host: BuildHost, run_id: str, visit: Callable[[Path], Coroutine[Any, Any, int]], tell: Callable[[str], None]
) -> int | None:
    """Wake the failed VM of a run, and put it on disk again after a visit; gives what the visit gave.

    `visit` gets the folder of the door. None when the VM was let go meanwhile, or its time was over, and it is deleted;
    also when it ended, was not heard any more, or this host could not write what it wrote, and the visitor did not
    notice. Raises: as `woken`.
    """
    async with woken(host, run_id, tell) as awake:
        visiting = asyncio.create_task(visit(awake.directory))
        letting_go = asyncio.create_task(awake.released.wait())
        unwritten = asyncio.create_task(awake.vm.stopped_by_write_error())
        over: list[asyncio.Future[Any]] = [visiting, letting_go]
        try:
            most = seconds_left(awake.lease)
            stuck: list[asyncio.Future[Any]] = [awake.vm.ended, awake.vm.unheard, unwritten]
            await asyncio.wait([*over, *stuck], timeout=most, return_when=asyncio.FIRST_COMPLETED)
            is_stuck = any(future.done() for future in stuck)
            if is_stuck:  # nothing comes from it any more, and ssh would wait for that without an end
                await asyncio.wait(over, timeout=LEAVING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if letting_go.done() or not (visiting.done() or is_stuck):
                await off_loop(lease.forget, host.settings, host.store, run_id)
                tell("it was let go" if letting_go.done() else "its time is over")
                return None
            if unwritten.done():
                tell(f"this host could not write what the failed VM wrote: {unwritten.result().reason}")
            if awake.vm.unheard.done():
                tell(f"what the failed VM says could not be read any more: {awake.vm.unheard.result()}")
            await _put_back(awake, tell)
            return visiting.result() if visiting.done() else None
        finally:
            for task in (visiting, letting_go, unwritten):
                task.cancel()
            await asyncio.gather(visiting, letting_go, unwritten, return_exceptions=True)


def seconds_left(found: Lease) -> float:
    """For how long a lease may still be used."""
    return max(0.0, found.until - time.time())


async def _put_back(awake: Woken, tell: Callable[[str], None]) -> None:
    if awake.vm.ended.done():
        tell("the failed VM was turned off: it lies on disk as it was before this visit")
        return
    try:
        await awake.put_back()
    except (NotLeased, VirtualMachineLost) as error:
        tell(f"the failed VM lies on disk as it was before this visit: {error.message}")


@contextlib.asynccontextmanager
async def woken(host: BuildHost, run_id: str, tell: Callable[[str], None]) -> AsyncIterator[Woken]:
    """The failed VM of a run, awake, with its door open. It is gone when the block is left, and its lease as it was.

    Raises: `InputError` when there is none, somebody is in, or it cannot be opened; `VirtualMachineLost` when it does
    not go on, as with another release of QEMU; `HostUnfit`, `KeyUnavailable`.
    """
    settings, store = host.settings, host.store
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(off_loop_with(lambda: _lock_of(settings, run_id)))
        found = await off_loop(_held, settings, store, run_id)
        contents = await off_loop(lease.opened, found, store)
        room = await off_loop(_room_of, contents.machine, found)
        what = f"the failed VM of run {run_id[:8]}"
        await stack.enter_async_context(off_loop_with(lambda: beside_runs.taken(settings, store, room, what)))
        directory = await stack.enter_async_context(off_loop_with(lambda: run_directory.woken(settings.runs, run_id)))
        machine = await off_loop(_laid_out, found, contents, directory)
        most = run_group.limits_of(guests_mib=machine.memory_mib + container_group.MEMORY_MIB)
        group = await stack.enter_async_context(
            off_loop_with(lambda: run_group.held(run_id, most, is_required=settings.require_confinement))
        )
        inside = await stack.enter_async_context(namespace.opened(group=group))
        await bind_run_directory(inside, directory)
        visitors = shell_group.made(_group_of(host, directory), contents.network, directory)
        making = await stack.enter_async_context(_beside(visitors))
        await stack.enter_async_context(network_setup.joined(inside, contents.network.network))
        channels: dict[str, Reader] = {channel.name: _passed_over for channel in machine.channels}
        vm = await stack.enter_async_context(running(inside, machine, directory=directory, channels=channels))
        session = shell_group.session_of(inside, await making, directory, tell)
        opening = door.opened(directory, private_key=contents.private_key, session=session)
        released = await stack.enter_async_context(opening)
        again = functools.partial(
            sealing.sealed,
            inside,
            vm,
            Kept(machine, contents.network, contents.private_key),
            settings,
            store,
            run_id=run_id,
            until=found.until,
            generation=found.generation + 1,
        )
        yield Woken(directory, found, vm, released, again)


def _room_of(machine: Machine, found: Lease) -> Room:
    """What a visit takes of its host: the VM, and the container group that leads into it.

    Of the disk what was written, opened, and what it takes to put all on disk again beside what lies there.
    """
    memory_mib = machine.memory_mib + container_group.MEMORY_MIB + 2 * QEMU_MIB
    files = [found.file(name) for name in lease.own_files(machine)]
    written_mib = taken_bytes(*(file for file in files if file.exists())) // lease.MIB
    disk_mib = written_mib + sealing.needed_mib(machine, written_mib)
    return Room(machine.cpus + CONTAINER_GROUP_CPUS, memory_mib, disk_mib)


@contextlib.contextmanager
def disks_of(settings: Settings, store: Store, run_id: str) -> Iterator[list[Disk]]:
    """The disks of a failed VM, to be read while the block lasts: that of its system first. Nobody wakes it meanwhile.

    Raises: `InputError` when there is none, somebody is in, or it cannot be opened; `KeyUnavailable`.
    """
    with _lock_of(settings, run_id):
        found = _held(settings, store, run_id)
        contents = lease.opened(found, store)
        with run_directory.woken(settings.runs, run_id) as directory:
            machine = _laid_out(found, contents, directory)
            yield [replace(disk, read_only=True) for disk in machine.disks if not disk.is_disc]


def _held(settings: Settings, store: Store, run_id: str) -> Lease:
    """The lease of a run. Raises: `InputError` when there is none, or it was released on another host."""
    found = lease.found(settings, run_id)
    if found is None or releasing.is_released(settings, releasing.run_of(store, run_id)):
        raise door.not_held(run_id)
    return found


@contextlib.contextmanager
def _lock_of(settings: Settings, run_id: str) -> Iterator[None]:
    """The lock of the run, which who cleans up has for a moment. Raises: `InputError` when another visitor has it."""
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        with run_directory.locked_if_free(settings.runs, run_id) as is_ours:
            if is_ours:
                yield
                return
        time.sleep(LOOK_SECONDS)
    raise door.taken()


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, Machine]) -> AsyncIterator[asyncio.Task[Machine]]:
    """What is made meanwhile; it has ended when the block is left."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await asyncio.gather(task, return_exceptions=True)


def _passed_over(_chunk: bytes) -> None:
    """What becomes of what the VM says beside its console."""


def _group_of(host: BuildHost, directory: Path) -> ContainerGroup:
    image = host.container_image
    input_disk = directory / shell_group.INPUT_DISK
    return ContainerGroup(
        image.kernel, image.initramfs, image.disk, input_disk, host.accelerator, saved=host.saved_group
    )


def _laid_out(found: Lease, contents: Contents, directory: Path) -> Machine:
    """The machine, on files in this folder that it may write. Raises: `InputError` when one is not what was sealed."""
    own = {name: directory / name for name in lease.own_files(contents.machine)}
    try:
        for name, path in (*own.items(), (lease.DEVICES, directory / lease.DEVICES)):
            with found.file(name).open("rb") as file, open(path, "xb", opener=_private) as target:
                sealed_copy.opened(file.fileno(), target.fileno(), bytes.fromhex(contents.keys[name]))
    except (ValueError, FileNotFoundError, KeyError) as error:
        raise InputError(
            f"the failed VM of run {found.run_id[:8]} cannot be woken: what lies on disk is not what was put there",
            hint=f"`vmkiln run release {found.run_id[:8]}` deletes it",
        ) from error
    below = {name: found.folder / name for name in lease.files_below(contents.machine)}
    devices = directory / lease.DEVICES
    saved = SavedVm(
        found.file(lease.MEMORY),
        "",
        devices,
        hashlib.sha256(devices.read_bytes()).hexdigest(),
        memory_key=contents.keys[lease.MEMORY],
    )
    return replace(lease.placed(contents.machine, own, below), saved=saved)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
