"""Whether a VM size has the CPUs that a source is for; pure.

Source: docs/reference/image-template.md#vm-profile.
"""

from vmkiln.azure_names import Architecture
from vmkiln.errors import Mistake
from vmkiln.template.vm_profile import VmProfile
from vmkiln.template.vm_size import DEFAULT_ARM64, find_vm_size


def architecture_problem(profile: VmProfile, architecture: str) -> Mistake | None:
    """A size of the other architecture than the source's, with the fix. Raises: `InputError` for what is no size."""
    if not profile.vm_size:
        return None
    size = find_vm_size(profile.vm_size)
    if size.architecture == architecture:
        return None
    fix = f"name an {architecture} size such as {DEFAULT_ARM64}, or leave it out"
    if architecture == Architecture.X64:
        fix = "name a size without the letter `p`, or leave it out, or take an Arm64 source"
    message = f"`{profile.vm_size}` has {size.architecture} CPUs, and the source is an {architecture} image"
    return Mistake("properties.vmProfile.vmSize", message, fix)
