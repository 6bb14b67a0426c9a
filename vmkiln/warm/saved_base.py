"""The build VM that others go on from: booted once from a source, saved when its boot had ended.

Nothing of a run is in it. It is booted in namespaces of its own, where its network ends nowhere; who may log in to it
has a key that was thrown away. `guest_renewal.py3` waits in it, and makes each that goes on another machine.

*Leaves behind:* a folder in the cache. *Undone by:* `saved_vm.make_room`. *Safe to repeat:* yes.
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from qemu.qmp import QMPError

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.host import namespace
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.making import work_group
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, Disk, Firmware, Machine, SavedVm
from vmkiln.host.saved import device_state, saved_vm
from vmkiln.host.virtual_machine import VirtualMachine, bind_run_directory, running, unplug
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging import build_vm, cloud_init_seed
from vmkiln.staging.build_vm import BuildVm
from vmkiln.staging.login_key import new_key
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.machine_facts import machine_facts
from vmkiln.warm.program_digest import digest_of_files

log = logging.getLogger(__name__)
BOOT_SECONDS = 600  # measured: 70 s, on a busy machine 230 s
UNPLUG_SECONDS = 30
RENEWAL_SECONDS = 180  # measured: 10 s, on a very busy machine 50 s
LOOK_SECONDS = 0.05
SPARE_MIB = 1024  # of disk, beside the VM's whole memory
MIB = 1024**2
RENEWAL = Path(__file__).with_name("guest_renewal.py3")
SAYS, FOLDER = "vmkiln-renewal:", "/run/vmkiln"  # as it has them
NOBODY = cloud_init_seed.LoginKey("", f"ssh-ed25519 nobody {cloud_init_seed.KEY_COMMENT}")


@dataclass(frozen=True)
class Base:
    """What is booted once: a source's disk (`digest` is the source's), and the VM that a build would have.

    `disk_bytes` is what the guest sees. `firmware` is none for a BIOS.
    """

    name: str
    source: Disk
    digest: str
    disk_bytes: int
    cpus: int
    memory_mib: int
    accelerator: Accelerator
    network: VirtualNetwork
    firmware: FirmwareFiles | None = None
    architecture: Architecture = Architecture.X64


@dataclass(frozen=True)
class BaseStart:
    """What a build VM goes on from, with the instance that cloud-init in it believes to be; or why it is booted."""

    saved: SavedVm | None = None
    instance_id: str = ""
    reason: str = ""


BOOTED = BaseStart()
TOO_LONG = "saving one took too long"


async def obtain_saved_base(
    folder: Path,
    base: Base,
    *,
    may_make: bool,
    most_mib: int,
    progress: Callable[[str], None],
    room: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext,
) -> BaseStart:
    """What a build VM goes on from, made now if it is not there and `may_make`.

    `room` is had only while one is made: who waits for another that makes the same boots nothing. Where it did not
    work it is not tried again for a day; where it took too long, for a quarter of an hour.
    """
    if most_mib <= 0:
        return BaseStart(reason="the setting most_saved_vms_mib is 0")
    try:
        if not may_make and not await off_loop(_has_any, folder):
            return BaseStart(reason="none was saved that is like it")
        key = saved_vm.key_of(await facts_of(base))
        instance_id = f"{key[:16]}-{base.name}"
        if saved := await off_loop(saved_vm.found, folder, key):
            return BaseStart(saved, instance_id)
        if not may_make:
            return BaseStart(reason="none was saved that is like it")
        waiting = "waiting for another process that saves a booted build VM"
        async with alone(folder, key, waiting=lambda: progress(waiting)):
            if saved := await off_loop(saved_vm.found, folder, key):
                return BaseStart(saved, instance_id)
            if refusal := await off_loop(saved_vm.refusal, folder, key):
                return BaseStart(reason=refusal)
            if (free := (await off_loop(shutil.disk_usage, folder)).free // MIB) < (
                needed := base.memory_mib + SPARE_MIB
            ):
                return BaseStart(reason=f"{free} MiB of disk are free, and saving one takes up to {needed}")
            progress("booting the source once, to save it for all build VMs that come")
            try:
                async with room():
                    await _made(folder, key, base, instance_id)
            except TimeoutError as error:
                reason = str(error) or TOO_LONG
                await off_loop(lambda: saved_vm.refuse(folder, key, reason, seconds=saved_vm.BUSY_SECONDS))
                raise
            except (VirtualMachineLost, QMPError) as error:
                await off_loop(saved_vm.refuse, folder, key, str(error))
                raise
            await off_loop(lambda: saved_vm.make_room(folder, most_bytes=most_mib * MIB, keep=key))
            return BaseStart(await off_loop(saved_vm.found, folder, key), instance_id)
    except (VmkilnError, QMPError, OSError, TimeoutError) as error:
        log.warning("the build VM is booted, for none could be saved: %s", error)
        return BaseStart(reason=str(error) or TOO_LONG)


def _has_any(folder: Path) -> bool:
    return any(folder.glob(f"*/{saved_vm.DISK}"))


async def renewed(vm: VirtualMachine) -> None:
    """Return when a VM that goes on has made itself another machine. Raises: `VirtualMachineLost` when it does not."""
    await _says(vm, "renewed", seconds=RENEWAL_SECONDS)


async def thrown_away(folder: Path, saved: SavedVm, reason: str) -> None:
    """Delete what was of no use; when it is whole all the same, none like it is made for a day.

    What another build has put into its place meanwhile stays: that was never tried.
    """
    there = await off_loop(saved_vm.found, folder, saved.memory.parent.name)
    if there is not None and there != saved:
        return
    if await asyncio.to_thread(saved_vm.is_whole, saved):
        await off_loop(saved_vm.refuse, folder, saved.memory.parent.name, reason)
    await off_loop(saved_vm.discard, saved)


async def facts_of(base: Base) -> dict[str, object]:
    """All that has to be the same: the machine and what it runs on, the source, what its seed says."""
    machine = _machine(base, Path("disk"), Path("seed"), _firmware(base, Path("variables")))
    seed = _seed(base, instance_id="", login=NOBODY, host_key=NOBODY)
    firmware = [str(base.firmware.code), str(base.firmware.variables)] if base.firmware else []
    return {
        **await machine_facts(machine),
        "source": base.digest,
        "disk_bytes": base.disk_bytes,
        "seed": hashlib.sha256(repr(sorted(seed.items())).encode()).hexdigest(),
        "firmware": await asyncio.to_thread(digest_of_files, firmware),
    }


def _firmware(base: Base, variables: Path) -> Firmware | None:
    return None if base.firmware is None else Firmware(base.firmware.code, variables)


def _machine(base: Base, disk: Path, seed: Path, firmware: Firmware | None) -> Machine:
    """The VM as a build has it, but that it can be saved; pure."""
    overlay = Disk(disk, "qcow2", backing=base.source, is_boot=True, size_bytes=base.disk_bytes)
    vm = BuildVm(
        name=base.name,
        cpus=base.cpus,
        memory_mib=base.memory_mib,
        disk=overlay,
        seed=seed,
        accelerator=base.accelerator,
        firmware=firmware,
        architecture=base.architecture,
    )
    return replace(build_vm.describe(vm, base.network), is_saveable=True, boots_plugged_in=True)


def _seed(
    base: Base, *, instance_id: str, login: cloud_init_seed.LoginKey, host_key: cloud_init_seed.LoginKey
) -> dict[str, str]:
    return cloud_init_seed.contents(
        instance_id=instance_id,
        host_name=cloud_init_seed.HOST_NAME,
        network=base.network,
        login=login,
        host_key=host_key,
        more_boot_commands=[renewal_command()],
    )


def renewal_command() -> str:
    """The command, for `sh` at boot, that has the guest wait to be saved; pure but for our own file."""
    text = base64.b64encode(RENEWAL.read_bytes()).decode()
    file = f"{FOLDER}/renewal.py"
    return (
        "p=$(command -v python3 || echo /usr/libexec/platform-python); "
        f"mkdir -p -m 0700 {FOLDER} && printf %s {text} | base64 -d > {file} && "
        f'systemd-run --no-block --collect --unit=vmkiln-renewal "$p" {file} || '
        f"echo '{SAYS} cannot: it could not be started' > /dev/console"
    )


async def _made(folder: Path, key: str, base: Base, instance_id: str) -> None:
    workplace = await off_loop(saved_vm.begun, folder, key)
    try:
        run_folder = workplace.with_name(f"{workplace.name}.run")
        walls = work_group.held(guests_mib=base.memory_mib)
        async with _run_folder(run_folder), walls, namespace.opened() as inside:
            await bind_run_directory(inside, run_folder)
            await inside.run(["ip", "tuntap", "add", "dev", base.network.build_vm_subnet.tap, "mode", "tap"])
            machine = await _files_made(base, workplace, run_folder, instance_id)
            async with asyncio.timeout(BOOT_SECONDS):
                await _saved(inside, machine, workplace, run_folder, source=base.digest)
        await off_loop(saved_vm.named, workplace)
    finally:
        await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)


@contextlib.asynccontextmanager
async def _run_folder(path: Path) -> AsyncIterator[None]:
    """The folder of the sockets, of the seed and of the firmware's variables, deleted at the end."""
    await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)  # of one that was killed
    await off_loop(path.mkdir, 0o700)
    try:
        yield
    finally:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


