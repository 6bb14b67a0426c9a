"""Supervisors of runs, started: as copies of a launcher where the event loop keeps one, else each by itself.

*Leaves behind:* nothing. *Undone by:* leaving the block; the kernel ends a launcher with us, and with it its copies.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
import os
import select
import socket
import sys
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from vmkiln.errors import HostUnfit
from vmkiln.host import command
from vmkiln.host.confinement import python_jail
from vmkiln.waiting.off_loop import to_its_end

log = logging.getLogger(__name__)
ANSWER_SECONDS = 20
MOST_ANSWER_BYTES = 64
ENDED = select.POLLHUP | select.POLLRDHUP | select.POLLNVAL  # its end of the socket is closed, or ours
LATE = 0  # the number of orders whose answer nobody waits for


class Launcher:
    """A live launcher: one order after the other, each with a number, for the answer to one may come too late."""

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._turn = asyncio.Lock()
        self._number = LATE

    async def start(self, inherited: Sequence[int]) -> int:
        """A supervisor with these descriptors, of which the first is its control socket: its process id.

        Raises: `TimeoutError` when the launcher does not answer, and may begin it yet; another `OSError` when it does
        not begin, for the launcher has ended or the kernel lets it begin nothing.
        """
        word, value = await self._asked("start", inherited)
        if word != "started":
            raise OSError(value, os.strerror(value))
        return value

    async def end(self, process_id: int) -> None:
        """Kill a supervisor; it is reaped then. One whose launcher has ended has ended with it."""
        with contextlib.suppress(OSError):
            await self._asked(f"end {process_id}")

    @property
    def has_ended(self) -> bool:
        """Whether it is gone. It closes its socket before the kernel ends its copies, so theirs is told later."""
        waiting = select.poll()
        waiting.register(self._orders, select.POLLRDHUP)
        return any(events & ENDED for _, events in waiting.poll(0))

    async def _asked(self, order: str, inherited: Sequence[int] = ()) -> tuple[str, int]:
        async with self._turn:
            self._number += 1
            socket.send_fds(self._orders, [f"{self._number} {order}".encode()], list(inherited))
            async with asyncio.timeout(ANSWER_SECONDS):
                number, word, value = await self._answer()
                while number != self._number:
                    if word == "started":  # nobody waits for it any more
                        self._orders.send(f"{LATE} end {value}".encode())
                    number, word, value = await self._answer()
                return word, value

    async def _answer(self) -> tuple[int, str, int]:
        answer = await asyncio.get_running_loop().sock_recv(self._orders, MOST_ANSWER_BYTES)
        if not answer:
            raise ConnectionResetError("the launcher of supervisors has ended")
        number, word, value = answer.decode().split()
        return int(number), word, int(value)


@dataclass(frozen=True)
class Begun:
    """A supervisor: its process id, and the launcher that it is a copy of, if it is one."""

    process_id: int
    launcher: Launcher | None = None


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

    def forget(self, launcher: Launcher) -> None:
        """Let the next block begin another than this one, which has ended."""
        if self.launcher is launcher:
            self.launcher = None


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
async def started(inherited: Sequence[int]) -> AsyncIterator[Begun]:
    """A supervisor with these descriptors, of which the first is its control socket.

    It is killed, with its process group, and reaped when the block is left. Raises: `HostUnfit`.
    """
    shared, process_id = _kept.get(asyncio.get_running_loop()), None
    launcher = None if shared is None else shared.launcher
    if shared is not None and launcher is not None:
        starting = asyncio.ensure_future(launcher.start(inherited))
        try:
            process_id = await asyncio.shield(starting)
        except TimeoutError as error:  # another on the same descriptors would be beside it, if it still begins
            raise HostUnfit(f"the launcher of supervisors is silent for {ANSWER_SECONDS} s") from error
        except OSError as error:
            log.warning("a supervisor begins by itself, for the launcher cannot begin it: %s", error)
            if isinstance(error, ConnectionError):
                shared.forget(launcher)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                await launcher.end(await to_its_end(starting))
            raise
    if launcher is None or process_id is None:
        async with _process("vmkiln.host.supervisor", inherited) as process:
            yield Begun(process.pid)
        return
    try:
        yield Begun(process_id, launcher)
    finally:
        await to_its_end(asyncio.ensure_future(launcher.end(process_id)))


def _process(module: str, inherited: Sequence[int]) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """`main()` of a module of ours with the first descriptor."""
    code = f"import sys; from {module} import main; sys.exit(main(int(sys.argv[1])))"
    arguments = [sys.executable, "-I", "-c", code, str(inherited[0]), module]
    environment = {**python_jail.ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)}
    return command.start(arguments, stdin=None, stderr=None, environment=environment, pass_fds=inherited)
