"""The only place that starts a process.

Every argument list is logged as one line that can be pasted into a shell and rerun; no shell is ever involved.
A process started here dies with us: it gets SIGKILL when the thread that started it ends (prctl(2) PR_SET_PDEATHSIG).
"""

import asyncio
import contextlib
import ctypes
import functools
import logging
import os
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import CommandFailed, HostUnfit
from vmkiln.host.confinement.file_limit import restore_file_limit
from vmkiln.host.environment import ordinary
from vmkiln.waiting.off_loop import to_its_end

logger = logging.getLogger(__name__)

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
PR_SET_PDEATHSIG = 1
REAP_SECONDS = 30.0  # for a process that was killed
CANNOT_START = 126  # what a shell says of a program that it may not start
NOT_STARTED = "the program was not started: "
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Completed:
    """A program that ended: its exit status and what it printed."""

    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent thread ends; runs between fork and exec."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def prepare(before_exec: Callable[[], None] | None) -> None:
    """In a new process, before what it is for begins: its limits, `before_exec`, and its end with ours."""
    restore_file_limit()
    if before_exec is not None:
        try:
            before_exec()
        except Exception as error:  # the parent sees no more of an exception here than that there was one
            os.write(2, f"{NOT_STARTED}{error}\n".encode())
            os._exit(CANNOT_START)
    die_with_parent()  # at the end, for the kernel forgets it when a process changes its id


async def run(
    arguments: Sequence[str | Path],
    *,
    timeout_seconds: float,
    stdin: bytes | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    check: bool = True,
    on_stdout: Callable[[bytes], None] | None = None,
    on_stderr: Callable[[bytes], None] | None = None,
    before_exec: Callable[[], None] | None = None,
    kept_bytes: int | None = None,
    ends_anyway: bool = False,
) -> Completed:
    """Run a program to its end and return what it printed.

    `environment` is its whole environment; without it, it gets what `environment.ordinary` lets through. `before_exec`
    is as in `start`. `on_stdout` and `on_stderr` get each chunk of output as it arrives (for progress). Of each output
    about the last `kept_bytes` are returned, for a program that is not believed. `ends_anyway` is as in `start`.
    Cancelling the call kills it.

    Raises: `HostUnfit` when the program is not installed; `CommandFailed` on a non-zero exit (unless `check` is
    false) or when the limit is reached.
    """
    async with start(
        arguments,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        environment=environment,
        directory=directory,
        before_exec=before_exec,
        ends_anyway=ends_anyway,
    ) as process:
        try:
            async with asyncio.timeout(timeout_seconds):
                stdout, stderr = await _communicate(process, stdin, on_stdout, on_stderr, kept_bytes)
                await process.wait()
        except TimeoutError as error:
            raise CommandFailed(
                [str(argument) for argument in arguments],
                exit_status=None,
                output="",
                reason=f"ran longer than {timeout_seconds:g} s and was ended",
            ) from error
        completed = Completed(process.returncode or 0, stdout, stderr)
    if check:
        check_status(arguments, completed)
    return completed


def check_confined(arguments: Sequence[str | Path], completed: Completed) -> None:
    """Raises `HostUnfit` when what confines the program before it starts (`before_exec`) failed."""
    output = completed.stderr.decode(errors="replace")
    if completed.exit_status == CANNOT_START and output.startswith(NOT_STARTED):
        raise HostUnfit(
            f"`{arguments[0]}` could not be confined: {output.removeprefix(NOT_STARTED).strip()}",
            hint="`vmkiln doctor` says what to change",
        )


def check_status(arguments: Sequence[str | Path], completed: Completed) -> None:
    """Raises: `CommandFailed` when a program did not end with status 0."""
    if completed.exit_status != 0:
        raise CommandFailed(
            [str(argument) for argument in arguments],
            exit_status=completed.exit_status,
            output=(completed.stderr or completed.stdout).decode(errors="replace"),
            reason=f"exited with status {completed.exit_status}",
        )


