"""The two requests of a shell, a visitor's and a host's, of which each one's body is the other's answer.

Whoever comes has a token that lets them in once. Both are told by status 200 that the other one is there; before that,
whoever waits is refused. What passes is ssh from end to end: nothing of it is looked at, kept or logged. A reader that
is slow makes the writer wait: each direction has the buffers of two connections, and no more.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from vmkiln.api.protocol.application import ALWAYS
from vmkiln.api.protocol.arm import error_answer
from vmkiln.api.shells.meetings import Meetings, Shell, Side, nobody_came, not_waited_for, service_ends
from vmkiln.errors import ArmError, StorageFailed
from vmkiln.lifetime.ending import is_ending, lasts
from vmkiln.shells.order import SHELLS
from vmkiln.waiting.off_loop import in_round

LOOK_SECONDS = 0.5
RIGHTS_SECONDS = 30.0  # between two looks at what a visitor may
LONGEST_PATH = 120
OK_HEADERS = {"Content-Type": "application/octet-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
TakeBack = Callable[[str], object]
log = logging.getLogger(__name__)


def with_shells(
    application: ASGIApp, meetings: Meetings, take_back: TakeBack, *, rights_seconds: float = RIGHTS_SECONDS
) -> ASGIApp:
    """The application, and the shells beside it. `take_back` takes back what a host was asked, and blocks."""
    prefix = f"{SHELLS}/".lower()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or len(path) > LONGEST_PATH or not path.lower().startswith(prefix):
            await application(scope, receive, send)
            return
        try:
            if scope["method"] != "POST":
                raise ArmError(405, "UnsupportedHttpMethod", "A shell takes POST.", headers={"Allow": "POST"})
            shell, side = meetings.came(path[len(prefix) :].lower(), _token_of(scope))
        except ArmError as error:
            await _refused(send, error)
            return
        try:
            await _met(meetings, _Guest(shell, side, scope, receive, send), rights_seconds)
        finally:
            try:
                if Side.HOST not in shell.came:  # it is counted until its row is gone: these have no other limit
                    with contextlib.suppress(StorageFailed):
                        await in_round(take_back, shell.shell_id)
            finally:
                meetings.leave(shell)

    return answer


@dataclass(frozen=True)
class _Guest:
    """One who came: to which shell, as which side, with the request that they came with."""

    shell: Shell
    side: Side
    scope: Scope
    receive: Receive
    send: Send

    @property
    def is_visitor(self) -> bool:
        return self.side is Side.VISITOR


async def _met(meetings: Meetings, guest: _Guest, rights_seconds: float) -> None:
    """Wait for the other one, then pass bytes until either ends."""
    shell, side, send = guest.shell, guest.side, guest.send
    if guest.is_visitor and not await _may_still(shell):
        await _refused(send, not_waited_for())
        return
    lasts(guest.scope)
    shell.sends[side] = send
    pump = shell.pumps[side] = asyncio.create_task(_passed(guest))
    try:
        if len(shell.sends) == len(Side):
            shell.both.set()
        if not await _other_came(meetings, guest, pump):
            await _refused(send, service_ends() if is_ending(guest.scope) else nobody_came(side.other))
            return
        await _start(send, 200, OK_HEADERS)
        shell.started[side].set()
        if guest.is_visitor:
            log.info("%s is let into the failed VM of run %s (shell %s)", shell.name, shell.run_id, shell.shell_id)
        await _until_over(meetings, guest, pump, rights_seconds)
    finally:
        shell.over.set()
        for one in shell.pumps.values():
            one.cancel()
        await asyncio.gather(*shell.pumps.values(), return_exceptions=True)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    if guest.is_visitor:
        log.info("%s is in the failed VM of run %s no more (shell %s)", shell.name, shell.run_id, shell.shell_id)


async def _passed(guest: _Guest) -> None:
    """Pass what one side sends to the other, until it ends."""
    shell, other = guest.shell, guest.side.other
    while True:
        message = await guest.receive()
        if message["type"] != "http.request":
            return
        if content := message.get("body", b""):
            await shell.started[other].wait()
            await shell.sends[other]({"type": "http.response.body", "body": content, "more_body": True})
        if not message.get("more_body", False):
            return


async def _other_came(meetings: Meetings, guest: _Guest, pump: "asyncio.Task[None]") -> bool:
    """Whether both are there in time, and this one still is."""
    both = asyncio.create_task(guest.shell.both.wait())
    over = asyncio.create_task(guest.shell.over.wait())
    try:
        while not is_ending(guest.scope) and (left := meetings.seconds_to_come(guest.shell)):
            done, _ = await asyncio.wait(
                {both, over, pump}, timeout=min(left, LOOK_SECONDS), return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return both in done and pump not in done and over not in done
        return False
    finally:
        both.cancel()
        over.cancel()
        await asyncio.gather(both, over, return_exceptions=True)


async def _until_over(meetings: Meetings, guest: _Guest, pump: "asyncio.Task[None]", rights_seconds: float) -> None:
    """Wait for the end: of either side, of the VM's time, of the visitor's right, of the service."""
    shell = guest.shell
    over = asyncio.create_task(shell.over.wait())
    asked, pause = time.monotonic(), min(LOOK_SECONDS, rights_seconds)
    try:
        while not is_ending(guest.scope) and meetings.is_open(shell):
            done, _ = await asyncio.wait({pump, over}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return
            if guest.is_visitor and time.monotonic() - asked >= rights_seconds:
                asked = time.monotonic()
                if not await _may_still(shell):
                    log.warning("%s may not be in the failed VM of run %s any more", shell.name, shell.run_id)
                    return
    finally:
        over.cancel()
        await asyncio.gather(over, return_exceptions=True)


async def _may_still(shell: Shell) -> bool:
    """Whether the visitor may enter; while the database is away, what was so before."""
    try:
        return await in_round(shell.may_still)
    except StorageFailed:
        return bool(shell.both.is_set())


def _token_of(scope: Scope) -> str:
    """The bearer token of a request; '' without one; pure."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


async def _refused(send: Send, error: ArmError) -> None:
    found = error_answer(error)
    body = json.dumps(found.body).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "Connection": "close", **found.headers}
    await _start(send, found.status, {**headers, "Content-Length": str(len(body))})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    every = [(name.lower().encode(), value.encode()) for name, value in {**ALWAYS, **headers}.items()]
    await send({"type": "http.response.start", "status": status, "headers": every})
