"""The Packer program: found on PATH, never bundled."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import CommandFailed, HostUnfit
from vmkiln.host import command
from vmkiln.host.doctor.packer_version import VERSION_SECONDS, obstacle, parse_version, shown

HOW_TO_GET = (
    "`script/bootstrap` installs the distribution's package, or fetches HashiCorp's release; "
    "`script/bootstrap --packer PATH` takes yours"
)


@dataclass(frozen=True)
class PackerProgram:
    """Packer's file and version."""

    path: Path
    version: str


async def find_packer() -> PackerProgram:
    """The Packer on PATH.

    Raises: `HostUnfit` when there is none, when another program has its name, or when builds cannot use its version.
    """
    found = shutil.which("packer")
    if found is None:
        raise HostUnfit("Packer is not installed", hint=HOW_TO_GET)
    environment = {"CHECKPOINT_DISABLE": "1", "PATH": os.defpath, "HOME": "/nonexistent"}
    try:
        completed = await command.run(
            [found, "version"], timeout_seconds=VERSION_SECONDS, environment=environment, check=False
        )
    except CommandFailed as error:
        raise HostUnfit(
            f"{found} is not HashiCorp's Packer: `packer version` did not end within {VERSION_SECONDS} s",
            hint=HOW_TO_GET,
        ) from error
    version = parse_version(completed.text)
    if version is None:
        raise HostUnfit(f"{found} is not HashiCorp's Packer", hint=HOW_TO_GET)
    if reason := obstacle(version):
        raise HostUnfit(f"Packer {shown(version)} ({found}) {reason}", hint=HOW_TO_GET)
    return PackerProgram(Path(found).resolve(), shown(version))
