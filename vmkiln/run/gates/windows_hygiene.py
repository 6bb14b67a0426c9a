"""The hygiene gate's look at a finished Windows image, by the VM that reads NTFS and registry hives; it writes nothing.

What cannot be read is unproven, and so is the whole image where this machine has no program to read it with: a build
of hours is not lost for a package.

*Leaves behind:* the VM's initial file system, in the cache; receipts of the VM. *Undone by:* deleting it.
*Safe to repeat:* yes.
"""

import functools

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.errors import HostUnfit
from vmkiln.inspecting import inspection
from vmkiln.inspecting.windows_image import MEMORY_MIB, Work, answered, describe, obtain_windows_inspector
from vmkiln.inspecting.windows_residues import WindowsLook, read_residues
from vmkiln.run.packer_phase import keep_confinement
from vmkiln.run.run_context import Disks, Entered
from vmkiln.run.run_event import Notice
from vmkiln.run_failures import InspectionFailed
from vmkiln.staging.staging_resource_group import resources
from vmkiln.waiting.off_loop import off_loop_with

RECORDED = ((VIRTUAL_MACHINE, inspection.NAME, {"cpus": 1, "memoryMiB": MEMORY_MIB, "hasNetwork": False}),)


async def looked(entered: Entered, disks: Disks) -> WindowsLook:
    """What is left in the image, and what could not be read. Raises: `VirtualMachineLost`, `NotConfined`."""
    staged = entered.staged

    def progress(text: str) -> None:
        staged.tell(Notice(text))

    try:
        inspector = await obtain_windows_inspector(staged.host.settings.container_image, progress=progress)
    except HostUnfit as error:
        return WindowsLook(unproven=(f"{error.message}; {error.hint}" if error.hint else error.message,))
    machine = describe(
        inspector,
        [disks.os, *(disk for _, disk in sorted(disks.data.items()))],
        accelerator=staged.host.accelerator,
        work=Work.RESIDUES,
        name=inspection.NAME,
    )
    on_confinement = functools.partial(keep_confinement, staged)
    async with off_loop_with(lambda: resources(staged.group, staged.host.store, RECORDED, exist=True)):
        try:
            answer = await answered(
                entered.namespace, machine, directory=staged.directory, on_confinement=on_confinement
            )
            return read_residues(answer)
        except InspectionFailed as error:
            return WindowsLook(unproven=(error.message,))
