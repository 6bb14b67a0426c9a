"""The state of a VM's devices, all but its RAM: saved from a VM that stands still, loaded into one that is to go on.

It goes through a file in memory that QEMU gets as a descriptor, for it may start no program and opens no path. Its RAM
is a file of its own that stays where it is (QEMU's capability `x-ignore-shared`, since 4.1).

*Leaves behind:* nothing. *Undone by:* nothing to undo. *Safe to repeat:* saving is; a VM is loaded once.
Source: docs/devel/migration.rst in QEMU; its QMP reference, `migrate`, `migrate-incoming`, `getfd`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from qemu.qmp import QMPClient, QMPError

from vmkiln.host.devices.handed_descriptor import hand_over

LIMIT_SECONDS = 30
PAUSE_SECONDS = 0.01
CAPABILITIES = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}
NAME = "device-state"
FAILED = ("failed", "cancelled")


async def save(control: QMPClient) -> bytes:
    """Stop the VM and return the state of its devices; it stands still from then on. Raises: `QMPError`."""
    await control.execute("stop")
    await control.execute("migrate-set-capabilities", CAPABILITIES)
    async with _handed_over(control) as descriptor:
        await control.execute("migrate", {"uri": f"fd:{NAME}"})
        await _completed(control)
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


async def load(control: QMPClient, state: bytes) -> None:
    """Give a VM that was started to wait for it the state of its devices; it stands still. Raises: `QMPError`."""
    await control.execute("migrate-set-capabilities", CAPABILITIES)
    async with _handed_over(control, state):
        await control.execute("migrate-incoming", {"uri": f"fd:{NAME}"})
        await _completed(control)


@contextlib.asynccontextmanager
async def _handed_over(control: QMPClient, content: bytes = b"") -> AsyncIterator[int]:
    """A file in memory with this content that QEMU has too, as `NAME`, and reads or writes from its start."""
    descriptor = os.memfd_create(NAME)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        hand_over(control, descriptor)
        await control.execute("getfd", {"fdname": NAME})
        yield descriptor
    finally:
        os.close(descriptor)


async def _completed(control: QMPClient) -> None:
    """Wait for the end of what was begun. Raises: `QMPError` when it failed, or takes too long."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            answer: Any = await control.execute("query-migrate")
            while answer.get("status") != "completed":
                if answer.get("status") in FAILED:
                    raise QMPError(f"the state of the devices: {answer.get('error-desc', answer['status'])}")
                await asyncio.sleep(PAUSE_SECONDS)
                answer = await control.execute("query-migrate")
    except TimeoutError as error:
        raise QMPError(f"the state of the devices took longer than {LIMIT_SECONDS} s") from error
