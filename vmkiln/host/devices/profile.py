"""Which devices a VM has: those that cost least, or those that Windows has drivers for as it comes; pure.

Windows finds its disk on AHCI, or on IDE where a BIOS starts it, and its network on an Intel card, without a driver
that somebody has put in. It gets no device that it would list as unknown: what it lists goes into the image. Its clock
and its interrupts are told how by Hyper-V's interface, which KVM alone has.
Source: docs/system/i386/hyperv.rst in QEMU; Windows Server's list of drivers that come with it.
"""

from dataclasses import dataclass
from enum import StrEnum

PORTS = 6  # of an AHCI controller
IDE_PORTS = 4
HYPER_V = (
    "hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-vpindex,hv-runtime,hv-synic,hv-time,hv-stimer,hv-frequencies,"
    "hv-tlbflush,hv-ipi,hv-reset,hv-crash"
)
# Windows gives a file's clusters back to the disk by this; without it the command ends with 0x80070001
DISCARD_BYTES = 512  # QEMU takes no other on this bus
LEAST_WINDOWS_MEMORY_MIB = 4096
PICTURE_SECONDS = 60  # between two pictures of the screen, the only look into set-up


class DiskBus(StrEnum):
    """What disks are on; discs are on AHCI or IDE in any case but the first's."""

    VIRTIO = "virtio"
    AHCI = "ahci"
    IDE = "ide"


@dataclass(frozen=True)
class Profile:
    """A set of devices. `board` is QEMU's machine with its options, and `cpu_options` go behind its CPU under KVM.

    '' leaves the architecture's own board.
    """

    board: str = ""
    cpu_options: str = ""
    disk_bus: DiskBus = DiskBus.VIRTIO
    is_disc_a_disc: bool = False
    network_device: str = "virtio-net-pci"
    has_panic_device: bool = True
    has_random_device: bool = True
    has_screen: bool = False


LEAN = Profile()


def windows(*, starts_by_uefi: bool, has_virtio_disk: bool = False, has_virtio_network: bool = False) -> Profile:
    """The devices of a Windows VM, for an image that has drivers of virtio's, or not."""
    own_bus = DiskBus.AHCI if starts_by_uefi else DiskBus.IDE
    return Profile(
        board=(
            "q35,vmport=off,smm=off,usb=off,i8042=off,hpet=off" if starts_by_uefi else "pc,vmport=off,usb=off,hpet=off"
        ),
        cpu_options=HYPER_V,
        disk_bus=DiskBus.VIRTIO if has_virtio_disk else own_bus,
        is_disc_a_disc=True,
        network_device="virtio-net-pci" if has_virtio_network else "e1000e",
        has_panic_device=False,
        has_random_device=False,
        has_screen=True,
    )


@dataclass(frozen=True)
class Slot:
    """Where a disk is plugged in: its bus as QEMU names it, and its unit where a bus has two."""

    bus: str
    unit: str = ""

    @property
    def option(self) -> str:
        """As it stands in a device's options."""
        return f"bus={self.bus}" + (f",unit={self.unit}" if self.unit else "")


def slot(number: int, *, is_ide: bool) -> Slot:
    """The place of the `number`th disk that is no virtio disk: on the board's own controller, then on others."""
    own = IDE_PORTS if is_ide else PORTS
    if number < own:
        return Slot(f"ide.{number // 2}", str(number % 2)) if is_ide else Slot(f"ide.{number}")
    return Slot(f"ahci{(number - own) // PORTS}.{(number - own) % PORTS}")


def controllers(count: int, *, is_ide: bool) -> list[str]:
    """The controllers beside the board's own for so many disks."""
    beyond = count - (IDE_PORTS if is_ide else PORTS)
    return [f"ich9-ahci,id=ahci{number}" for number in range(max(0, -(-beyond // PORTS)))]


def picture_command(file: str) -> dict[str, object]:
    """QMP's command for a picture of the screen (PPM); `file` is the name of a set of descriptors (/dev/fdset/N)."""
    return {"execute": "screendump", "arguments": {"filename": file}}
