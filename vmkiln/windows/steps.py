"""A Windows template's steps: what each does in the VM, before anything says how Packer does it.

A script or a file that was copied from its address comes with its size and SHA-256: what is large travels on a disc,
and the VM compares what it has taken from there.
Source: docs/reference/image-template.md#customizers; docs/windows.md.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vmkiln.template.customizers.file import FileCustomizer
from vmkiln.template.customizers.powershell import PowerShellCustomizer
from vmkiln.template.customizers.windows_restart import WindowsRestartCustomizer, duration_seconds
from vmkiln.template.customizers.windows_update import WindowsUpdateCustomizer

MOST_ROUNDS = 12
ROUND_RESTART_SECONDS = 4 * 3600  # updates are configured while the VM restarts


class Rights(StrEnum):
    """As whom a script runs: as the build's administrator over the network, elevated in a task, or as SYSTEM in one."""

    PLAIN = "plain"
    ELEVATED = "elevated"
    SYSTEM = "system"


@dataclass(frozen=True)
class Copied:
    """A file that was copied from its address: where, how large, and its SHA-256 in hexadecimal."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class PowerShell:
    """A script, given by its lines or by its copy; an exit code outside `valid_exit_codes` fails the build."""

    name: str
    path: str
    script: tuple[str, ...] | Copied
    rights: Rights = Rights.PLAIN
    valid_exit_codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class WindowsFile:
    """A file that goes to `destination` in the VM, whose folder is made."""

    name: str
    path: str
    source: Copied
    destination: str


@dataclass(frozen=True)
class Restart:
    """A restart of the VM by `command`; the way it always is when that is empty.

    `check` is run when the VM is back, and its exit code says nothing. The VM has `timeout_seconds` to come back.
    """

    name: str
    path: str
    command: str
    check: str
    timeout_seconds: int


@dataclass(frozen=True)
class Update:
    """Updates that `criteria` finds and `filters` let through, at most `limit` a round, in at most `rounds` rounds."""

    name: str
    path: str
    criteria: str
    filters: tuple[str, ...]
    limit: int
    rounds: int = MOST_ROUNDS


@dataclass(frozen=True)
class WindowsDeprovision:
    """The hidden last step: what lies in `C:\\DeprovisioningScript.ps1` by then, and the end of what is ours."""

    name: str = "deprovision"
    path: str = ""


WindowsStep = PowerShell | WindowsFile | Restart | Update | WindowsDeprovision
WindowsCustomizer = PowerShellCustomizer | FileCustomizer | WindowsRestartCustomizer | WindowsUpdateCustomizer


def windows_step(customizer: WindowsCustomizer, name: str, path: str, copies: Mapping[str, Copied]) -> WindowsStep:
    """The step of a customizer or validation; `copies` has each copied file by its address's place; pure."""
    match customizer:
        case PowerShellCustomizer():
            script = copies[f"{path}.scriptUri"] if customizer.script_uri else customizer.inline
            return PowerShell(name, path, script, _rights(customizer), customizer.valid_exit_codes)
        case FileCustomizer():
            return WindowsFile(name, path, copies[f"{path}.sourceUri"], customizer.destination)
        case WindowsRestartCustomizer():
            command = "" if "restart_command" not in customizer.model_fields_set else customizer.restart_command
            seconds = round(duration_seconds(customizer.restart_timeout) or 0)
            return Restart(name, path, command, customizer.restart_check_command, max(1, seconds))
        case WindowsUpdateCustomizer():
            return Update(name, path, customizer.search_criteria, customizer.filters, customizer.update_limit)


def copied(path: Path) -> Copied:
    """What is to be known of a copied file; reads it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Copied(path, path.stat().st_size, digest)


def _rights(customizer: PowerShellCustomizer) -> Rights:
    if not customizer.run_elevated:
        return Rights.PLAIN
    return Rights.SYSTEM if customizer.run_as_system else Rights.ELEVATED
