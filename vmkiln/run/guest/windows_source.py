"""What keeps a Windows image from beginning a run is taken out of the run's own overlay, before its VM starts.

Answer files that the image has cached win over the run's, and drivers of its disk that a machine of Azure's has turned
off (`StartOverride`) let it stop with 0x7B. The VM that looks at Windows images writes to the overlay; the image itself
is never written to. What was taken out is told, in the run's log too, and stays out: Azure's own deprovisioning deletes
those answers, and an image whose driver does not start could not be validated.

*Leaves behind:* a changed overlay, and as `windows_inspection.py`. *Undone by:* the deletion of the run's folder, and
as that. *Safe to repeat:* yes.
"""

from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import Disk
from vmkiln.inspecting.windows_image import Work
from vmkiln.inspecting.windows_residues import TakenOut, read_taken_out
from vmkiln.run.guest.windows_inspection import told_by_windows
from vmkiln.run.run_context import Entered
from vmkiln.run.run_event import Notice
from vmkiln.run_failures import InspectionFailed


async def taken_out(entered: Entered, overlay: Disk) -> TakenOut:
    """Take it out of an overlay on the image, and tell it; `broken` when the overlay is of no use any more.

    Raises: `VirtualMachineLost`, `NotConfined`.
    """
    try:
        found = read_taken_out(await told_by_windows(entered, [overlay], Work.TAKE_OUT))
    except HostUnfit as error:
        found = TakenOut(stays=(f"{error.message}; {error.hint}" if error.hint else error.message,))
    except InspectionFailed as error:
        found = TakenOut(broken=error.message)
    for text in found.sentences:
        entered.staged.tell(Notice(text, is_warning=bool(found.broken)))
    return found
