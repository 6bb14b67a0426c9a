"""What every phase of one run shares, handed from the workflow to each phase."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vmkiln.arm_template.parameters.deployment_parameters import ParameterUsed
from vmkiln.azure_names import Architecture
from vmkiln.buildable.known_source import KnownSource
from vmkiln.fetching.guest_way_out import STRAIGHT_OUT, GuestWayOut
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.egress.egress_policy import OPEN_EGRESS, EgressPolicy
from vmkiln.host.namespace import Namespace
from vmkiln.host.network.network_namespace import Allowance
from vmkiln.host.network.refused_names import RefusedNames
from vmkiln.host.qemu import Accelerator, Disk, SavedVm
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.data_disk import DataDisk
from vmkiln.run.run_event import RunEvent
from vmkiln.run.vm_shape import VmShape
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.staging.user_network import UserVirtualNetwork
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow
from vmkiln.store.run_facts import BuiltOfFact, SourceFacts
from vmkiln.template.image_template import ImageTemplate
from vmkiln.waiting.off_loop import until_cancelled

Tell = Callable[[RunEvent], None]
BUILD_VM = "build-vm"  # the name of the VM that is customized, and what its files begin with


@dataclass(frozen=True)
class ResolvedSource:
    """A verified disk image and what is known of it. `virtual_size_bytes` is what a guest sees.

    The files of its data disks lie beside `path`. `language` is that of a Windows that was looked at, as `de-DE`.
    """

    path: Path
    format: str
    digest: str
    exact_version: str
    generation: int
    os_type: str
    virtual_size_bytes: int
    origin: str
    architecture: Architecture = Architecture.X64
    data_disks: tuple[DataDisk, ...] = ()
    language: str = ""

    @property
    def disks(self) -> "Disks":
        """Its disks, which no VM may write to."""
        data = {disk.lun: Disk(disk.beside(self.path), "qcow2", read_only=True) for disk in self.data_disks}
        return Disks(Disk(self.path, self.format, read_only=True), data)

    @property
    def as_known(self) -> KnownSource:
        """What is known of it, for the checks of what does not go with it."""
        return KnownSource(
            self.exact_version,
            self.generation,
            self.os_type,
            self.virtual_size_bytes,
            self.architecture,
            data_disk_count=len(self.data_disks),
        )

    @property
    def facts(self) -> SourceFacts:
        """What the run records of its source."""
        return {
            "source_exact_version": self.exact_version,
            "source_digest": self.digest,
            "source_origin": self.origin,
            "generation": self.generation,
            "os_type": self.os_type,
        }


@dataclass(frozen=True)
class Disks:
    """The disks of a VM or of an image: the OS disk, and the data disks by their logical unit numbers."""

    os: Disk
    data: Mapping[int, Disk] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Disk, ...]:
        """The OS disk, and the data disks in the order of their numbers."""
        return (self.os, *(disk for _, disk in sorted(self.data.items())))


@dataclass(frozen=True)
class BuildHost:
    """This machine: its state, its accelerator with the reason, its CPUs and memory (MiB), its UEFI firmware.

    `emulation_notice` is what each run tells first when it is emulated though KVM's device is there.

    `saved_group` is what a container group of the usual memory goes on from; without it, it is booted.

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
    emulation_notice: str = ""
    saved_group: SavedVm | None = None

    @property
    def isolation_level(self) -> str:
        """`hardware` when KVM runs the guests, else `emulated`; never claimed better than it is."""
        return "hardware" if self.accelerator is Accelerator.KVM else "emulated"

    async def local_copy(self, image: ImageRow) -> ImageRow:
        """A recorded image with its file on this machine. Raises: as `SharedImages.fetch`."""
        return image if self.shared is None else await until_cancelled(self.shared.images.fetch, image)


@dataclass(frozen=True)
class Submission:
    """What was made when an image template was submitted: its staging resource group, and the scripts' copies."""

    group: StagingResourceGroup
    copies: Mapping[str, Path]


@dataclass(frozen=True)
class RunRequest:
    """What was asked for: the template with its name and resource group, and what the command line allows.

    `egress` is what the command asks for; the operator's setting and the template's tags can take away from it.
    A template that the service keeps has an id, and what its submission made.
    `virtual_networks` are those of the user that the template may name, by their id in lower case.
    `attempt` counts how often the run was begun; it is read once, when an attempt begins.
    `is_stopping` says whether the service ends, so that an interrupted run starts anew with the next one.
    `incarnation` is the host that the run was given to; it writes only while it has it. '' for one of the command line.
    `may_be_put_back` says that a fault of the host ends the attempt only: the run waits for another one.
    `asked_for` is since when it waited, where that is known already (UTC).
    `mask` takes secrets out of whatever is told, logged or kept.
    `resumes` says that a user goes on with a run whose command was killed.
    `parameters` are those that the template was given, or took from its defaults; of a service's template none is kept.
    `held_seconds` is how long the build VM is held when a customizer fails, for its user to enter it; 0: not at all.
    `may_hold_running` is whether one that cannot be put on disk may go on running meanwhile, and its process with it.
    `uses_checkpoints` is whether it may begin behind what an earlier run left, and how old that may be.
    `retry_of` is the id of the run that it repeats. `built_of` is what a command was asked to build, and `begun_by` the
    name of the user who did.
    """

    run_id: str
    template_name: str
    resource_group: str
    template: ImageTemplate
    resolved: Mapping[str, object]
    local_files: LocalFiles
    allowances: tuple[Allowance, ...] = ()
    egress: EgressPolicy = OPEN_EGRESS
    mask: SecretMask = NO_SECRETS
    template_id: str = ""
    attempt: int = 1
    submission: Submission | None = None
    virtual_networks: Mapping[str, UserVirtualNetwork] = field(default_factory=dict)
    is_stopping: Callable[[], bool] = lambda: False
    incarnation: str = ""
    may_be_put_back: bool = False
    resumes: bool = False
    parameters: tuple[ParameterUsed, ...] = ()
    held_seconds: int = 0
    may_hold_running: bool = False
    uses_checkpoints: bool = True
    most_checkpoint_age_seconds: float = 86_400
    asked_for: datetime | None = None
    retry_of: str = ""
    built_of: BuiltOfFact | None = None
    begun_by: str = ""


@dataclass(frozen=True)
class Staged:
    """What the Building phase made ready: everything both Packer phases need."""

    host: BuildHost
    request: RunRequest
    group: StagingResourceGroup
    directory: Path
    source: ResolvedSource
    shape: VmShape
    copies: Mapping[str, Path]
    network: VirtualNetwork
    tell: Tell
    way_out: GuestWayOut = STRAIGHT_OUT


@dataclass(frozen=True)
class Entered:
    """A staged run inside its own namespaces, with its network up; `egress_lost` ends when the way out is lost.

    `refused` knows what its egress policy refused.
    """

    staged: Staged
    namespace: Namespace
    egress_lost: "asyncio.Future[str]"
    refused: RefusedNames = field(default_factory=RefusedNames)
