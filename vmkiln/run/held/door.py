"""The door of a held run: a socket in its folder, through which its user enters the failed VM or lets it go.

Whoever knocks says in one line what is wanted, and reads one line: `open`, then bytes pass both ways until one side
ends; `released`; or `taken`, for one is in at a time. Only the run's own user can get at the socket.

*Leaves behind:* the socket and the key, in the run's folder. *Undone by:* leaving, and the deletion of the folder.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.waiting.off_loop import off_loop

SOCKET, KEY = "held.door", "held.key"
ENTER, RELEASE = b"enter\n", b"release\n"
OPEN, RELEASED, TAKEN = b"open\n", b"released\n", b"taken\n"
KNOCK_SECONDS = 10
ANSWER_SECONDS = 30  # for a run to say whether it opens: one whose process was stopped never does
LONGEST_KNOCK_BYTES = 64
MOST_VISITS = 8

log = logging.getLogger(__name__)
Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def opened(directory: Path, *, private_key: str, session: Session) -> AsyncIterator[asyncio.Event]:
    """The open door of the run with this folder; gives the event that it was released.

    `session` gets whoever enters. Raises: `OSError`.
    """
    released, inside = asyncio.Event(), asyncio.Lock()
    visits: set[asyncio.Task[None]] = set()
    is_open = True

    async def knocked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a connection callback always runs in a task
        if not is_open or len(visits) >= MOST_VISITS:  # one that was let in while the door was shut begins after that
            writer.close()
            return
        visits.add(task)
        wanted = b""
        try:
            with contextlib.suppress(OSError, ValueError):  # who says nothing, too much, or is gone already
                async with asyncio.timeout(KNOCK_SECONDS):
                    wanted = await reader.readline()
            if wanted == ENTER and not inside.locked():
                async with inside:
                    await session(reader, writer)
                return
            if wanted == RELEASE:
                released.set()
            if answer := {RELEASE: RELEASED, ENTER: TAKEN}.get(wanted):
                with contextlib.suppress(OSError):
                    writer.write(answer)
                    await writer.drain()
        except Exception as error:
            log.error("a visit to a failed VM went wrong", exc_info=error)
        finally:
            visits.discard(task)
            writer.close()

    descriptor = await off_loop(os.open, directory, os.O_PATH | os.O_DIRECTORY)
    path = f"/proc/self/fd/{descriptor}/{SOCKET}"
    try:
        await off_loop(_write_key, directory / KEY, private_key)
        server = await asyncio.start_unix_server(knocked, path, limit=LONGEST_KNOCK_BYTES)
        try:
            yield released
        finally:
            is_open = False
            server.close()
            for task in list(visits):
                task.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
    finally:
        await off_loop(_closed, directory)
        os.close(descriptor)


def _write_key(path: Path, private_key: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(private_key)


def _closed(directory: Path) -> None:
    for name in (SOCKET, KEY):
        (directory / name).unlink(missing_ok=True)


def is_held(directory: Path) -> bool:
    """Whether the run with this folder is held: its door is there, which is so only meanwhile."""
    return (directory / SOCKET).is_socket() and (directory / KEY).is_file()


def knock(directory: Path, wanted: bytes, *, seconds: float | None = None) -> socket.socket:
    """Knock at the door, and give the connection once the answer is what was wanted; it may take `seconds`, or 30 s.

    Raises: `InputError` when the run is not held, somebody is in, or nothing answers.
    """
    door, run_id = socket.socket(socket.AF_UNIX), directory.name.partition(".")[0]
    door.settimeout(ANSWER_SECONDS if seconds is None else seconds)
    try:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        try:
            door.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
        finally:
            os.close(descriptor)
        door.sendall(wanted)
        answer = _line(door)
    except TimeoutError as error:
        door.close()
        raise unanswered(run_id) from error
    except OSError as error:
        door.close()
        raise not_held(run_id) from error
    if answer in (OPEN, RELEASED):
        door.settimeout(None)
        return door
    door.close()
    if answer == TAKEN:
        raise taken()
    raise not_held(run_id)


def taken() -> InputError:
    """The error for a second visitor; pure."""
    return InputError("somebody is in the failed VM already", hint="one shell at a time")


def unanswered(run_id: str) -> InputError:
    """The error for a run that is held by a process that does nothing; pure."""
    return InputError(
        f"the process that holds the failed VM of run {run_id[:8]} does not answer",
        hint="it may have been stopped: let it go on, or end it, and its VM is cleaned up",
    )


def not_held(run_id: str) -> InputError:
    """The error for a run that nobody can enter; pure."""
    return InputError(
        f"the run {run_id[:8]} is not held: there is no failed VM to enter",
        hint="`vmkiln build --on-error hold`, or `onCustomizerError: abort`, holds what fails, until its time is over",
    )


def _line(door: socket.socket) -> bytes:
    """One line, letter by letter: what is behind it belongs to whoever entered."""
    found = b""
    while not found.endswith(b"\n") and len(found) < LONGEST_KNOCK_BYTES:
        letter = door.recv(1)
        if not letter:
            break
        found += letter
    return found
