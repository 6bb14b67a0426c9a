"""The Packer program: found on PATH, never bundled."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.host import command

OLDEST = (1, 6, 6)
HOW_TO_GET = (
    "Debian 12 and Ubuntu 22.04 have the package `packer`; elsewhere put HashiCorp's `packer` on PATH "
    "(developer.hashicorp.com/packer/install)"
)


@dataclass(frozen=True)
class PackerProgram:
    """Packer's file and version."""

    path: Path
    version: str


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The version in what `packer version` prints; pure."""
    found = re.search(r"Packer v(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


async def find_packer() -> PackerProgram:
    """The Packer on PATH. Raises: `HostUnfit` when there is none, or it is older than 1.6.6."""
    found = shutil.which("packer")
    if found is None:
        raise HostUnfit("Packer is not installed", hint=HOW_TO_GET)
    environment = {"CHECKPOINT_DISABLE": "1", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    completed = await command.run([found, "version"], timeout_seconds=30, environment=environment, check=False)
    version = parse_version(completed.text)
    if version is None:
        raise HostUnfit(f"{found} is not HashiCorp's Packer", hint=HOW_TO_GET)
    shown = ".".join(str(part) for part in version)
    if version < OLDEST:
        raise HostUnfit(f"Packer {shown} is too old", hint=f"1.6.6 or newer is needed. {HOW_TO_GET}")
    return PackerProgram(Path(found).resolve(), shown)
