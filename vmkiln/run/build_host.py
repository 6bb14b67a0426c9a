"""What a run needs from the machine it runs on; made once by the service and handed down."""

from dataclasses import dataclass

from vmkiln.host.firmware import FirmwareFiles
from vmkiln.host.qemu import Accelerator
from vmkiln.images.container_image import ContainerImage
from vmkiln.settings import Settings
from vmkiln.store.database import Store


@dataclass(frozen=True)
class BuildHost:
    """This machine: its state, its accelerator with the reason, its CPUs and memory (MiB), its UEFI firmware."""

    settings: Settings
    store: Store
    accelerator: Accelerator
    accelerator_reason: str
    container_image: ContainerImage
    cpus: int
    memory_mib: int
    firmware: FirmwareFiles | None

    @property
    def isolation_level(self) -> str:
        """`hardware` when KVM runs the guests, else `emulated`; never claimed better than it is."""
        return "hardware" if self.accelerator is Accelerator.KVM else "emulated"
