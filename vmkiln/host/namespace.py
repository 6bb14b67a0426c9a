"""A run's own user, network, pid and mount namespaces, opened without root and gone when the block is left.

Everything of a run that executes lives inside: when this process dies, even by SIGKILL, the kernel ends the rest
(prctl(2) PR_SET_PDEATHSIG on the supervisor, and pid_namespaces(7) for all it started).
"""

import asyncio
import base64
import contextlib
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.errors import CommandFailed, HostUnfit, VmkilnError
from vmkiln.host import command
from vmkiln.host.confinement.run_group import RunGroup
from vmkiln.host.confinement.subordinate_ids import IdFile, IdRange, own_range
from vmkiln.host.confinement.vm_ids import BLOCK, SERVICES, VmIds, allotted
from vmkiln.host.copies import launching
from vmkiln.host.copies.launching import Launcher
from vmkiln.host.making import work_group
from vmkiln.host.qemu import MEMORY_INSIDE
from vmkiln.host.supervisor import MOST_MESSAGE_BYTES
from vmkiln.host.usage.process_tree import Usage
from vmkiln.run_failures import LauncherLost, NamespaceLost
from vmkiln.waiting.off_loop import off_loop, off_loop_with

log = logging.getLogger(__name__)
START_SECONDS = 20
LOST = "the supervisor of the run's namespaces ended"
LAUNCHER_LOST = "the launcher ended, and with it the supervisor of the run's namespaces"


@dataclass(frozen=True)
class Ended:
    """A program inside the namespace that ended: its exit status (negative: signal) and the tail of its stderr."""

    status: int
    output: str


class ProgramGone(VmkilnError):
    """The program that was asked about has ended."""


def id_map_arguments(program: str, process_id: int, *, own_id: int, subordinate: IdRange | None) -> list[str]:
    """`newuidmap`/`newgidmap` arguments: id 0 inside is the user, 1.. are the user's subordinate ids; pure."""
    arguments = [program, str(process_id), "0", str(own_id), "1"]
    if subordinate is not None:
        arguments += ["1", str(subordinate.first), str(subordinate.count)]
    return arguments


