"""What build VMs go on from, made for a platform image before a build needs it.

Beside a build the same is made in that build's room, whose VM starts behind it. Here it has room of its own.

*Leaves behind:* the image and what was saved, in the cache. *Undone by:* `saved_vm.make_room`. *Safe to repeat:* yes.
"""

from collections.abc import Callable
from pathlib import Path

from vmkiln.errors import HostUnfit
from vmkiln.fetching.guest_way_out import guest_way_out_of
from vmkiln.host.network import host_watch
from vmkiln.run.building import resolve_source
from vmkiln.run.customizing import VM_NAME
from vmkiln.run.room import QEMU_MIB, Room
from vmkiln.run.run_context import BuildHost
from vmkiln.run.starts import beside_runs
from vmkiln.run.starts.build_vm_start import base_of, why_all_cold
from vmkiln.run.vm_shape import decide_shape
from vmkiln.staging import virtual_network
from vmkiln.template.source import PlatformImageSource
from vmkiln.template.vm_profile import VmProfile
from vmkiln.waiting.off_loop import off_loop, off_loop_with
from vmkiln.warm.saved_base import SPARE_MIB, Base, BaseStart, obtain_saved_base


async def warmed(
    host: BuildHost,
    image: PlatformImageSource,
    *,
    vm_size: str,
    os_disk_size_gb: int,
    progress: Callable[[str], None],
) -> tuple[Base, BaseStart]:
    """What a build VM of this image, size and disk goes on from, or why it is booted; made if it is not there.

    Raises: `HostUnfit` where every build VM of it is booted, whatever was saved; `TemplateInvalid` for a size that it
    cannot have, `ImageNotFound`, `DownloadFailed`.
    """
    settings = host.settings
    way_out = await off_loop(guest_way_out_of, settings)
    _check(why_all_cold(settings, "Linux", way_out))  # before anything is fetched
    source = await resolve_source(host, image, Path(), progress=progress)
    _check(why_all_cold(settings, source.os_type, way_out))
    shape = decide_shape(
        VmProfile(vm_size=vm_size, os_disk_size_gb=os_disk_size_gb),
        generation=source.generation,
        architecture=source.architecture,
        source_bytes=source.virtual_size_bytes,
        host_cpus=host.cpus,
        host_memory_mib=host.memory_mib,
        reserved_mib=settings.reserved_memory_mib,
    )
    network = virtual_network.decide(await host_watch.host_addresses(), is_windows=False)
    base = base_of(host, source, shape, network, name=VM_NAME)
    room = Room(base.cpus, base.memory_mib + QEMU_MIB, base.memory_mib + SPARE_MIB)
    start = await obtain_saved_base(
        settings.saved_vms,
        base,
        may_make=True,
        most_mib=settings.most_saved_vms_mib,
        progress=progress,
        room=lambda: off_loop_with(
            lambda: beside_runs.taken(settings, host.store, room, f"saving a booted {image.sku}")
        ),
    )
    return base, start


def _check(reason: str) -> None:
    if reason:
        raise HostUnfit(f"each build VM of it is booted here: {reason}", hint="nothing was saved")
