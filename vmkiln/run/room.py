"""Room for runs: what a run needs of a host, as far as it can be said before it starts."""

from dataclasses import dataclass

from vmkiln.platform_images.platform_image import whole_catalogue
from vmkiln.run.vm_shape import wanted_memory_mib
from vmkiln.settings import Settings
from vmkiln.staging import container_group
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow, RunRow
from vmkiln.store.run_facts import NeedFact
from vmkiln.template.distribute_target import VhdTarget
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import (
    IsoSource,
    ManagedImageSource,
    OsType,
    PlatformImageSource,
    SharedImageVersionSource,
    Source,
)
from vmkiln.template.vm_size import build_vm_size


@dataclass(frozen=True)
class Room:
    """CPUs, memory (MiB) and disk (MiB): what a host has, or what a run needs of it."""

    cpus: int
    memory_mib: int
    disk_mib: int

    def __add__(self, other: "Room") -> "Room":
        return Room(self.cpus + other.cpus, self.memory_mib + other.memory_mib, self.disk_mib + other.disk_mib)

    def __sub__(self, other: "Room") -> "Room":
        return Room(self.cpus - other.cpus, self.memory_mib - other.memory_mib, self.disk_mib - other.disk_mib)

    def capped(self, most: "Room") -> "Room":
        """The same need on a host that has no more than `most`.

        The build VM is made smaller there; what its disks may grow to has the host for itself.
        """
        least_disk = min(self.disk_mib, RUN_DISK_MIB)  # less than that, and it does not begin
        disk = max(least_disk, min(self.disk_mib, most.disk_mib))
        return Room(min(self.cpus, most.cpus), min(self.memory_mib, most.memory_mib), disk)

    def missing(self, free: "Room") -> str:
        """What is missing in `free`, in words; '' when nothing is."""
        lacks = []
        if self.cpus > free.cpus:
            lacks.append(f"{self.cpus} CPUs ({max(0, free.cpus)} free)")
        if self.memory_mib > free.memory_mib:
            lacks.append(f"{self.memory_mib} MiB of memory ({max(0, free.memory_mib)} free)")
        if self.disk_mib > free.disk_mib:
            lacks.append(f"{self.disk_mib} MiB of disk ({max(0, free.disk_mib)} free)")
        return " and ".join(lacks)


NOTHING = Room(0, 0, 0)


CONTAINER_GROUP_CPUS = 1


QEMU_MIB = 128  # what a QEMU needs beside its guest's memory, measured


GIB_MIB = 1024


RUN_DISK_MIB = 4096  # overlays and the flattened image of a small build


OTHER_GENERATION = 2  # its default VM size is the larger one


UNKNOWN = Room(2, 4096, RUN_DISK_MIB)


@dataclass(frozen=True)
class Asked:
    """What of a template says how much room its runs need, and where they start from; nothing of it is a secret.

    `source` is none for an installation disc, whose address may hold one. `copies` is how often the image is written.
    """

    source: Source | None
    vm_size: str
    is_windows: bool
    os_disk_gb: int
    data_disks_gb: int
    copies: int


def asked_by(template: ImageTemplate) -> Asked:
    """What a template asks for; pure."""
    properties = template.properties
    return Asked(
        source=None if isinstance(properties.source, IsoSource) else properties.source,
        vm_size=properties.vm_profile.vm_size,
        is_windows=template.os_type is OsType.WINDOWS,
        os_disk_gb=properties.vm_profile.os_disk_size_gb,
        data_disks_gb=sum(disk.size_gb for disk in properties.additional_data_disks),
        copies=1 + sum(isinstance(target, VhdTarget) for target in properties.distribute),
    )


def need_of(settings: Settings, store: Store, template: ImageTemplate) -> Room:
    """What a template's run needs: the build VM of its vmSize and the container group beside it."""
    return room_for(settings, store, asked_by(template))


def room_for(settings: Settings, store: Store, asked: Asked) -> Room:
    """What a run needs whose template asks for this, by the images and the catalogue that there are now."""
    image = _source_image(store, asked.source)
    size = build_vm_size(asked.vm_size, hyper_v_generation=_generation(settings, asked.source, image))
    memory = wanted_memory_mib(size, is_windows=asked.is_windows)
    memory_mib = memory + container_group.MEMORY_MIB + 2 * QEMU_MIB
    return Room(size.cpu_count + CONTAINER_GROUP_CPUS, memory_mib, _disk_mib(asked, image))


def _disk_mib(asked: Asked, image: ImageRow | None) -> int:
    """What a run's disks may grow to, and what is made of them: flattened once, and written whole for each VHD.

    The size of a platform image is not known before it is there; then it is what a small build takes.
    """
    source_bytes = 0 if image is None else image.virtual_size_bytes
    disk_mib = asked.os_disk_gb * GIB_MIB or source_bytes // 1024**2
    disk_mib += asked.data_disks_gb * GIB_MIB
    return max(RUN_DISK_MIB, disk_mib * (1 + asked.copies))


def _source_image(store: Store, source: Source | None) -> ImageRow | None:
    match source:
        case ManagedImageSource(image_id=image_id):
            return store.images.find(image_id)
        case SharedImageVersionSource(image_version_id=version_id):
            return store.images.find(version_id)
    return None


def _generation(settings: Settings, source: Source | None, image: ImageRow | None) -> int:
    match source:
        case PlatformImageSource(publisher=publisher, offer=offer, sku=sku):
            entry = whole_catalogue(settings).entries.get((publisher.lower(), offer.lower(), sku.lower()))
            return entry.generation if entry else OTHER_GENERATION
    return image.generation if image else OTHER_GENERATION


def need_fact(need: Room) -> NeedFact:
    """A need as it is recorded with its run."""
    return NeedFact(cpus=need.cpus, memory_mib=need.memory_mib, disk_mib=need.disk_mib)


def promised_to(run: RunRow) -> Room:
    """What a run that goes on was promised."""
    known = run.facts.get("need")
    return Room(**known) if known else UNKNOWN
