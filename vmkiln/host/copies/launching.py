"""Supervisors of runs, started: as copies of a launcher where the event loop keeps one, else each by itself.

*Leaves behind:* nothing. *Undone by:* leaving the block; the kernel ends a launcher with us, and with it its copies.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
import os
import socket
import sys
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from vmkiln.host import command
from vmkiln.host.confinement import python_jail
from vmkiln.waiting.off_loop import to_its_end

log = logging.getLogger(__name__)
ANSWER_SECONDS = 20
MOST_ANSWER_BYTES = 64


class Launcher:
    """A live launcher: one order after the other, each to its end, or the next would get its answer."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._turn = asyncio.Lock()

    async def start(self, inherited: Sequence[int]) -> int:
        """A supervisor with these descriptors, of which the first is its control socket: its process id.

        Raises: `OSError`, `TimeoutError` when the launcher has ended, or does not answer.
        """
        return int(await self._asked(lambda: socket.send_fds(self._orders, [b"start"], list(inherited))))

    async def end(self, process_id: int) -> None:
        """Kill a supervisor; it is reaped then. One whose launcher has ended has ended with it."""
        with contextlib.suppress(OSError, TimeoutError):
            await self._asked(lambda: self._orders.send(f"end {process_id}".encode()))

    async def _asked(self, send: Callable[[], int]) -> bytes:
        async with self._turn:
            send()
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await asyncio.get_running_loop().sock_recv(self._orders, MOST_ANSWER_BYTES)
        if not answer:
            raise ConnectionResetError("the launcher of supervisors has ended")
        return answer


@contextlib.asynccontextmanager
async def kept() -> AsyncIterator[None]:
    """While the block lasts, the supervisors of this event loop begin as copies of one launcher. Raises: `HostUnfit`.

    All such blocks of a loop share it, and it ends with the last of them. It loads what supervisors need meanwhile;
    nothing waits for that but a supervisor that is begun before.
    """
    loop = asyncio.get_running_loop()
    shared = _kept.setdefault(loop, Shared())
    shared.users += 1
    try:
        async with shared.turn:
            if shared.launcher is None:
                shared.launcher = await shared.stack.enter_async_context(_launcher())
        yield
    finally:
        shared.users -= 1
        if shared.users == 0:
            del _kept[loop]
            await to_its_end(asyncio.ensure_future(shared.stack.aclose()))


@dataclass
class Shared:
    """The launcher of an event loop, how many blocks want it, and what ends it."""

    users: int = 0
    launcher: Launcher | None = None
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


_kept: "WeakKeyDictionary[AbstractEventLoop, Shared]" = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def _launcher() -> AsyncIterator[Launcher]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(ours)
        with theirs:
            await stack.enter_async_context(_process("vmkiln.host.copies.launcher", [theirs.fileno()]))
        yield Launcher(ours)


@contextlib.asynccontextmanager
async def started(inherited: Sequence[int]) -> AsyncIterator[int]:
    """A supervisor with these descriptors, of which the first is its control socket: its process id.

    It is killed, with its process group, and reaped when the block is left. Raises: `HostUnfit`.
    """
    shared, process_id = _kept.get(asyncio.get_running_loop()), None
    launcher = None if shared is None else shared.launcher
    if launcher is not None:
        starting = asyncio.ensure_future(launcher.start(inherited))
        try:
            process_id = await asyncio.shield(starting)
        except (OSError, TimeoutError) as error:
            log.warning("a supervisor begins by itself, for the launcher is gone: %s", error)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, TimeoutError):
                await launcher.end(await to_its_end(starting))
            raise
    if launcher is None or process_id is None:
        async with _process("vmkiln.host.supervisor", inherited) as process:
            yield process.pid
        return
    try:
        yield process_id
    finally:
        await to_its_end(asyncio.ensure_future(launcher.end(process_id)))


def _process(module: str, inherited: Sequence[int]) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`main()` of a module of ours with the first descriptor."""
    code = f"import sys; from {module} import main; sys.exit(main(int(sys.argv[1])))"
    arguments = [sys.executable, "-I", "-c", code, str(inherited[0]), module]
    environment = {**python_jail.ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)}
    return command.start(arguments, stdin=None, stderr=None, environment=environment, pass_fds=inherited)
