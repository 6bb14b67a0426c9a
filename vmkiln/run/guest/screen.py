"""Pictures of a VM's screen, kept with the run's logs: one a minute, and one when the VM is given up.

A picture that shows what the last one showed is not kept again, and of many the newest stay. They hide no secret, for
nobody reads them. A Windows shows nothing of a build, which has no session at the screen; where the login is made at a
first logon, that shows the acts of set-up.

*Leaves behind:* files beside the logs. *Undone by:* the deletion of the logs. *Safe to repeat:* yes, they are written
over.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.files.durable_file import write_whole
from vmkiln.host.devices.profile import PICTURE_SECONDS
from vmkiln.host.devices.screen_picture import taken
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run.run_context import Staged
from vmkiln.staging.storage_account import LOGS
from vmkiln.waiting.off_loop import off_loop

MOST_PICTURES = 60  # of a VM
MOST_KEPT_BYTES = 64 * 1024**2  # of a VM, as PNG: one of a screen full of noise has 12 MiB
PICTURES = "*-screen-*.png"
log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def watched(
    staged: Staged, tell: Callable[[str], None], has_failed: Callable[[], bool], vm: VirtualMachine
) -> AsyncIterator[None]:
    """Keep pictures of a VM's screen while the block lasts; one that cannot be had keeps nothing from going on.

    `tell` gets a sentence for the user when the VM's work `has_failed`, or the block ended by an error.
    """
    pictures = _Pictures(staged, vm)
    is_over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watching = asyncio.create_task(pictures.each_minute(is_over))
    is_given_up = True
    try:
        yield
        is_given_up = has_failed()
    finally:
        is_over.set_result(None)
        await watching  # one that is being kept is kept first
        if not vm.ended.done():
            await pictures.take()
        if is_given_up and pictures.count:
            how = f"`vmkiln run screenshot {staged.request.run_id[:8]} --picture FILE`"
            tell(f"what the screen of the {vm.name} showed last is kept: {how} gives it")


def name_of(vm_name: str, number: int) -> str:
    """The file of a picture; `number` counts from 1."""
    return f"{vm_name}-screen-{number:05}.png"


def pictures_in(logs: Path) -> list[Path]:
    """The pictures of all VMs of a run in the folder of its logs, the newest last."""
    return sorted(logs.glob(PICTURES), key=_age)


def _age(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:  # the run goes on, and has newer ones
        return 0


class _Pictures:
    """Those of one VM."""

    def __init__(self, staged: Staged, vm: VirtualMachine) -> None:
        self._staged = staged
        self._vm = vm
        self.count = 0
        self._last = b""
        self._kept = deque[tuple[int, int]]()  # the number and the bytes of each, the oldest first

    async def each_minute(self, is_over: "asyncio.Future[None]") -> None:
        """Take them until it is over, or the VM is off."""
        ends: list[asyncio.Future[Any]] = [self._vm.ended, is_over]
        while True:
            await asyncio.wait(ends, timeout=PICTURE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if any(end.done() for end in ends):
                return
            await self.take()

    async def take(self) -> None:
        """Take one, and keep it if it shows something else than the last."""
        try:
            picture = await taken(self._vm.control)
            if picture != self._last:
                await off_loop(self._keep, picture)
        except (VmkilnError, OSError) as error:
            log.warning("no picture of the screen of the %s: %s", self._vm.name, error)

    def _keep(self, picture: bytes) -> None:
        write_whole(self._path(self.count + 1), picture)
        self.count, self._last = self.count + 1, picture
        self._kept.append((self.count, len(picture)))
        while len(self._kept) > MOST_PICTURES or sum(size for _, size in self._kept) > MOST_KEPT_BYTES:
            self._path(self._kept.popleft()[0]).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        name = name_of(self._vm.name, number)
        return self._staged.group.storage_account.blob(f"{LOGS}/{self._staged.request.run_id}/{name}")
