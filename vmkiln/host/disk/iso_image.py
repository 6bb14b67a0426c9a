"""An ISO 9660 image made from texts and files, for handing a guest its first configuration, or what it copies."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.waiting.off_loop import off_loop, off_loop_with

PROGRAMS = ("xorrisofs", "genisoimage", "mkisofs")
DISC_SECONDS = 30.0
DiscFile = str | bytes | Path


async def make_iso(
    image: Path, contents: Mapping[str, DiscFile], *, label: str, timeout_seconds: float = DISC_SECONDS
) -> None:
    """Write `image` holding the named files, as a plain disc and with Joliet's names; a path is one to copy from.

    Raises: `HostUnfit` when no program for it is installed.
    """
    program = next((name for name in PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise HostUnfit(f"none of {', '.join(PROGRAMS)} is installed", hint="install the package `xorriso`")
    async with off_loop_with(lambda: tempfile.TemporaryDirectory(dir=image.parent, prefix=".iso-")) as folder:
        await off_loop(_write, Path(folder), contents)
        options = ["-quiet", "-volid", label, "-joliet", "-rock"]
        if any(isinstance(content, Path) for content in contents.values()):
            options += ["-iso-level", "3"]  # one may be larger than 4 GiB
        arguments = [program, *options, "-output", str(image.absolute()), str(Path(folder).absolute())]
        await off_loop(image.touch, 0o600)  # a first configuration has secrets
        await confined_program.run(arguments, Reach((Path(folder),), (image,)), timeout_seconds=timeout_seconds)


def _write(folder: Path, contents: Mapping[str, DiscFile]) -> None:
    for name, content in contents.items():
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
