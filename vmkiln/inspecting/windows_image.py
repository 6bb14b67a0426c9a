"""Looking into a Windows image: by a VM without a network, from an initial file system that only this needs.

It has ntfs-3g's programs and hivex, which builds of Linux do without; so it is made when an image of Windows is
imported or built first, from this machine's own packages, for the container group's kernel. It tells facts of an
image, tells what a build left in one, or takes out of a run's own overlay what keeps the run from beginning.

*Leaves behind:* the initial file system, in the cache; with `Work.TAKE_OUT` a changed overlay. *Undone by:* deleting
it; the deletion of the run's folder. *Safe to repeat:* yes.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import resources
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.host import namespace
from vmkiln.host.confinement.confinement import OnConfinement
from vmkiln.host.disk.container_kernel import obtain_kernel
from vmkiln.host.disk.initramfs import DIRECTORY, EXECUTABLE, REGULAR, Entry
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, Channel, DirectKernel, Disk, Machine
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.host.virtual_machine import INSIDE, bind_run_directory, running
from vmkiln.images.container_image import INSPECTOR_MODULES, initial_file_system, static_busybox
from vmkiln.inspecting.inspection import CHANNEL, KERNEL_OPTIONS, LOOK_SECONDS, until_ended
from vmkiln.inspecting.windows_facts import MOST_FACTS_BYTES, WindowsFacts, read_facts
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop

NAME = "windows-inspection-vm"
MEMORY_MIB = 1280  # the registry's largest hive lies in it
PROGRAMS = {
    "ntfscat": "ntfs-3g",
    "ntfsls": "ntfs-3g",
    "ntfsinfo": "ntfs-3g",
    "ntfs-3g": "ntfs-3g",
    "hivexsh": "libhivex-bin",
}
DRIVERS = {"fuse": ("fuse",)}  # loaded only to write
FUNCTIONS = "windows_look.sh"
CONVERSIONS = ("gconv-modules.cache", "gconv-modules", "UTF-16.so", "ISO8859-1.so")
SHOWN_DIGEST = 32


class Work(StrEnum):
    """What the VM does: tell facts, tell what a build left, or take out what keeps a run from beginning."""

    FACTS = "facts"
    RESIDUES = "residues"
    TAKE_OUT = "take-out"


@dataclass(frozen=True)
class WindowsInspector:
    """What the VM boots from."""

    kernel: Path
    kernel_digest: str
    initramfs: Path


async def obtain_windows_inspector(directory: Path, *, progress: Callable[[str], None]) -> WindowsInspector:
    """What the VM boots from, made now if it is not there. Raises: `HostUnfit` naming a package that is missing."""
    found = {name: shutil.which(name) for name in PROGRAMS}
    if missing := sorted({PROGRAMS[name] for name, path in found.items() if path is None}):
        packages = " and ".join(f"`{name}`" for name in missing)
        raise HostUnfit("a Windows image cannot be looked at: a program is missing", hint=f"install {packages}")
    await off_loop(make_folder, directory)
    kernel = await obtain_kernel(directory / "kernel", progress=progress)
    busybox = await static_busybox()
    own = resources.files("vmkiln.inspecting")
    init, functions = [await off_loop(own.joinpath(name).read_bytes) for name in ("windows_facts.sh", FUNCTIONS)]
    files: dict[Path, Path] = {}
    for name, path in found.items():
        assert path is not None  # else it was missing
        files[Path("/bin") / name] = Path(path)
        files |= {library: library for library in await libraries_of(Path(path))}
    for file in await off_loop(_conversions, [library for library in files if library.name.startswith("libc.so")]):
        files[file] = file
    folders = {str(parent) for file in files for parent in file.parents if parent != Path("/")} - {"/lib", "/bin"}
    more = [Entry(folder[1:], DIRECTORY) for folder in sorted(folders)]
    for place, file in sorted(files.items()):
        more.append(Entry(str(place)[1:], EXECUTABLE, await off_loop(file.read_bytes)))
    more.append(Entry(FUNCTIONS, REGULAR, functions))
    content = await initial_file_system(
        kernel, INSPECTOR_MODULES, busybox=busybox, init=init, drivers=DRIVERS, more=more
    )
    digest = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
    initramfs = directory / f"windows-{digest[:SHOWN_DIGEST]}"
    async with alone(directory, initramfs.name, waiting=lambda: None):
        if not initramfs.exists():
            await off_loop(write_whole, initramfs, content)
    return WindowsInspector(kernel.vmlinuz, kernel.digest, initramfs)


def _conversions(c_libraries: Sequence[Path]) -> list[Path]:
    """What the C library reads the registry's letters by, where it looks for that."""
    folders = [library.resolve().parent / "gconv" for library in c_libraries]
    return [folder / name for folder in folders for name in CONVERSIONS if (folder / name).is_file()]


def describe(
    inspector: WindowsInspector,
    disks: Sequence[Disk],
    *,
    accelerator: Accelerator,
    work: Work = Work.FACTS,
    name: str = NAME,
) -> Machine:
    """The VM; its disks are read, and written to only by one that takes something out; pure."""
    return Machine(
        name=name,
        accelerator=accelerator,
        cpus=1,
        memory_mib=MEMORY_MIB,
        disks=tuple(replace(disk, read_only=work is not Work.TAKE_OUT, is_boot=False) for disk in disks),
        tap="",
        mac="",
        console_socket=INSIDE / f"{name}.console",
        control_socket=INSIDE / f"{name}.qmp",
        boot=DirectKernel(inspector.kernel, inspector.initramfs, f"{KERNEL_OPTIONS} vmkiln.work={work}"),
        channels=(Channel(CHANNEL, INSIDE / f"{name}.answer"),),
        may_reboot=False,
    )


async def look_at_windows(machine: Machine, *, directory: Path, limit_seconds: float = LOOK_SECONDS) -> WindowsFacts:
    """The facts of the image on the machine's disk. `directory` is a private folder for its sockets.

    Raises: as `read_facts` and `answered`.
    """
    async with namespace.opened() as inside:
        await bind_run_directory(inside, directory)
        return read_facts(await answered(inside, machine, directory=directory, limit_seconds=limit_seconds))


async def answered(
    inside: Namespace,
    machine: Machine,
    *,
    directory: Path,
    on_confinement: OnConfinement | None = None,
    limit_seconds: float = LOOK_SECONDS,
) -> bytes:
    """What the VM tells until it ends; of more than is read, the beginning. `directory` is bound into the namespace.

    Raises: `InspectionFailed` when it does not end in time; `VirtualMachineLost`, `NotConfined`.
    """
    answer = bytearray()

    def take(chunk: bytes) -> None:
        if len(answer) <= MOST_FACTS_BYTES:
            answer.extend(chunk)

    started = running(inside, machine, directory=directory, channels={CHANNEL: take}, on_confinement=on_confinement)
    async with started as vm:
        await until_ended(vm, machine.name, limit_seconds=limit_seconds)
    return bytes(answer)
