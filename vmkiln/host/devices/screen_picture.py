"""A picture of a VM's screen as PNG, the only look into the set-up of a Windows.

QEMU opens no path: it gets a file in memory as a descriptor, a new one for each picture. What it writes there shows a
guest's doing, and is read strictly.

*Leaves behind:* nothing. *Undone by:* nothing to undo. *Safe to repeat:* yes.
Source: QEMU's QMP reference, `add-fd`, `screendump`, `remove-fd`; ppm(5); ISO/IEC 15948 (PNG).
"""

import asyncio
import contextlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from qemu.qmp import QMPClient, QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host.devices.handed_descriptor import hand_over
from vmkiln.host.devices.profile import picture_command

LIMIT_SECONDS = 10
MOST_PICTURE_BYTES = 16 * 1024**2  # 2,560 by 1,600 points have 12 MiB
_HEAD = re.compile(rb"P6\n([1-9][0-9]{0,4}) ([1-9][0-9]{0,4})\n255\n")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


async def taken(control: QMPClient) -> bytes:
    """What the screen shows now, as PNG. Raises: `VmkilnError` when there is no picture."""
    with _file() as (descriptor, second):
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await _drawn(control, descriptor, second)
        except (QMPError, TimeoutError) as error:
            raise VmkilnError(f"QEMU gave no picture of the screen: {str(error) or 'it took too long'}") from error
        return await asyncio.to_thread(lambda: png_of(os.pread(descriptor, MOST_PICTURE_BYTES + 1, 0)))


def png_of(ppm: bytes) -> bytes:
    """The picture as PNG; pure. Raises: `VmkilnError` for what is no PPM as QEMU writes it, or too large."""
    head = _HEAD.match(ppm)
    if head is None or len(ppm) > MOST_PICTURE_BYTES:
        raise VmkilnError("QEMU gave no picture of the screen, or a larger one than is read")
    width, height = int(head[1]), int(head[2])
    row = 3 * width
    if len(ppm) != head.end() + row * height:
        raise VmkilnError("QEMU gave a picture of the screen of another size than it says")
    rows = b"".join(b"\0" + ppm[start : start + row] for start in range(head.end(), len(ppm), row))
    facts = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", facts) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


async def _drawn(control: QMPClient, descriptor: int, second: int) -> None:
    hand_over(control, descriptor)
    added: Any = await control.execute("add-fd")
    descriptors = {"fdset-id": added["fdset-id"]}
    try:
        hand_over(control, second)
        await control.execute("add-fd", descriptors)
        command: Any = picture_command(f"/dev/fdset/{added['fdset-id']}")
        await control.execute(command["execute"], command["arguments"])
    finally:
        async with asyncio.timeout(LIMIT_SECONDS):  # of its own: the one around it is over when a picture took too long
            await control.execute("remove-fd", descriptors)


@contextlib.contextmanager
def _file() -> Iterator[tuple[int, int]]:
    """An empty file in memory, to read and write, and to write only: which QEMU wants, depends on its version."""
    descriptor = os.memfd_create("screen")
    try:
        second = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            yield descriptor, second
        finally:
            os.close(second)
    finally:
        os.close(descriptor)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
