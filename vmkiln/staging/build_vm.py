"""The build VM, and the validation VM: a VM booted by its own boot loader from an overlay of an image.

*Leaves behind:* its overlay, in the run's folder, for whoever comes next (validation, distribution).
*Undone by:* leaving the block, and the deletion of the run's folder. *Safe to repeat:* with a new overlay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.host.devices.profile import LEAN, Profile
from vmkiln.host.qemu import Accelerator, Channel, Disk, Firmware, Machine, accelerator_for
from vmkiln.host.virtual_machine import INSIDE
from vmkiln.staging.virtual_network import VirtualNetwork


@dataclass(frozen=True)
class BuildVm:
    """What a build VM is made of. `disk` is the overlay with its chain; `seed` the disc of its first
    configuration, `more_discs` are others that it reads.

    The guest finds the data disk of a logical unit number by its serial, `lun0`.
    """

    name: str
    cpus: int
    memory_mib: int
    disk: Disk
    seed: Path
    accelerator: Accelerator
    firmware: Firmware | None
    architecture: Architecture = Architecture.X64
    data_disks: Mapping[int, Disk] = field(default_factory=dict)
    more_discs: tuple[Path, ...] = ()
    profile: Profile = LEAN
    channels: tuple[Channel, ...] = ()


def describe(vm: BuildVm, network: VirtualNetwork) -> Machine:
    """The VM in QEMU's words; pure."""
    subnet = network.build_vm_subnet
    return Machine(
        name=vm.name,
        accelerator=accelerator_for(vm.architecture, vm.accelerator),
        architecture=vm.architecture,
        cpus=vm.cpus,
        memory_mib=vm.memory_mib,
        disks=(
            vm.disk,
            Disk(vm.seed, "raw", read_only=True, is_disc=True),
            *(replace(disk, serial=f"lun{lun}") for lun, disk in sorted(vm.data_disks.items())),
            *(Disk(disc, "raw", read_only=True, is_disc=True) for disc in vm.more_discs),
        ),
        tap=subnet.tap,
        mac=subnet.mac,
        console_socket=INSIDE / f"{vm.name}.console",
        control_socket=INSIDE / f"{vm.name}.qmp",
        boot=vm.firmware,
        profile=vm.profile,
        channels=vm.channels,
    )