async def _communicate(
    process: asyncio.subprocess.Process,
    stdin: bytes | None,
    on_stdout: Callable[[bytes], None] | None,
    on_stderr: Callable[[bytes], None] | None,
    kept_bytes: int | None,
) -> tuple[bytes, bytes]:
    async def feed() -> None:
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(stdin or b"")
                await process.stdin.drain()
            process.stdin.close()

    async def drain(stream: asyncio.StreamReader | None, watcher: Callable[[bytes], None] | None) -> bytes:
        parts: deque[bytes] = deque()
        kept = 0
        while stream is not None and (chunk := await stream.read(65536)):
            parts.append(chunk)
            kept += len(chunk)
            while kept_bytes is not None and kept - len(parts[0]) >= kept_bytes:
                kept -= len(parts.popleft())
            if watcher is not None:
                watcher(chunk)
        return b"".join(parts)

    _, stdout, stderr = await asyncio.gather(feed(), drain(process.stdout, on_stdout), drain(process.stderr, on_stderr))
    return stdout, stderr


@contextlib.asynccontextmanager
async def start(
    arguments: Sequence[str | Path],
    *,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    pass_fds: Sequence[int] = (),
    new_session: bool = True,
    umask: int = -1,
    before_exec: Callable[[], None] | None = None,
    ends_anyway: bool = False,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running program, killed (with its process group) when the block is left.

    It gets a session of its own, so that Ctrl-C is for us alone; `new_session=False` is for one that talks to the user.
    `environment` is as in `run`. `umask` is what it may not give away of the files that it makes (umask(2)); -1 leaves
    ours. `before_exec` is called in the new process, where nothing of asyncio may be touched; when it raises, the
    process ends with status 126 and says why on its standard error.

    One that `ends_anyway` need not be ended with us: it ends in a moment, or with the process id namespace of which
    this is the first process. It is begun without a copy of this process, which takes a service some 20 ms in which
    its event loop stands still; and it has our limit of files.

    Raises: `HostUnfit` when the program is not installed.
    """
    if ends_anyway and before_exec is not None:
        raise ValueError("what is done before a program begins needs a copy of this process")
    texts = [str(argument) for argument in arguments]
    logger.debug("starting: %s", shlex.join(texts))
    starting = asyncio.create_subprocess_exec(
        *texts,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=ordinary(os.environ) if environment is None else dict(environment),
        cwd=directory,
        pass_fds=tuple(pass_fds),
        start_new_session=new_session,
        umask=umask,
        preexec_fn=None if ends_anyway else functools.partial(prepare, before_exec),
    )
    try:
        # also when we are cancelled meanwhile, and then ended below: asyncio would kill the process alone, and wait
        # without end for the outputs that its children hold open
        process = await to_its_end(asyncio.ensure_future(starting))
    except (FileNotFoundError, PermissionError) as error:  # the latter also for a folder on PATH that may not be read
        raise HostUnfit(
            f"the program `{texts[0]}` is not installed",
            hint="run `script/bootstrap`, or `vmkiln doctor` for a list",
        ) from error
    try:
        yield process
    finally:
        await end(process, has_group=new_session)


async def _emptied(stream: asyncio.StreamReader | None) -> None:
    """Read what is left of an output, for a process counts as ended only when its full pipes are at their end, too."""
    with contextlib.suppress(RuntimeError, ValueError):  # the former: someone else reads it
        while stream is not None and await stream.read(65536):
            pass


async def end(process: asyncio.subprocess.Process, *, has_group: bool) -> None:
    """Kill a process, and its group if it has its own, at once and reap it; finds nothing and is content.

    The signal goes past asyncio's own `kill()`, which may reap the process where its exit status is then lost.
    """
    if has_group or process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if has_group else os.kill)(process.pid, signal.SIGKILL)
    if process.returncode is None:
        # also when we are cancelled meanwhile, or nobody would reap it and close its pipes
        await to_its_end(asyncio.ensure_future(_reaped(process)))
    # asyncio closes the transport by itself, but only some rounds of the loop after the last pipe's end: the loop may
    # have ended by then, and what a process left would be told of wherever the garbage is collected.
    if process.returncode is not None:  # or that would reap it, too
        process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def _reaped(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a killed process and of its pipes, which a process of another group may hold open."""
    try:
        async with asyncio.timeout(REAP_SECONDS):
            await asyncio.gather(process.wait(), _emptied(process.stdout), _emptied(process.stderr))
    except TimeoutError:
        logger.error(
            "process %d was killed %.0f s ago, and it or its outputs are still there", process.pid, REAP_SECONDS
        )
