"""What the console of a VM had said when Packer failed: kept beside the run's logs, for the VM itself is soon gone.

A VM has no screen, so this is what there is to see of it: its kernel's messages, such as those of a full memory or
disk. It is stored as it came, but for secrets.

*Leaves behind:* a file beside the logs. *Undone by:* the deletion of the logs. *Safe to repeat:* yes, the last stays.
"""

import logging
from collections.abc import Awaitable, Callable

from vmkiln.azure_names import CONSOLE_LOG
from vmkiln.errors import VmkilnError
from vmkiln.files.durable_file import write_whole
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run.run_context import Staged
from vmkiln.staging.storage_account import LOGS
from vmkiln.waiting.off_loop import off_loop

Then = Callable[[VirtualMachine, VirtualMachine], Awaitable[None]]
log = logging.getLogger(__name__)


async def kept_then(staged: Staged, then: Then | None, packers: VirtualMachine, vm: VirtualMachine) -> None:
    """Keep what the VM's console said, and do what is to be done `then` when the VM is still there."""
    try:
        await off_loop(_keep, staged, bytes(vm.console).decode(errors="replace"))
    except (VmkilnError, OSError) as error:  # the run fails for another reason, which counts
        log.warning("what the console of the %s said could not be kept: %s", vm.name, error)
    if then is not None and not vm.ended.done():
        await then(packers, vm)


def _keep(staged: Staged, text: str) -> None:
    path = staged.group.storage_account.blob(f"{LOGS}/{staged.request.run_id}/{CONSOLE_LOG}")
    write_whole(path, staged.request.mask(text).encode())
