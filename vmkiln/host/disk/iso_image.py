"""A small ISO 9660 image made from texts and small files, for handing a guest its first configuration."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.waiting.off_loop import off_loop, off_loop_with

PROGRAMS = ("xorrisofs", "genisoimage", "mkisofs")


async def make_iso(image: Path, contents: Mapping[str, str | bytes], *, label: str) -> None:
    """Write `image` holding the named files, as a plain disc and with Joliet's names.

    Raises: `HostUnfit` when no program for it is installed.
    """
    program = next((name for name in PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise HostUnfit(f"none of {', '.join(PROGRAMS)} is installed", hint="install the package `xorriso`")
    async with off_loop_with(lambda: tempfile.TemporaryDirectory(dir=image.parent, prefix=".iso-")) as folder:
        await off_loop(_write, Path(folder), contents)
        options = ["-quiet", "-volid", label, "-joliet", "-rock"]
        arguments = [program, *options, "-output", str(image.absolute()), str(Path(folder).absolute())]
        await off_loop(image.touch, 0o600)  # a first configuration has secrets
        await confined_program.run(arguments, Reach((Path(folder),), (image,)), timeout_seconds=30)


def _write(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
