"""A program of ours that begins as a copy of this process, with its modules loaded, instead of a new interpreter.

An interpreter that loads asyncio takes a tenth of a second of a processor; a copy takes a few milliseconds. It keeps no
descriptor of this process but its outputs, and none of its signals' handlers.

*Leaves behind:* nothing. *Undone by:* leaving the block, which kills it. *Safe to repeat:* yes.
Sources: fork(2), pidfd_open(2), prctl(2) PR_SET_NAME and PR_SET_DUMPABLE.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from importlib import import_module

from vmkiln.host import command
from vmkiln.host.confinement import kernel_calls

LONGEST_NAME = 15  # of a process (prctl(2))
MOST_FOUND_DESCRIPTORS = 1 << 20  # closed by a copy; more than any limit here allows
FAILED = 1


class Copy:
    """A copy that runs: its id, its outputs (the second as the first says), and how it ended."""

    stdout: asyncio.StreamReader | None = None
    stderr: asyncio.StreamReader | None = None

    def __init__(self, process_id: int) -> None:
        self.pid = process_id
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watched = os.pidfd_open(process_id)
        asyncio.get_running_loop().add_reader(self._watched, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._watched)
        os.close(self._watched)
        _, status = os.waitpid(self.pid, 0)
        self._ended.set_result(os.waitstatus_to_exitcode(status))

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if not self._ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self) -> int:
        """The exit status, when it has ended; negative for a signal's number."""
        return await asyncio.shield(self._ended)


@contextlib.asynccontextmanager
async def started(
    module: str, arguments: list[str], *, is_heard: bool, before: Callable[[], None] | None = None
) -> AsyncIterator[Copy]:
    """A copy that runs `main()` of a module, with these as its arguments; killed when the block is left.

    The module is loaded here, before the copy is made. `before` is called in the copy, which says why and ends when it
    raises. Raises: `ImportError`, `OSError`.
    """
    main = import_module(module).main
    pipes = [os.pipe() for _ in range(2 if is_heard else 1)]
    child = os.fork()
    if child == 0:
        _begin(module, arguments, main, [writing for _, writing in pipes], before)
    for _, writing in pipes:
        os.close(writing)
    copy = Copy(child)
    try:
        copy.stderr, *stdout = [await _reader(reading) for reading, _ in pipes]
        copy.stdout = stdout[0] if stdout else None
        yield copy
    finally:
        copy.tell(signal.SIGKILL)
        await copy.wait()


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader


def _begin(
    module: str, arguments: list[str], main: Callable[[], None], outputs: list[int], before: Callable[[], None] | None
) -> None:
    """In the copy: never comes back."""
    status = command.CANNOT_START
    try:
        stderr, *stdout = outputs
        nothing = os.open(os.devnull, os.O_RDWR)
        for target, source in enumerate((nothing, *(stdout or [nothing]), stderr)):
            os.dup2(source, target)
        os.closerange(3, MOST_FOUND_DESCRIPTORS)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        kernel_calls.name_process(module.rpartition(".")[2][:LONGEST_NAME])
        command.prepare(before)
        kernel_calls.let_be_looked_at()  # a process that changed its id is not, unless it begins a program
        status, sys.argv = FAILED, [module, *arguments]
        main()
        sys.stdout.flush()
        status = 0
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode(errors="replace"))
    finally:
        os._exit(status)