class Namespace:
    """A live namespace: starts programs inside and tells when they end."""

    def __init__(
        self,
        process_id: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        vm_ids: VmIds | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        self.process_id = process_id
        self.group: RunGroup | None = None  # that all inside is in, where there is one
        self._vm_ids = vm_ids
        self._launcher = launcher
        self._vms = 0
        self._reader = reader
        self._writer = writer
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._programs: dict[str, asyncio.Future[Ended]] = {}
        self._hearers: dict[str, Callable[[str], None]] = {}
        self._closed = False

    @property
    def network_path(self) -> Path:
        """The network namespace, as a path another program can join."""
        return Path(f"/proc/{self.process_id}/ns/net")

    @property
    def user_path(self) -> Path:
        """The user namespace, as a path another program can join."""
        return Path(f"/proc/{self.process_id}/ns/user")

    @property
    def control_group(self) -> str:
        """The name of the group that all inside is in; '' where there is none."""
        return "" if self.group is None else self.group.name

    def next_vm_id(self) -> int:
        """An id, of user and group, that no other VM of this user has now. Raises: `HostUnfit` without such ids."""
        if self._vm_ids is None:
            raise HostUnfit(
                "this user has no subordinate ids, and every virtual machine runs as one of its own",
                hint="`vmkiln doctor` says what to change",
            )
        self._vms += 1
        return self._vm_ids.of((self._vms - 1) % (BLOCK - SERVICES))  # those before the last two have ended

    def service_id(self, number: int) -> int:
        """The id of the run's own service of this number, from 0, which lives as long as the run.

        Raises: `HostUnfit` without such ids, `ValueError` when there is no such number.
        """
        if not 0 <= number < SERVICES:
            raise ValueError(f"a run has ids for {SERVICES} services")
        if self._vm_ids is None:
            raise HostUnfit(
                "this user has no subordinate ids, and every service of a run works as one of its own",
                hint="`vmkiln doctor` says what to change",
            )
        return self._vm_ids.of(BLOCK - SERVICES + number)

    @property
    def is_lost(self) -> bool:
        """Whether the supervisor, and with it everything inside, has ended."""
        return self._closed

    def loss(self) -> NamespaceLost:
        """What is to be said when it is lost: of the launcher, if that has ended too."""
        if self._launcher is not None and self._launcher.has_ended:
            return LauncherLost(f"{LAUNCHER_LOST}, and everything inside")
        return NamespaceLost(f"{LOST}, and everything inside with it")

    async def listen(self) -> None:
        """Read answers until the supervisor is gone; then everything that waits is told so."""
        try:
            while line := await self._reader.readline():
                self._hear(json.loads(line))
        except ValueError as error:
            log.warning("the supervisor of a run's namespaces said what is no message: %s", error)
        finally:
            self._closed = True
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result({"error": LOST})
            for program in self._programs.values():
                if not program.done():
                    program.set_result(Ended(-9, LOST))

    def _hear(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            program = self._programs.pop(message["ended"], None)
            if program is not None and not program.done():
                program.set_result(Ended(message["status"], message["output"]))
        elif "said" in message:
            if hearer := self._hearers.get(message["said"]):
                hearer(message["line"])
        elif "id" in message:
            waiting = self._waiting.pop(message["id"], None)  # none when who asked was cancelled meanwhile
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def run(
        self, arguments: Sequence[str | Path], *, stdin: bytes = b"", timeout_seconds: float = 20
    ) -> command.Completed:
        """Run a program inside to its end. Raises `CommandFailed` on a non-zero exit."""
        texts = [str(argument) for argument in arguments]
        encoded = base64.b64encode(stdin).decode()
        answer = await self._ask(do="run", arguments=texts, stdin=encoded, timeout_seconds=timeout_seconds)
        completed = command.Completed(
            answer["status"], base64.b64decode(answer["stdout"]), base64.b64decode(answer["stderr"])
        )
        if completed.exit_status != 0:
            output = (completed.stderr or completed.stdout).decode(errors="replace")
            reason = f"exited with status {completed.exit_status}"
            raise CommandFailed(texts, exit_status=completed.exit_status, output=output, reason=reason)
        return completed

    async def bind(self, directory: Path, inside: Path) -> None:
        """Make a folder visible inside at a path, which is made. Raises: `VmkilnError`."""
        await self._ask(do="bind", source=str(directory), target=str(inside))

    async def write(self, files: Mapping[str, str]) -> None:
        """Write texts to files of the kernel inside, in this order. Raises: `VmkilnError` when it refuses one."""
        await self._ask(do="write", files=dict(files))

    @contextlib.asynccontextmanager
    async def start(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        module: str | None = None,
        confined: Mapping[str, Any] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> AsyncIterator[asyncio.Future[Ended]]:
        """A program running inside under `name`; the future ends when it does. Killed when the block is left.

        With a `module` it is `main()` of that, as a copy of the supervisor. `confined` is what holds it to a jail of
        its own, as `Confinement.described` gives it. `on_line` gets each line of its standard output, of at most 64
        KiB; a longer one ends the program. It must not raise, nor wait.
        """
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._programs[name] = future
        if on_line is not None:
            self._hearers[name] = on_line
        try:
            texts = [str(argument) for argument in arguments]
            told = on_line is not None
            await self._ask(do="start", name=name, arguments=texts, module=module, confined=confined, told=told)
            yield future
        finally:
            self._programs.pop(name, None)
            self._hearers.pop(name, None)
            if not self._closed:
                with contextlib.suppress(VmkilnError):
                    await self._ask(do="stop", name=name)

    async def finish(self, name: str) -> None:
        """Tell a copy of the supervisor to end by itself, if it still runs. Raises: `VmkilnError`."""
        await self._ask(do="finish", name=name)

    async def facts(self, name: str) -> dict[str, Any]:
        """What the kernel says of a running program (`program`), and the supervisor's namespaces (`supervisor`).

        Raises: `ProgramGone` when it has ended.
        """
        facts: dict[str, Any] | None = (await self._ask(do="facts", name=name))["facts"]
        if facts is None:
            raise ProgramGone(f"the program `{name}` has ended")
        return facts

    async def usage(self) -> dict[str, Usage]:
        """What each program that runs inside takes, by its name. Raises: `VmkilnError` when all of it is gone."""
        answer: dict[str, tuple[float, int]] = (await self._ask(do="usage"))["usage"]
        return {name: Usage(*taken) for name, taken in answer.items()}

    async def keep_memory(self, name: str, target: Path, *, key: bytes = b"", has_digest: bool = True) -> str:
        """Copy the RAM of a running VM that stands still, where it is a file, to a new file; returns its digest.

        With a key it is sealed (`sealed_copy.py`), and has no digest; without one it has none if none is wanted, and
        takes half of the time.

        Raises: `VmkilnError` when it cannot be read or written.
        """
        asked = {"name": name, "path": MEMORY_INSIDE, "target": str(target), "key": key.hex(), "digest": has_digest}
        answer = await self._ask(do="keep_memory", **asked)
        return str(answer["digest"])

    async def _ask(self, **request: Any) -> dict[str, Any]:
        if self._closed:
            raise self.loss()
        self._next_id += 1
        number = self._next_id
        line = json.dumps({"id": number, **request}).encode() + b"\n"
        if len(line) > MOST_MESSAGE_BYTES:
            raise VmkilnError(f"inside the run's namespaces: a message takes at most {MOST_MESSAGE_BYTES} bytes")
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._writer.write(line)
        try:
            answer = await asyncio.shield(future)
        finally:
            self._waiting.pop(number, None)
        if answer.get("error") == LOST:
            raise self.loss()
        if "error" in answer:
            raise VmkilnError(f"inside the run's namespaces: {answer['error']}")
        return answer


@contextlib.asynccontextmanager
async def opened(*, use_subordinate_ids: bool = True, group: RunGroup | None = None) -> AsyncIterator[Namespace]:
    """New user, network, pid, mount, ipc and host name namespaces with their supervisor, in a control group if given.

    That is the one of the block that makes an image, where there is such a block.

    Raises: `HostUnfit` when the kernel or the set-up refuses, or all ids of the user are taken.
    """
    group = group or work_group.current()
    ours, theirs = socket.socketpair()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(ours.close)
        with theirs:
            ids = await stack.enter_async_context(off_loop_with(_vm_ids)) if use_subordinate_ids else None
            inherited = [theirs.fileno()] if ids is None else [theirs.fileno(), ids.lock]
            begun = await stack.enter_async_context(launching.started(inherited))
        reader, writer = await asyncio.open_connection(sock=ours, limit=MOST_MESSAGE_BYTES)
        stack.callback(writer.close)
        async with asyncio.timeout(START_SECONDS):
            if not await reader.readline():
                raise HostUnfit(
                    "the kernel refused new namespaces to an ordinary user", hint="`vmkiln doctor` says what to change"
                )
            await _map_ids(begun.process_id, use_subordinate_ids=use_subordinate_ids)
            writer.write(b"mapped\n")
            if not await reader.readline():
                raise HostUnfit(
                    "the run's namespaces could not be prepared", hint="`vmkiln doctor` says what to change"
                )
        inner = await asyncio.to_thread(_only_child, begun.process_id)
        namespace = Namespace(inner, reader, writer, ids, begun.launcher)
        if group is not None:
            await off_loop(group.add, inner)
            namespace.group = group
        listening = asyncio.create_task(namespace.listen())
        stack.callback(listening.cancel)
        yield namespace


@contextlib.contextmanager
def _vm_ids() -> Iterator[VmIds | None]:
    """Ids for the VMs of a run; none for a user without subordinate ids, who can make no image either."""
    users, groups = own_range(IdFile.USERS), own_range(IdFile.GROUPS)
    if users is None or groups is None:
        yield None
        return
    with allotted(first_outside=users.first, count=min(users.count, groups.count)) as ids:
        yield ids


async def _map_ids(process_id: int, *, use_subordinate_ids: bool) -> None:
    both = []
    for program, own_id, file in (
        ("newuidmap", os.getuid(), IdFile.USERS),
        ("newgidmap", os.getgid(), IdFile.GROUPS),
    ):
        subordinate = await off_loop(own_range, file) if use_subordinate_ids else None
        arguments = id_map_arguments(program, process_id, own_id=own_id, subordinate=subordinate)
        both.append(command.run(arguments, timeout_seconds=START_SECONDS, ends_anyway=True))
    for ended in await asyncio.gather(*both, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _only_child(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()[0])
