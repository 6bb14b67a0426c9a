"""What keeps a Windows image from beginning a run is taken out of the run's own overlay, before its VM starts.

Answer files that the image has cached win over the run's, and drivers of its disk that a machine of Azure's has turned
off (`StartOverride`) let it stop with 0x7B. The VM that looks at Windows images writes to the overlay; the image itself
is never written to. What was taken out is told, in the run's log too, and stays out: Azure's own deprovisioning deletes
those answers, and an image whose driver does not start could not be validated.

*Leaves behind:* a changed overlay. *Undone by:* the deletion of the run's folder. *Safe to repeat:* yes.
"""

import functools

from vmkiln.errors import HostUnfit
from vmkiln.host.qemu import Disk
from vmkiln.inspecting import inspection
from vmkiln.inspecting.windows_image import Work, answered, describe, obtain_windows_inspector
from vmkiln.inspecting.windows_residues import TakenOut, read_taken_out
from vmkiln.run.packer_phase import keep_confinement
from vmkiln.run.run_context import Entered
from vmkiln.run.run_event import Notice
from vmkiln.run_failures import InspectionFailed


async def taken_out(entered: Entered, overlay: Disk) -> TakenOut:
    """Take it out of an overlay on the image, and tell it; `broken` when the overlay is of no use any more.

    Raises: `VirtualMachineLost`, `NotConfined`.
    """
    staged = entered.staged

    def progress(text: str) -> None:
        staged.tell(Notice(text))

    try:
        inspector = await obtain_windows_inspector(staged.host.settings.container_image, progress=progress)
    except HostUnfit as error:
        found = TakenOut(stays=(f"{error.message}; {error.hint}" if error.hint else error.message,))
    else:
        machine = describe(
            inspector, [overlay], accelerator=staged.host.accelerator, work=Work.TAKE_OUT, name=inspection.NAME
        )
        on_confinement = functools.partial(keep_confinement, staged)
        try:
            found = read_taken_out(
                await answered(entered.namespace, machine, directory=staged.directory, on_confinement=on_confinement)
            )
        except InspectionFailed as error:
            found = TakenOut(broken=error.message)
    for text in found.sentences:
        staged.tell(Notice(text, is_warning=bool(found.broken)))
    return found
