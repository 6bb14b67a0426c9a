"""`vmkiln run shell` for a VM that another host holds: through the service, at which that host is met.

On this machine there is a door as there is on the host that holds the VM, in a folder of this visit, and ssh enters by
it; behind it lies the way through the service. ssh speaks with the VM itself: the service passes what it cannot read.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from vmkiln.cli.output import say
from vmkiln.errors import ArmError, InputError, VmkilnError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from vmkiln.cli.contexts import Context
    from vmkiln.shells.sealed_key import VisitorKey
    from vmkiln.shells.stream import Stream

PREFIX = ".shell-"
SSH_BROKE = 255  # how ssh ends when the other side goes


async def through_service(
    context: Context, run_id: str, workplace: Path, enter: Callable[[Path], Awaitable[int]]
) -> int:
    """Have the holding host let this user in; `enter` gets the folder of the door, and gives the exit status.

    Raises: `ArmError` when it is refused, or the host does not come; `InputError`, `ServiceAway`; `VmkilnError` when
    the host cannot wake the VM.
    """
    from vmkiln.cli.arm_client import remote_client, trust
    from vmkiln.cli.service.answers import ServiceAway
    from vmkiln.shells import stream
    from vmkiln.shells.sealed_key import VisitorKey
    from vmkiln.waiting.off_loop import off_loop

    visitor = VisitorKey()
    async with remote_client(context) as client:
        shell = await _asked(client, run_id, visitor)
    say("the host that holds the failed VM is asked to come")
    trusted = await off_loop(trust, context.authority)
    async with contextlib.AsyncExitStack() as stack:
        try:
            opening = stream.opened(context.url, str(shell["path"]), str(shell["token"]), trusted)
            way = await stack.enter_async_context(opening)
            key = await _key(way, visitor, run_id)
        except ArmError as error:
            raise ArmError(error.status, error.code, error.message, hint=_hint(error.code)) from error
        except OSError as error:  # `TimeoutError` is one
            hint = "a proxy on the way has to pass what is sent at once, in both directions"
            raise ServiceAway(
                f"the way through {context.url} broke off: {str(error) or 'no answer'}", hint=hint
            ) from error
        return await _entered(way, key, workplace, enter)


def _hint(code: str) -> str | None:
    """What to do about what a service says in place of a way; pure."""
    if code == "HostDidNotCome":
        return "`vmkiln host list` shows whether it is at work; on that host the same command enters without a service"
    if code in {"ShellNotFound", "VisitorGone", "ServiceEnds"}:
        return "ask again: `vmkiln run shell` makes a new token"
    return None


async def _asked(client: Any, run_id: str, visitor: VisitorKey) -> Any:
    """Where the service waits for this user. Raises: `ArmError`, `InputError`, `ServiceAway`."""
    from vmkiln.azure_names import NEWEST_API_VERSION
    from vmkiln.cli.commands.runs.of_service import found_run
    from vmkiln.cli.service.answers import body_of

    run = await found_run(client, run_id)
    if not run["properties"]["templateId"]:
        raise InputError(
            f"run {run['name'][:8]} was built by `vmkiln build`, whose failed VM is its user's",
            hint="enter it on the machine where it was built",
        )
    body = {"publicKey": visitor.public}
    answer = body_of(await client.request("POST", f"{run['id']}/shell", api_version=NEWEST_API_VERSION, body=body))
    shell = answer.get("shell")
    if not isinstance(shell, dict):
        raise InputError(
            "this service is of a release that opens no shells to other hosts",
            hint=f"run the same command on {answer.get('host') or 'the host that holds the failed VM'}",
        )
    return shell


async def _key(way: Stream, visitor: VisitorKey, run_id: str) -> str:
    """The key of the VM, once its host has woken it. Raises: `VmkilnError` when it cannot, or goes; `OSError`."""
    from vmkiln.harmless_text import harmless

    while words := await way.line():
        if tell := words.get("tell"):
            say(harmless(str(tell)))
        if problem := words.get("problem"):
            raise VmkilnError(harmless(str(problem)), hint=harmless(str(words.get("hint") or "")) or None)
        if sealed := words.get("key"):
            try:
                return visitor.opened(str(sealed))
            except ValueError as error:
                raise VmkilnError(f"the key of the failed VM is none: {error}") from error
    raise VmkilnError(
        f"the host that holds the failed VM of run {run_id[:8]} went before it was awake",
        hint="it may have been stopped: ask again",
    )


async def _entered(way: Stream, key: str, workplace: Path, enter: Callable[[Path], Awaitable[int]]) -> int:
    """Open the door of this visit, and enter by it."""
    from vmkiln.files.held_folder import held_folder
    from vmkiln.files.private_folder import private_folder
    from vmkiln.run.held import door
    from vmkiln.shells.stream import passed_between
    from vmkiln.waiting.off_loop import off_loop, off_loop_with

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(door.OPEN)
        await passed_between(way, reader, writer)

    await off_loop(private_folder, workplace)
    async with (
        off_loop_with(lambda: held_folder(workplace, PREFIX)) as folder,
        door.opened(folder, private_key=key, session=session),
    ):
        status = await enter(folder)
    if status == SSH_BROKE and way.is_over:
        why = "its time is over, it was let go, or its host, the service or your right to it is gone"
        say(f"the way into the failed VM ended: {why}; the host's log says more")
    return status
