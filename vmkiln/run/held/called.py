"""The holding host's end of a shell that was asked for elsewhere: it dials out, wakes the VM, and passes bytes.

The visitor gets the key that ssh logs in with, sealed for this visit, and speaks ssh with the VM through the service.
When the visitor goes, the VM is put on disk again; when they go before it is awake, it lies there as it was.

*Leaves behind:* as `waking.py`. *Undone by:* the end of the visit. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.run.held.door import ENTER, KEY, knock
from vmkiln.run.held.shell_group import ENTERED, LEFT
from vmkiln.run.held.waking import visited
from vmkiln.run.run_context import BuildHost
from vmkiln.shells import stream
from vmkiln.shells.order import Order, trust_of
from vmkiln.shells.sealed_key import sealed_for
from vmkiln.shells.stream import Stream
from vmkiln.waiting.off_loop import off_loop

WAKES = "the host that holds the failed VM wakes it"
CANNOT, LOG_SAYS = "the host that holds the failed VM cannot wake it now", "its log says why"
OpenedHost = Callable[[], AbstractAsyncContextManager[BuildHost]]
log = logging.getLogger(__name__)


async def called(asked: Order, opened_host: OpenedHost) -> None:
    """Let a visitor in, and come back when they have left.

    Raises: `ArmError` when nobody waits there any more; `OSError`, `TimeoutError` when the service is not reached;
    `InputError` for an authority that is none.
    """
    meeting = asked.meeting
    trusted = await off_loop(trust_of, meeting)
    async with stream.opened(meeting.url, asked.path, asked.token, trusted, meeting.name) as way:
        await way.say(tell=WAKES)
        inside = asyncio.Event()
        arriving = asyncio.create_task(way.read())  # nothing comes before the key is there, but the visitor's end
        letting_in = asyncio.create_task(_let_in(asked, opened_host, way, arriving, inside))
        try:
            await asyncio.wait({arriving, letting_in}, return_when=asyncio.FIRST_COMPLETED)
            if inside.is_set() or not _is_gone(arriving):
                await letting_in
            else:
                log.info("the visitor of run %s went before its failed VM was awake", asked.run_id)
        except Exception as error:
            if not inside.is_set():  # behind that ssh reads
                await _tell_why(way, error)
            raise
        finally:
            for task in (arriving, letting_in):  # a VM that is just woken ends, and lies on disk as it was
                task.cancel()
            await asyncio.gather(arriving, letting_in, return_exceptions=True)


async def _let_in(
    asked: Order, opened_host: OpenedHost, way: Stream, arriving: "asyncio.Task[bytes]", inside: asyncio.Event
) -> None:
    """Wake the VM, and lead the visitor to its ssh server. Raises: as `visited`."""

    def tell(text: str) -> None:
        if text not in {ENTERED, LEFT}:
            log.info("the failed VM of run %s: %s", asked.run_id, text)

    async def visit(folder: Path) -> int:
        key = await off_loop((folder / KEY).read_text)
        try:
            sealed = sealed_for(asked.public_key, key)
        except ValueError as error:
            raise InputError(f"the visitor's key is none: {error}") from error
        door = await off_loop(knock, folder, ENTER)  # first, for behind the key nobody can be told why not
        inside.set()
        await _lead(way, door, sealed, arriving)
        with contextlib.suppress(OSError):
            await way.end()  # before the VM is put on disk, which takes a moment
        return 0

    async with opened_host() as host:
        await visited(host, asked.run_id, visit, tell)


async def _lead(way: Stream, door: socket.socket, sealed_key: str, arriving: "asyncio.Task[bytes]") -> None:
    """Give the visitor the key, and pass bytes between the way and the VM's door until either ends."""
    door.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=door, limit=stream.CHUNK_BYTES)
    try:
        await way.say(key=sealed_key)
        await stream.passed_between(way, reader, writer, first=arriving)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _is_gone(arriving: "asyncio.Task[bytes]") -> bool:
    """Whether the visitor's side has ended; pure."""
    return arriving.done() and (arriving.cancelled() or arriving.exception() is not None or not arriving.result())


async def _tell_why(way: Stream, error: Exception) -> None:
    """Tell the visitor why they do not get in, and nothing of the host's files."""
    problem, hint = (error.message, error.hint or "") if isinstance(error, InputError) else (CANNOT, LOG_SAYS)
    with contextlib.suppress(OSError):
        await way.say(problem=problem, hint=hint)
