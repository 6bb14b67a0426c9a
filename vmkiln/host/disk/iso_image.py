"""A small ISO 9660 image made from texts, for handing a guest its first configuration."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host import command

PROGRAMS = ("xorrisofs", "genisoimage", "mkisofs")


async def make_iso(image: Path, contents: Mapping[str, str], *, label: str) -> None:
    """Write `image` holding the named texts. Raises: `HostUnfit` when no program for it is installed."""
    program = next((name for name in PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise HostUnfit(f"none of {', '.join(PROGRAMS)} is installed", hint="install the package `xorriso`")
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".iso-") as folder:
        for name, text in contents.items():
            (Path(folder) / name).write_text(text)
        arguments: list[str | Path] = [program, "-quiet", "-output", image, "-volid", label, "-joliet", "-rock", folder]
        await command.run(arguments, timeout_seconds=30)
