"""The container image: kernel, initial file system and Packer disk that every container group boots from.

Beside it, for the same kernel, the initial file system of the inspection VM (`inspecting/`).

Made once from the machine's own Packer, busybox and Perl and a distribution kernel; the folder's name is the digest of
all that went in, so a newer Packer makes a new image and an old one is never changed.

*Leaves behind:* a read-only folder in the cache. *Undone by:* deleting the folder. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import hashlib
import json
import lzma
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.files.durable_file import make_folder, name_folder
from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.host.disk.container_kernel import ContainerKernel, obtain_kernel
from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.host.disk.initramfs import DIRECTORY, EXECUTABLE, REGULAR, Entry, archive
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop

MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4")
INSPECTOR_MODULES = ("virtio_pci", "virtio_blk", "virtio_console")
# loaded when there is such a file system to read: some take long to start
INSPECTOR_DRIVERS = {
    "ext4": ("ext4",),
    "xfs": ("xfs",),
    "btrfs": ("btrfs",),
    "vfat": ("vfat", "nls_cp437", "nls_iso8859_1"),
    "dm_mod": ("dm_mod",),
}


NO_DRIVERS: Mapping[str, Sequence[str]] = {}
SCRIPTS = {
    "relay.pl": "container_relay.pl",
    "forwarder.pl": "container_forwarder.pl",
    "renew.pl": "container_renew.pl",
    "plugin.pl": "container_plugin.pl",
    "way.pl": "container_way.pl",
}
OWN_FILES = ("container_init.sh", "inspector_init.sh", "inspector.pl", *SCRIPTS.values())


@dataclass(frozen=True)
class ContainerImage:
    """A container image ready to boot; `digest` is the SHA-256 of everything in it.

    `inspector` is another initial file system for its kernel: the one of the VM that looks at finished disks.
    """

    kernel: Path
    initramfs: Path
    disk: Path
    digest: str
    packer_version: str
    inspector: Path = Path()


def module_load_order(modules_dep: str, wanted: Sequence[str], *, builtin: str) -> list[str]:
    """Module files (relative to the modules folder) in an order that loads, dependencies first; pure.

    Source: modules.dep(5). A wanted module the kernel has built in is skipped.
    Raises: `HostUnfit` when the kernel has a wanted module neither way.
    """
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in modules_dep.splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
        by_name[_module_name(file)] = file
    built_in = {_module_name(line) for line in builtin.splitlines()}
    order: list[str] = []

    def add(file: str) -> None:
        # modules.dep lists all of a module's dependencies, the ones to load first last
        for needed in reversed(needs[file]):
            add(needed)
        if file not in order:
            order.append(file)

    for name in wanted:
        if name in by_name:
            add(by_name[name])
        elif name not in built_in:
            raise HostUnfit(f"the container group's kernel has no module `{name}`")
    return order


def _module_name(file: str) -> str:
    return re.sub(r"\.ko(\.(xz|zst|gz))?$", "", file.rsplit("/", 1)[-1]).replace("-", "_")


async def obtain_container_image(
    directory: Path,
    *,
    packer: Path,
    packer_version: str,
    waiting: Mapping[str, str],
    progress: Callable[[str], None],
) -> ContainerImage:
    """The container image for this machine's Packer, made now if it is not there.

    `waiting` are the files below `/waiting`: how Packer is started before a group is saved, and how it rehearses.

    Raises: `HostUnfit` when busybox is missing or not static, Perl is missing, or the kernel cannot be had.
    """
    await off_loop(make_folder, directory)
    kernel = await obtain_kernel(directory / "kernel", progress=progress)
    busybox = await static_busybox()
    perl = shutil.which("perl")
    if perl is None:
        raise HostUnfit("Perl is not installed", hint="install the package `perl-base`")
    init, look_init, look, *texts = contents = [await off_loop(_own_file, name) for name in OWN_FILES]
    programs, scripts = {"packer": packer, "perl": Path(perl)}, dict(zip(SCRIPTS, texts, strict=True))
    scripts |= {f"waiting/{name}": text.encode() for name, text in waiting.items()}
    contents += [text.encode() for pair in sorted(waiting.items()) for text in pair]
    contents.insert(0, kernel.digest.encode())
    contents.append(json.dumps([MODULES, INSPECTOR_MODULES, INSPECTOR_DRIVERS, SCRIPTS]).encode())
    digest = await asyncio.to_thread(_digest, contents, [*programs.values(), busybox])
    place = directory / digest

    def tell_waiting() -> None:
        progress("waiting for another process that is making the container image")

    async with alone(directory, digest, waiting=tell_waiting):
        if not (place / "record.json").exists():
            progress(f"making the container image with Packer {packer_version}")
            initramfs = await initial_file_system(kernel, MODULES, busybox=busybox, init=init)
            inspector = await _inspector(kernel, busybox=busybox, perl=Path(perl), init=look_init, program=look)
            starts = {"initramfs": initramfs, "inspector": inspector}
            record = {"packer_version": packer_version, "kernel": kernel.package, "kernel_version": kernel.version}
            await _make(place, kernel.vmlinuz, starts=starts, programs=programs, scripts=scripts, record=record)
    record = json.loads(await off_loop((place / "record.json").read_text))
    return ContainerImage(
        place / "vmlinuz",
        place / "initramfs",
        place / "disk.ext4",
        digest,
        packer_version=record["packer_version"],
        inspector=place / "inspector",
    )


def _own_file(name: str) -> bytes:
    return resources.files("vmkiln.images").joinpath(name).read_bytes()


def _digest(contents: Sequence[bytes], files: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for content in contents:
        total.update(hashlib.sha256(content).digest())
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


async def static_busybox() -> Path:
    """The machine's busybox, which needs no library. Raises: `HostUnfit`."""
    found = shutil.which("busybox")
    if found is None:
        raise HostUnfit("busybox is not installed", hint="install the package `busybox-static`")
    path = Path(found)
    if b"ld-linux" in (await off_loop(path.read_bytes))[:4096]:
        raise HostUnfit(f"{path} is not a static program", hint="install the package `busybox-static`")
    return path


