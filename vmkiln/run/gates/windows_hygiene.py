"""The hygiene gate's look at a finished Windows image, by the VM that reads NTFS and registry hives; it writes nothing.

What cannot be read is unproven, and so is the whole image where this machine has no program to read it with: a build
of hours is not lost for a package.

*Leaves behind:* as `guest/windows_inspection.py`. *Undone by:* as that. *Safe to repeat:* yes.
"""

from vmkiln.errors import HostUnfit
from vmkiln.inspecting.windows_image import Work
from vmkiln.inspecting.windows_residues import WindowsLook, read_residues
from vmkiln.run.guest.windows_inspection import told_by_windows
from vmkiln.run.run_context import Disks, Entered
from vmkiln.run_failures import InspectionFailed


async def looked(entered: Entered, disks: Disks) -> WindowsLook:
    """What is left in the image, and what could not be read. Raises: `VirtualMachineLost`, `NotConfined`."""
    try:
        return read_residues(await told_by_windows(entered, disks.all, Work.RESIDUES))
    except HostUnfit as error:
        return WindowsLook(unproven=(f"{error.message}; {error.hint}" if error.hint else error.message,))
    except InspectionFailed as error:
        return WindowsLook(unproven=(error.message,))
