"""A port that a VM gets while it runs, beside those that it was started with.

So a VM can go on from what was saved of one that has no such port. Both ends are a pair of sockets: QEMU gets one as a
descriptor, for it opens no path; the other one is ours.

*Leaves behind:* nothing: the port is there as long as its VM. *Undone by:* nothing to undo. *Safe to repeat:* with
another name.
Source: QEMU's QMP reference, `getfd`, `chardev-add` (a socket's address of type `fd`), `device_add`.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from qemu.qmp import QMPClient

from vmkiln.host.devices.handed_descriptor import hand_over


@contextlib.asynccontextmanager
async def plugged_in(control: QMPClient, name: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Our end of a new port, until the block is left. Raises: `QMPError`, `OSError`."""
    ours, its = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        with its:
            hand_over(control, its.fileno())
            await control.execute("getfd", {"fdname": name})
        address = {"type": "fd", "data": {"str": name}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        await control.execute("chardev-add", {"id": name, "backend": backend})
        await control.execute("device_add", {"driver": "virtserialport", "chardev": name, "name": name})
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        stack.pop_all()  # it is the writer's now
    try:
        yield reader, writer
    finally:
        writer.close()
