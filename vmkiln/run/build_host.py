"""What a run needs from the machine it runs on; made once by the service and handed down."""

import asyncio
from dataclasses import dataclass

from vmkiln.host.firmware import FirmwareFiles
from vmkiln.host.qemu import Accelerator
from vmkiln.images.container_image import ContainerImage
from vmkiln.run.shared_storage import SharedStorage
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow


@dataclass(frozen=True)
class BuildHost:
    """This machine: its state, its accelerator with the reason, its CPUs and memory (MiB), its UEFI firmware.

    `shared` is what it shares with the other hosts of a fleet; none when there is one host.
    """

    settings: Settings
    store: Store
    accelerator: Accelerator
    accelerator_reason: str
    container_image: ContainerImage
    cpus: int
    memory_mib: int
    firmware: FirmwareFiles | None
    shared: SharedStorage | None = None

    @property
    def isolation_level(self) -> str:
        """`hardware` when KVM runs the guests, else `emulated`; never claimed better than it is."""
        return "hardware" if self.accelerator is Accelerator.KVM else "emulated"

    async def here(self, image: ImageRow) -> ImageRow:
        """A recorded image with its file on this machine. Raises: as `SharedImages.fetch`."""
        return image if self.shared is None else await asyncio.to_thread(self.shared.images.fetch, image)
