"""The files that QEMU needs of this machine to start: itself, its libraries and modules, its firmware.

They are asked for once and kept in memory until the program's file changes, as after an upgrade.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host.shared_libraries import libraries_of
from vmkiln.waiting.off_loop import off_loop

MODULES = ("accel-*.so",)  # all that a machine of ours loads; sound, displays and USB it has none of
# the BIOS and the option ROMs that a direct kernel needs; each distribution has its own folders
FIRMWARE = ("/usr/share/qemu", "/usr/share/seabios")
# of one program only: 400 MiB, of which whoever saves a VM takes a digest
OWN_FIRMWARE = {"qemu-system-aarch64": ("/usr/share/qemu-efi-aarch64", "/usr/share/AAVMF")}


@dataclass(frozen=True)
class ProgramFiles:
    """A program by its whole path, and every file and folder it needs to read, in the order they are bound."""

    program: str
    files: tuple[str, ...]


_known: dict[tuple[str, int, int], ProgramFiles] = {}  # of the few programs that a machine has


async def program_files(program: str) -> ProgramFiles:
    """What a program on PATH needs. Raises: `HostUnfit` when it is not installed, `CommandFailed`."""
    found = await off_loop(_found, program)
    if found is None:
        raise HostUnfit(
            f"the program `{program}` is not installed", hint="run `script/bootstrap`, or `vmkiln doctor` for a list"
        )
    path, key, modules, firmware = found
    if key not in _known:
        libraries = dict.fromkeys(await libraries_of(path))
        for module in modules:
            libraries |= dict.fromkeys([module, *await libraries_of(module)])
        files = (str(path), *(str(library) for library in libraries), *firmware)
        for old in [known for known in _known if known[0] == key[0]]:
            del _known[old]
        _known[key] = ProgramFiles(str(path), files)
    return _known[key]


def _found(program: str) -> tuple[Path, tuple[str, int, int], list[Path], list[str]] | None:
    named = shutil.which(program)
    if named is None:
        return None
    path = Path(named).absolute()
    facts = path.stat()
    libraries = [folder for folder in Path("/usr/lib").glob("*/qemu") if folder.is_dir()] + [Path("/usr/lib/qemu")]
    modules = [module for folder in libraries for pattern in MODULES for module in sorted(folder.glob(pattern))]
    folders = (*FIRMWARE, *OWN_FIRMWARE.get(program, ()))
    firmware = [folder for folder in folders if Path(folder).is_dir()]
    return path, (str(path), facts.st_mtime_ns, facts.st_size), modules, firmware
