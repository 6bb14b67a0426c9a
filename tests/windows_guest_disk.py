"""The disk of a Linux that plays Windows in a VM (`stand_ins/windows_guest.py`), which needs UEFI, AHCI and e1000e.

Its kernel is the distribution's general one, for that of virtual machines has no driver of AHCI; its boot loader is the
distribution's signed GRUB. All else is in its initial file system: busybox, and Python with the modules that it needs.
"""

import json
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

from windows_volume import PARTITION, disk_bytes

from vmkiln.errors import CommandFailed
from vmkiln.host import command
from vmkiln.host.disk import container_kernel
from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.host.disk.initramfs import DIRECTORY, EXECUTABLE, REGULAR, Entry
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.images.container_image import initial_file_system
from vmkiln.platform_images.boot_disk import assemble, layout

TESTS = Path(__file__).parent
KERNELS = ("linux-image-amd64", "linux-image-generic")
BOOT_LOADER = "grub-efi-amd64-signed"
MODULES = ("ahci", "sd_mod", "sr_mod", "isofs", "nls_utf8", "crc32c_generic", "ext4", "e1000e", "af_packet")
SIZE_BYTES = 96 * 1024**2
FETCH_SECONDS = 600
BASIC_DATA = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
MENU = "linux /vmlinuz console=ttyS0 quiet\ninitrd /initrd\nboot\n"
# what the guest imports only when it gets there
LATER = (
    "encodings.idna",
    "encodings.utf_16_le",
    "encodings.utf_8_sig",
    "encodings.ascii",
    "encodings.latin_1",
    "hashlib",
)
LIST_MODULES = f"""
import importlib, json, sys
sys.path.insert(0, {str(TESTS)!r})
import stand_ins.windows_guest
for name in {LATER!r}: importlib.import_module(name)
print(json.dumps([module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)]))
"""


async def make_disk(disk: Path, folder: Path, *, is_oem: bool = False) -> None:
    """Write the raw disk; `folder` is room to work in. With `is_oem` its set-up runs no script at its end.

    Raises: `HostUnfit`, `CommandFailed`.
    """
    with mock.patch.object(container_kernel, "META_PACKAGES", KERNELS):
        kernel = await container_kernel.obtain_kernel(folder / "kernel", progress=print)
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    init = (TESTS / "stand_ins/windows_guest.sh").read_text().replace("@PYTHON@", str(python)).encode()
    more = await _programs(python, Path("/usr/bin/openssl"))
    system = await initial_file_system(kernel, MODULES, busybox=busybox, init=init, more=more)
    esp, state = folder / "boot/esp", folder / "state"
    for place in ("EFI/BOOT", "EFI/debian", "EFI/ubuntu"):
        (esp / place).mkdir(parents=True)
        (esp / place / "grub.cfg").write_text(MENU)
    shutil.copyfile(await _boot_loader(folder), esp / "EFI/BOOT/BOOTX64.EFI")
    shutil.copyfile(kernel.vmlinuz, esp / "vmlinuz")
    (esp / "initrd").write_bytes(system)
    state.mkdir()
    if is_oem:
        (state / "oem").touch()
    await make_ext4(folder / "state.ext4", state)
    plan = layout(2, size_bytes=SIZE_BYTES)
    await assemble(disk, plan, root=folder / "state.ext4", boot=folder / "boot", esp_id="01AB-23CD")


def add_registry(disk: Path) -> None:
    """Give the raw disk a third partition, an NTFS volume with a Windows' registry hives, as an import looks for."""
    volume = disk_bytes()[PARTITION:]
    start = SIZE_BYTES
    with disk.open("r+b") as file:
        file.truncate(start + len(volume) + PARTITION)
        file.seek(start)
        file.write(volume)
    script = f"start={start // 512}, size={len(volume) // 512}, type={BASIC_DATA}\n".encode()
    subprocess.run(["sfdisk", "--quiet", "--relocate", "gpt-bak-std", disk], check=True)
    subprocess.run(["sfdisk", "--quiet", "--append", "--no-reread", disk], check=True, input=script)


def journal_of(disk: Path, folder: Path) -> list[str]:
    """What the guest has written in its image (raw)."""
    plan = layout(2, size_bytes=SIZE_BYTES)
    state = folder / "state-of-image.ext4"
    with disk.open("rb") as file:
        file.seek(plan.root_start * 512)
        state.write_bytes(file.read(plan.root_sectors * 512))
    shown = subprocess.run(["debugfs", "-R", "cat /journal", state], check=True, capture_output=True, text=True)
    return shown.stdout.splitlines()


async def _programs(*programs: Path) -> list[Entry]:
    """Python and what else the guest starts, with their libraries, and the modules, compiled."""
    listed = await command.run([programs[0], "-I", "-S", "-c", LIST_MODULES], timeout_seconds=60)
    modules = {Path(name) for name in json.loads(listed.text)}
    extensions = {file for file in modules if file.suffix == ".so"}
    plain = {file for file in modules - extensions if TESTS not in file.parents}
    plain.add(next(file for file in plain if file.name == "functools.py").with_name("os.py"))
    files: dict[str, bytes] = {}
    for program in (*programs, *extensions):
        for file in (program, *await libraries_of(program)):
            files[str(file)] = file.read_bytes()
    for file in plain:
        files[f"{file}c"] = _compiled(file)
    for file in sorted((TESTS / "stand_ins").glob("windows_*.py")):
        files["/windows_guest.py" if file.stem == "windows_guest" else f"/stand_ins/{file.name}"] = file.read_bytes()
    return [*_folders(files), *(Entry(name[1:], _mode(name), content) for name, content in files.items())]


def _mode(name: str) -> int:
    return REGULAR if name.endswith((".py", ".pyc")) else EXECUTABLE


def _folders(files: Iterable[str]) -> list[Entry]:
    found = {str(parent) for name in files for parent in Path(name).parents} - {"/", "/lib", "/bin"}
    return [Entry(folder[1:], DIRECTORY) for folder in sorted(found)]


def _compiled(file: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "one.pyc"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(file), cfile=str(target), doraise=True, invalidation_mode=mode)
        return target.read_bytes()


async def _boot_loader(folder: Path) -> Path:
    fetched, private = folder / "fetched", folder / "apt"
    for path in (fetched, private / "lists/partial", private / "cache/archives/partial"):
        path.mkdir(parents=True)
    for own in (None, private):  # the host's package lists may be old
        options = container_kernel.apt_options(own)
        try:
            if own is not None:
                await command.run(["apt-get", *options, "-qq", "update"], timeout_seconds=FETCH_SECONDS)
            getting = ["apt-get", *options, "-q", "download", BOOT_LOADER]
            await command.run(getting, timeout_seconds=FETCH_SECONDS, directory=fetched)
            break
        except CommandFailed:
            if own is not None:
                raise
    (package,) = fetched.glob("*.deb")
    await command.run(["dpkg-deb", "--extract", package, fetched / "files"], timeout_seconds=FETCH_SECONDS)
    return fetched / "files/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