async def _files_made(base: Base, workplace: Path, run_folder: Path, instance_id: str) -> Machine:
    seed, variables, disk = run_folder / "seed.iso", run_folder / "variables.fd", workplace / saved_vm.DISK
    login = new_key(cloud_init_seed.KEY_COMMENT)
    contents = _seed(base, instance_id=instance_id, login=login, host_key=new_key("host"))
    await make_iso(seed, contents, label=cloud_init_seed.LABEL)
    await create_overlay(base.source, disk, size_bytes=base.disk_bytes)
    if base.firmware is not None:
        await off_loop(shutil.copyfile, base.firmware.variables, variables)
        await off_loop(variables.chmod, 0o600)
    return _machine(base, disk, seed, _firmware(base, variables))


async def _saved(inside: Namespace, machine: Machine, workplace: Path, run_folder: Path, *, source: str) -> None:
    async with running(inside, machine, directory=run_folder, channels={}) as vm:
        await _says(vm, "ready", seconds=BOOT_SECONDS)
        await unplug(vm.control)
        await _says(vm, "unplugged", seconds=UNPLUG_SECONDS)
        devices = await device_state.save(vm.control)
        memory_digest = await inside.keep_memory(machine.name, workplace / saved_vm.MEMORY)
    await asyncio.to_thread(saved_vm.finished, workplace, devices, memory_digest, source=source)


async def _says(vm: VirtualMachine, word: str, *, seconds: float) -> None:
    """Wait until the guest says a word on its console.

    Raises: `VirtualMachineLost` when it says that it cannot, ends, or says nothing.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not vm.ended.done():
                text = bytes(vm.console).decode(errors="replace")
                if found := re.search(rf"{SAYS} cannot: ([^\r\n]*)[\r\n]", text):
                    raise VirtualMachineLost(f"the build VM cannot be made another machine: {found[1][:300]}")
                if f"{SAYS} {word}" in text:
                    return
                await asyncio.sleep(LOOK_SECONDS)
    what = f"ended (status {vm.ended.result().status})" if vm.ended.done() else f"was waited for {seconds:g} s"
    raise VirtualMachineLost(f"the build VM {what} before it said that it is {word}; {vm.last_console_lines(3)}")
