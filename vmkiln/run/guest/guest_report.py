"""What a Windows VM tells of itself while a phase goes on: its set-up act by act, and at last what is left of ours.

The port is the guest's, so nothing on it makes a build succeed by itself: a login has to work, Packer has to be
content, and the VM has to be off; but without the finish line it has not succeeded.
"""

import asyncio
import contextlib
from collections.abc import Callable

from vmkiln.run_failures import GeneralizationIncomplete, VirtualMachineLost
from vmkiln.windows.serial_report import FINISH, SerialReport

REPORT_SECONDS = 20  # for what is on its way when the VM is off already


class GuestReport:
    """One VM's report. `tell` gets each act for the user, `failed` the reason why the VM will not get ready."""

    def __init__(self, vm_name: str) -> None:
        self._vm_name = vm_name
        self._report = SerialReport()
        self._told = 0
        self._is_over = asyncio.Event()
        self.tell: Callable[[str], None] = lambda _text: None
        self.failed: Callable[[str], None] = lambda _text: None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the port."""
        was_ready = self._report.is_ready
        self._report.feed(chunk)
        acts, self._told = self._report.acts[self._told :], len(self._report.acts)
        for act in acts:
            place = f"set-up of the {self._vm_name}: {act.phase}, {act.name}"
            if act.has_failed:
                self.failed(f"{place} failed: {act.reason}")
            else:
                self.tell(place)
        if self._report.is_ready and not was_ready:
            self.tell(f"the {self._vm_name} is ready for the build's login")
        if self._report.left is not None:
            self._is_over.set()

    async def ended_well(self) -> None:
        """Wait for the finish line of a VM that is off.

        Raises: `VirtualMachineLost` without one, `GeneralizationIncomplete` when something of the build is left.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPORT_SECONDS):
                await self._is_over.wait()
        if self._report.left is None:
            raise VirtualMachineLost(
                f"the {self._vm_name} powered off without its finish line (`{FINISH} ok`)",
                hint="nobody knows what of the build is left in it; does the deprovisioning script turn the VM off?",
            )
        if self._report.left:
            raise GeneralizationIncomplete(
                f"the image is not generalized; what the {self._vm_name} could not take away: {self._report.left}",
                hint="nothing was published",
            )
