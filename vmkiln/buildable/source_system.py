"""What a source's operating system asks of a template's steps and VM size, and of this machine; pure.

A template alone tells the system of a publisher's images. Of an image of the user's own, only the image does.
Source: docs/reference/behaviour.md#customizing; docs/windows.md.
"""

from collections.abc import Iterator

from vmkiln.azure_names import Architecture
from vmkiln.errors import Mistake, MistakeKind
from vmkiln.host.devices.profile import LEAST_WINDOWS_MEMORY_MIB
from vmkiln.template.image_template import OS_OF_CUSTOMIZER, ImageTemplate
from vmkiln.template.source import OsType
from vmkiln.template.vm_profile import VmProfile
from vmkiln.template.vm_size import find_vm_size

SIZE = "properties.vmProfile.vmSize"
SOURCE = "properties.source"


def size_mistakes(profile: VmProfile) -> Iterator[Mistake]:
    """A size for Arm64, with which no Windows is built. Raises: `InputError` for what is no size."""
    if profile.vm_size and find_vm_size(profile.vm_size).architecture is Architecture.ARM64:
        message = f"`{profile.vm_size}` has Arm64 CPUs, and Windows images are built for x64 only"
        yield Mistake(SIZE, message, "name a size without the letter `p`, or leave it out")


def arm64_source() -> Mistake:
    """Why a Windows image for Arm64 is refused."""
    return Mistake(SOURCE, "is a Windows image for Arm64, and Windows images are built for x64 only", "use one of x64")


def step_mistakes(template: ImageTemplate, os_type: OsType) -> Iterator[Mistake]:
    """Each customizer and validation that runs in the other system than the source's."""
    properties = template.properties
    article = "a Windows" if os_type is OsType.WINDOWS else "a Linux"
    for where, steps in (
        ("properties.customize", properties.customize),
        ("properties.validate.inVMValidations", properties.validation.in_vm_validations),
    ):
        for index, step in enumerate(steps):
            if OS_OF_CUSTOMIZER.get(step.type, os_type) is not os_type:
                yield Mistake(
                    f"{where}[{index}].type",
                    f"Customizer {step.type} is not supported on {os_type} images",
                    f"the source is {article} image",
                    kind=MistakeKind.CUSTOMIZER_OF_ANOTHER_SYSTEM,
                )


def windows_warnings(profile: VmProfile, emulated: str) -> Iterator[str]:
    """What a Windows VM gets in place of too little memory, and what becomes of it without hardware virtualization.

    `emulated` says why VMs are emulated on this machine; it is empty where they are not, or nobody knows yet.
    Raises: `InputError` for what is no size.
    """
    if profile.vm_size and (memory := find_vm_size(profile.vm_size).memory_mib) < LEAST_WINDOWS_MEMORY_MIB:
        yield (
            f"{SIZE}: `{profile.vm_size}` has {memory} MiB of memory, less than Windows set-up needs: the build VM "
            f"gets {LEAST_WINDOWS_MEMORY_MIB} MiB"
        )
    if emulated:
        from vmkiln.packer.windows_template import WINRM_SECONDS  # noqa: PLC0415 (imports all that Packer is told)

        yield (
            f"{SOURCE}: VMs are emulated on this machine ({emulated}), many times slower than with KVM: the set-up of "
            f"Windows will hardly end within the {WINRM_SECONDS // 60} minutes that Packer waits for WinRM"
        )
