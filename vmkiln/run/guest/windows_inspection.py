"""The VM that looks at a Windows image for a run: it reads NTFS and registry hives, in the run's namespaces.

*Leaves behind:* the VM's initial file system, in the cache; receipts of the VM. *Undone by:* deleting it. *Safe to
repeat:* yes.
"""

import functools
from collections.abc import Sequence

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.host.qemu import Disk
from vmkiln.inspecting import inspection
from vmkiln.inspecting.windows_image import MEMORY_MIB, Work, answered, describe, obtain_windows_inspector
from vmkiln.run.packer_phase import keep_confinement
from vmkiln.run.run_context import Entered
from vmkiln.run.run_event import Notice
from vmkiln.staging.staging_resource_group import resources
from vmkiln.waiting.off_loop import off_loop_with

RECORDED = ((VIRTUAL_MACHINE, inspection.NAME, {"cpus": 1, "memoryMiB": MEMORY_MIB, "hasNetwork": False}),)


async def told_by_windows(entered: Entered, disks: Sequence[Disk], work: Work) -> bytes:
    """What the VM tells of these disks while it does its work.

    Raises: `HostUnfit` when this machine has no program to read them with, `InspectionFailed` when the VM does not come
    to its end; `VirtualMachineLost`, `NotConfined`.
    """
    staged = entered.staged

    def progress(text: str) -> None:
        staged.tell(Notice(text))

    inspector = await obtain_windows_inspector(staged.host.settings.container_image, progress=progress)
    machine = describe(inspector, disks, accelerator=staged.host.accelerator, work=work, name=inspection.NAME)
    on_confinement = functools.partial(keep_confinement, staged)
    async with off_loop_with(lambda: resources(staged.group, staged.host.store, RECORDED, exist=True)):
        return await answered(entered.namespace, machine, directory=staged.directory, on_confinement=on_confinement)
