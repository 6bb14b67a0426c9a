"""What the build VM of a run begins from: one that was booted once and saved, or nothing; and what to do when it fails.

*Leaves behind:* the build VM's overlay, in the run's folder. *Undone by:* the deletion of the run's folder.
*Safe to repeat:* yes.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.buildable.start_tags import COLD_TAG
from vmkiln.errors import StorageFull, VmkilnError
from vmkiln.fetching.guest_way_out import STRAIGHT_OUT, GuestWayOut
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.qemu import SavedVm, accelerator_for
from vmkiln.host.saved import saved_vm
from vmkiln.run.run_context import BuildHost, ResolvedSource, Staged
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run.vm_shape import VmShape
from vmkiln.run_state import PartKind, Start
from vmkiln.setting_texts.release_policy import Demand
from vmkiln.settings import Settings
from vmkiln.staging.topology import Topology
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import PlatformImageSource
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm import saved_base
from vmkiln.warm.saved_base import Base, BaseStart


def wants_cold(tags: Mapping[str, str]) -> bool:
    """Whether a tag of the template has its VMs booted; pure."""
    return any(name.lower() == COLD_TAG and value.strip().lower() == "true" for name, value in tags.items())


def why_cold(staged: Staged) -> str:
    """Why the build VM of a run has to be booted, whatever was saved; '' when it has not; pure."""
    return why_booted(
        staged.host.settings,
        staged.request.template,
        os_type=staged.source.os_type,
        way_out=staged.way_out,
        topology=staged.network.topology,
        has_data_disks=bool(staged.source.data_disks),
    )


def why_booted(
    settings: Settings,
    template: ImageTemplate,
    *,
    os_type: str,
    way_out: GuestWayOut,
    topology: Topology,
    has_data_disks: bool = False,
) -> str:
    """The same, for a template and what is known of its source, of which a plan does not know the data disks; pure."""
    if reason := why_all_cold(settings, os_type, way_out):
        return reason
    if wants_cold(template.tags):
        return f"the tag `{COLD_TAG}` asks for it"
    if topology is not Topology.OWN:
        return "it stands in a network of the user's"
    if has_data_disks or template.properties.additional_data_disks:
        return "it has data disks"
    return ""


def why_all_cold(settings: Settings, os_type: str, way_out: GuestWayOut) -> str:
    """Why every build VM of this system has to be booted on this host; '' when it has not; pure."""
    if not settings.warm_starts:
        return "warm starts are off"
    if Demand.COLD in settings.demands:
        return "the release policy demands it"
    if os_type != "Linux":
        return "only a Linux VM can be made another machine"
    if way_out != STRAIGHT_OUT:
        return "its way out is set up while it boots"
    return ""


async def start_of(staged: Staged, name: str) -> BaseStart:
    """What the build VM goes on from; of a platform image it is made, if it is not there. It never fails for it."""
    if reason := why_cold(staged):
        return BaseStart(reason=reason)
    settings = staged.host.settings

    def progress(text: str) -> None:
        staged.tell(Notice(text))
        staged.tell(PartStarted(PartKind.BOOT, "source"))

    return await saved_base.obtain_saved_base(
        settings.saved_vms,
        base_of(staged.host, staged.source, staged.shape, staged.network, name=name),
        may_make=isinstance(staged.request.template.properties.source, PlatformImageSource),
        most_mib=settings.most_saved_vms_mib,
        progress=progress,
    )


def base_of(host: BuildHost, source: ResolvedSource, shape: VmShape, network: VirtualNetwork, *, name: str) -> Base:
    """The VM of a run, as far as it is the same for every run of its source and shape."""
    architecture = source.architecture
    is_bios = source.generation == 1 and architecture is Architecture.X64
    firmware = host.firmware if architecture is Architecture.X64 else find_firmware(architecture=architecture)
    return Base(
        name=name,
        source=source.disks.os,
        digest=source.digest,
        disk_bytes=shape.disk_bytes,
        cpus=shape.cpus,
        memory_mib=shape.memory_mib,
        accelerator=accelerator_for(architecture, host.accelerator),
        network=network,
        firmware=None if is_bios else firmware,
        architecture=architecture,
    )


async def copied_disk(staged: Staged, base: BaseStart, own: Path) -> BaseStart:
    """Copy what the saved VM had written; when that is not what was saved, it is thrown away, and the VM is booted.

    Where there is no room for the copy, the VM is booted, too, and what was saved stays: the next may have room.
    """
    if base.saved is None:
        return base
    try:
        await off_loop(saved_vm.copy_disk, base.saved, own)
    except StorageFull as error:
        return BaseStart(reason=f"{error.message}; what was saved stays for later builds")
    except VmkilnError as error:
        await thrown_away(staged, base.saved, str(error))
        return BaseStart(reason=str(error))
    return base


def sentence(name: str, base: BaseStart) -> str:
    """What the log says of the start."""
    if base.saved is None:
        return f"the {name} is booted: {base.reason}"
    key = base.saved.memory.parent.name
    try:
        age = max(0, time.time() - base.saved.memory.stat().st_mtime)
    except OSError:  # deleted meanwhile, to make room for another; the start finds that out
        return f"the {name} goes on from one that was booted and saved before ({key[:16]})"
    return f"the {name} goes on from one that was booted and saved {round(age / 60)} minutes ago ({key[:16]})"


def tell_start(staged: Staged, name: str, base: BaseStart) -> str:
    """Tell the user, and the timeline; gives the sentence."""
    text = sentence(name, base)
    staged.tell(Notice(text))
    staged.tell(PartStarted(PartKind.BOOT, name, Start.COLD if base.saved is None else Start.WARM))
    return text


async def thrown_away(staged: Staged, saved: SavedVm, reason: str) -> None:
    """Delete what was saved and is of no use (`saved_base.thrown_away`)."""
    await saved_base.thrown_away(staged.host.settings.saved_vms, saved, reason)