async def _make(
    place: Path,
    vmlinuz: Path,
    *,
    starts: Mapping[str, bytes],
    programs: Mapping[str, Path],
    scripts: Mapping[str, bytes],
    record: Mapping[str, str],
) -> None:
    """Make the image's folder. Only one at a time may; what an earlier one that was killed left is thrown away."""
    workplace = place.parent / f".making-{place.name[:16]}"
    await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)
    try:
        await off_loop(_put_kernel, workplace, vmlinuz, starts)
        await _packer_disk(workplace, programs, scripts)
        await off_loop(_finish, workplace, place, record)
    finally:
        await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)


def _put_kernel(workplace: Path, vmlinuz: Path, starts: Mapping[str, bytes]) -> None:
    workplace.mkdir(mode=0o700)
    for name, content in starts.items():
        (workplace / name).write_bytes(content)
    shutil.copyfile(vmlinuz, workplace / "vmlinuz")


def _finish(workplace: Path, place: Path, record: Mapping[str, str]) -> None:
    """Give a whole image its name."""
    (workplace / "record.json").write_text(json.dumps(record))
    name_folder(workplace, place)  # what has the name is one without a record


async def initial_file_system(
    kernel: ContainerKernel,
    modules: Sequence[str],
    *,
    busybox: Path,
    init: bytes,
    drivers: Mapping[str, Sequence[str]] = NO_DRIVERS,
    more: Sequence[Entry] = (),
) -> bytes:
    """The initial file system: `modules` are loaded in `order`, and those of a driver in `order.NAME` beside it."""
    dependencies = await off_loop((kernel.modules / "modules.dep").read_text)
    builtin = await off_loop((kernel.modules / "modules.builtin").read_text)
    folders = ("bin", "dev", "lib", "lib/modules", "mnt", "proc", "root", "sys", "tmp")
    entries = [Entry(folder, DIRECTORY) for folder in folders]
    entries += [Entry("init", EXECUTABLE, init), Entry("bin/busybox", EXECUTABLE, await off_loop(busybox.read_bytes))]
    files: set[str] = set()
    orders = {"order": module_load_order(dependencies, modules, builtin=builtin)}
    for name, wanted in drivers.items():
        with contextlib.suppress(HostUnfit):  # a file system that this kernel does not know is not read, and told so
            orders[f"order.{name}"] = module_load_order(dependencies, wanted, builtin=builtin)
    for place, order in orders.items():
        files |= set(order)
        text = "".join(f"{_module_name(file)}.ko\n" for file in order)
        entries.append(Entry(f"lib/modules/{place}", REGULAR, text.encode()))
    for file in sorted(files):
        entries.append(Entry(f"lib/modules/{_module_name(file)}.ko", REGULAR, await _module(kernel.modules / file)))
    return await asyncio.to_thread(archive, [*entries, *more])


async def _inspector(kernel: ContainerKernel, *, busybox: Path, perl: Path, init: bytes, program: bytes) -> bytes:
    """The initial file system of the inspection VM: Perl with its libraries, and the drivers of file systems."""
    libraries = await libraries_of(perl)
    folders = {str(parent) for file in libraries for parent in file.parents if parent != Path("/")} - {"/lib", "/bin"}
    more = [Entry(folder[1:], DIRECTORY) for folder in sorted(folders)]
    more += [Entry(str(file)[1:], EXECUTABLE, await off_loop(file.read_bytes)) for file in libraries]
    more += [Entry("bin/perl", EXECUTABLE, await off_loop(perl.read_bytes)), Entry("inspector.pl", REGULAR, program)]
    return await initial_file_system(
        kernel, INSPECTOR_MODULES, busybox=busybox, init=init, drivers=INSPECTOR_DRIVERS, more=more
    )


async def _module(path: Path) -> bytes:
    content = await off_loop(path.read_bytes)
    if path.suffix == ".xz":
        return await asyncio.to_thread(lzma.decompress, content)
    if path.suffix == ".zst":
        arguments = ["zstd", "-dc", str(path.absolute())]
        return (await confined_program.run(arguments, Reach((path,)), timeout_seconds=30)).stdout
    return content


async def _packer_disk(workplace: Path, programs: Mapping[str, Path], scripts: Mapping[str, bytes]) -> None:
    root = workplace / "disk"
    await off_loop(_make_root, root, scripts)
    for name, program in programs.items():
        await asyncio.to_thread(_copy, program, root / name, await libraries_of(program), root)
    await make_ext4(workplace / "disk.ext4", root)
    await asyncio.to_thread(shutil.rmtree, root)


def _make_root(root: Path, scripts: Mapping[str, bytes]) -> None:
    for folder in ("aib/packerInput", "dev", "etc", "proc", "tmp", "bin"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/tmp:/packer\n")
    for name, content in scripts.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(0o755 if content.startswith(b"#!") else 0o644)


def _copy(program: Path, copy: Path, libraries: Sequence[Path], root: Path) -> None:
    """A program, and its libraries where it looks for them below `root`."""
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    for library in libraries:
        target = root / str(library).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
