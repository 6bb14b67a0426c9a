"""What a phase of Packer's work needs to know of its VM's operating system, and no more of it.

Linux and Windows are each described in a module of their own; who carries a phase out asks neither which it is.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import HostUnfit
from vmkiln.host.disk.firmware import PACKAGES, find_firmware
from vmkiln.host.disk.iso_image import DISC_SECONDS, DiscFile
from vmkiln.host.qemu import Firmware
from vmkiln.packer.packer_template import PackerInput
from vmkiln.run.guest.guest_report import GuestReport
from vmkiln.run.guest.order import PackerPhase
from vmkiln.run.login_wait import LOGIN_SECONDS, SSH_QUESTION
from vmkiln.run.run_context import Staged
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask
from vmkiln.staging.build_vm import BuildVm

LATER_SECONDS = 60  # between who gives up first, for what it can tell, and who does after that


@dataclass(frozen=True)
class Disc:
    """A read-only disc of the VM, still to be made: where, its label, its files by their names on it."""

    path: Path
    label: str
    files: Mapping[str, DiscFile]
    timeout_seconds: float = DISC_SECONDS


@dataclass(frozen=True)
class Guest:
    """What Packer's container instance gets, what the VM is made of, how long its set-up, restarts and end may take.

    `discs` are made before the VM is. `private_key` opens a Linux VM. `mask` hides the login's secrets. `question` is
    what a user is asked when Packer could not log in to what customizers have changed; `notice` stands in each log.
    `report` reads the VM's second serial port, where it has one; without its finish line no power-off is a success.
    Times in seconds.
    """

    content: PackerInput
    vm: BuildVm
    discs: tuple[Disc, ...]
    private_key: str = field(default="", repr=False)
    mask: SecretMask = NO_SECRETS
    login_seconds: float = LOGIN_SECONDS
    restart_seconds: float = LOGIN_SECONDS
    power_off_seconds: float | None = None
    question: str = SSH_QUESTION
    notice: str = ""
    report: GuestReport | None = None


def vm_of(staged: Staged, order: PackerPhase, seed: Path) -> BuildVm:
    """The VM of a phase as its template and source have it, whatever its system. Raises: as `firmware_of`."""
    return BuildVm(
        name=order.vm_name,
        cpus=staged.shape.cpus,
        memory_mib=staged.shape.memory_mib,
        disk=replace(order.disks.os, is_boot=True),
        data_disks=order.disks.data,
        seed=seed,
        accelerator=staged.host.accelerator,
        firmware=firmware_of(staged, order.vm_name),
        architecture=staged.source.architecture,
    )


def firmware_of(staged: Staged, vm_name: str) -> Firmware | None:
    """UEFI with variables of the VM's own for generation 2 and Arm64; none for generation 1. Raises: `HostUnfit`.

    *Leaves behind:* the variables' file in the run's folder. *Undone by:* the deletion of that folder.
    *Safe to repeat:* yes, it begins with what the firmware brings along.
    """
    architecture = staged.source.architecture
    if staged.source.generation == 1 and architecture is Architecture.X64:
        return None
    files = staged.host.firmware if architecture is Architecture.X64 else find_firmware(architecture=architecture)
    if files is None:
        raise HostUnfit(
            f"an {architecture} image of generation {staged.source.generation} needs UEFI firmware",
            hint=f"install the package `{PACKAGES[architecture]}`",
        )
    variables = staged.directory / f"{vm_name}-variables.fd"
    shutil.copyfile(files.variables, variables)
    variables.chmod(0o600)
    return Firmware(files.code, variables)
