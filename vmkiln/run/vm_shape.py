"""How large the build VM is: the template's vmSize and osDiskSizeGB, on this machine; pure."""

from dataclasses import dataclass

from vmkiln.azure_names import Architecture
from vmkiln.buildable.architecture import architecture_problem
from vmkiln.buildable.targets import GIB, size_problems
from vmkiln.errors import TemplateInvalid
from vmkiln.host.devices.profile import LEAST_WINDOWS_MEMORY_MIB
from vmkiln.settings import Settings
from vmkiln.template.vm_profile import VmProfile
from vmkiln.template.vm_size import VmSize, build_vm_size


@dataclass(frozen=True)
class VmShape:
    """The build VM's CPUs, memory (MiB) and disk (bytes), and what had to be cut down."""

    vm_size: str
    cpus: int
    memory_mib: int
    disk_bytes: int
    warnings: tuple[str, ...]


def decide_shape(
    profile: VmProfile,
    *,
    generation: int,
    architecture: Architecture = Architecture.X64,
    source_bytes: int,
    host_cpus: int,
    host_memory_mib: int,
    reserved_mib: int = Settings.reserved_memory_mib,
    is_windows: bool = False,
) -> VmShape:
    """The build VM's shape: Azure's size, capped to the host with a warning; the disk is only ever made larger.

    `reserved_mib` is what the host and the container group need beside it.

    Raises: `TemplateInvalid` when osDiskSizeGB is smaller than the source image
    (docs/reference/image-template.md#vm-profile).
    """
    size = build_vm_size(profile.vm_size, hyper_v_generation=generation, architecture=architecture)
    if wrong := architecture_problem(profile, architecture):
        raise TemplateInvalid([wrong])
    name = size.name
    warnings: list[str] = []
    cpus = min(size.cpu_count, host_cpus)
    if cpus < size.cpu_count:
        warnings.append(f"{name} has {size.cpu_count} CPUs, but this machine has {host_cpus}: the build VM gets {cpus}")
    most = max(512, host_memory_mib - reserved_mib)
    wanted = wanted_memory_mib(size, is_windows=is_windows)
    memory = min(wanted, most)
    if memory < wanted:
        warnings.append(f"{name} has {wanted} MiB of memory, but only {most} MiB are free: it gets {memory} MiB")
    disk = profile.os_disk_size_gb * GIB or source_bytes
    if too_small := list(size_problems(profile, source_bytes)):
        raise TemplateInvalid(too_small)
    return VmShape(name, cpus, memory, disk, tuple(warnings))


def wanted_memory_mib(size: VmSize, *, is_windows: bool) -> int:
    """The memory of a build VM of this size; a Windows has what its set-up needs, whatever its size says; pure."""
    return max(size.memory_mib, LEAST_WINDOWS_MEMORY_MIB) if is_windows else size.memory_mib
