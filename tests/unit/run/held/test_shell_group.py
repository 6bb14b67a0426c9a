"""How a visit to a held VM ends is told as it was: its visitor left, or what led them there broke off."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qemu.qmp import QMPClient, QMPError

from vmkiln.host.devices import late_port
from vmkiln.host.devices.handed_descriptor import hand_over
from vmkiln.host.namespace import Ended
from vmkiln.run.held import shell_group
from vmkiln.run.held.door import OPEN
from vmkiln.run_failures import NotBelieved

PATIENCE = 60
UNUSED: Any = None


class Visit:
    """A visit whose container group is a socket of ours: `visitor` is the one end of the way, `port` the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.visitor, self._door = socket.socketpair()
        self.port, self._ours = socket.socketpair()
        self.told: list[str] = []
        self.says: Callable[[bytes], Any] = print
        self.exit_status: asyncio.Future[int] = loop.create_future()
        self.vm_ended: asyncio.Future[Ended] = loop.create_future()
        self.unheard: asyncio.Future[Exception] = loop.create_future()
        self.plugged: Callable[[], Awaitable[Any]] = self._connected
        for one in (self.visitor, self.port):
            one.setblocking(False)
        monkeypatch.setattr(shell_group, "started", self._started)
        monkeypatch.setattr(shell_group, "plugged_in", self._plugged_in)
        monkeypatch.setattr(shell_group, "END_SECONDS", 0.2)
        monkeypatch.setattr(shell_group, "REPORT_SECONDS", 0.1)

    @contextlib.asynccontextmanager
    async def _started(self, *_unused: Any, on_output: Callable[[bytes], Any], **_more: Any) -> AsyncIterator[Any]:
        self.says = on_output
        machine = SimpleNamespace(unheard=self.unheard, ended=self.vm_ended, control=None)
        yield SimpleNamespace(machine=machine, exit_status=self.exit_status)

    async def _connected(self) -> Any:
        return await asyncio.open_connection(sock=self._ours)

    @contextlib.asynccontextmanager
    async def _plugged_in(self, *_unused: Any) -> AsyncIterator[Any]:
        reader, writer = await self.plugged()
        try:
            yield reader, writer
        finally:
            writer.close()

    async def began(self) -> "asyncio.Task[None]":
        """Let the visitor in; gives the visit."""
        session = shell_group.session_of(UNUSED, UNUSED, UNUSED, self.told.append)
        task = asyncio.create_task(self._visited(session))
        assert await self.reads(self.visitor, len(OPEN)) == OPEN
        return task

    async def _visited(self, session: Callable[..., Awaitable[None]]) -> None:
        reader, writer = await asyncio.open_connection(sock=self._door)
        try:
            await session(reader, writer)
        finally:
            writer.close()

    async def reads(self, side: socket.socket, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(side, count)

    async def passes(self, source: socket.socket, sink: socket.socket, content: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(source, content)
        assert await self.reads(sink, len(content)) == content

    async def is_over(self, task: "asyncio.Task[None]") -> str:
        """What was told of the visit, behind that somebody entered."""
        async with asyncio.timeout(PATIENCE):
            await task
        for one in (self.visitor, self.port, self._ours):  # ours is nobody else's where it was not plugged in
            one.close()
        assert self.told[0] == shell_group.ENTERED
        (last,) = self.told[1:]
        return last


@pytest.fixture
async def visit(monkeypatch: pytest.MonkeyPatch) -> Visit:
    return Visit(monkeypatch)


@pytest.mark.parametrize("how", ["leaves", "is killed", "is killed with something unread", "is killed while it reads"])
async def test_a_visitor_who_goes_has_left(visit: Visit, how: str) -> None:
    task = await visit.began()
    await visit.passes(visit.port, visit.visitor, b"SSH-2.0")
    if how == "leaves":
        visit.visitor.shutdown(socket.SHUT_WR)
    elif how == "is killed":
        visit.visitor.close()
    elif how == "is killed with something unread":
        await asyncio.get_running_loop().sock_sendall(visit.port, b"words")
        await the_first_of(visit.visitor)
        visit.visitor.close()
    else:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(0.3):
                await asyncio.get_running_loop().sock_sendall(visit.port, bytes(8 * 1024 * 1024))
        visit.visitor.close()
    assert await visit.is_over(task) == shell_group.LEFT


async def test_a_way_that_the_ssh_server_closed_was_left(visit: Visit) -> None:
    task = await visit.began()
    await visit.passes(visit.port, visit.visitor, b"SSH-2.0")
    visit.port.close()
    visit.vm_ended.set_result(Ended(0, ""))
    visit.exit_status.set_result(0)
    assert await visit.is_over(task) == shell_group.LEFT


async def test_a_way_that_the_ssh_server_closed_was_left_with_letters_unread(visit: Visit) -> None:
    task = await visit.began()
    await visit.passes(visit.port, visit.visitor, b"SSH-2.0")
    await asyncio.get_running_loop().sock_sendall(visit.visitor, b"letters")
    await the_first_of(visit.port)
    visit.port.close()
    visit.vm_ended.set_result(Ended(0, ""))
    visit.exit_status.set_result(0)
    assert await visit.is_over(task) == shell_group.LEFT


async def the_first_of(side: socket.socket) -> None:
    """Wait until there is something to read, and leave it unread."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(BlockingIOError):
                side.recv(1, socket.MSG_PEEK)
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("has_led", [True, False])
@pytest.mark.parametrize("is_unread", [True, False])
async def test_a_group_that_is_killed_is_told_with_its_status(visit: Visit, has_led: bool, is_unread: bool) -> None:
    task = await visit.began()
    if has_led:
        await visit.passes(visit.port, visit.visitor, b"SSH-2.0")
    if is_unread:
        await asyncio.get_running_loop().sock_sendall(visit.visitor, b"letters")
        await the_first_of(visit.port)
    visit.port.close()
    visit.vm_ended.set_result(Ended(-9, ""))
    how = "the way into the VM broke off" if has_led else "no way led into the VM"
    assert await visit.is_over(task) == f"{shell_group.LEFT}: {how}: its container group ended (status -9)"


async def test_a_group_that_dies_while_it_is_sent_to_is_told(visit: Visit) -> None:
    task = await visit.began()
    await visit.passes(visit.port, visit.visitor, b"SSH-2.0")
    sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(visit.visitor, bytes(16 * 1024 * 1024)))
    await asyncio.sleep(0.2)  # until nothing more fits between them
    visit.port.close()
    visit.vm_ended.set_result(Ended(-11, "oh"))
    with contextlib.suppress(OSError):
        await sending
    assert await visit.is_over(task) == (
        f"{shell_group.LEFT}: the way into the VM broke off: its container group ended (status -11) oh"
    )


async def test_what_the_program_of_the_way_says_is_the_reason(visit: Visit) -> None:
    task = await visit.began()
    visit.says(b"connect: Connection refused\n")
    visit.port.close()
    visit.vm_ended.set_result(Ended(0, ""))
    visit.exit_status.set_result(111)
    assert await visit.is_over(task) == f"{shell_group.LEFT}: no way led into the VM: connect: Connection refused"


async def test_a_group_that_tells_too_much_ends_the_visit_with_that(visit: Visit) -> None:
    task = await visit.began()
    visit.unheard.set_result(NotBelieved("it told too much"))
    assert await visit.is_over(task) == f"{shell_group.LEFT}: it told too much"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (QMPError("it is gone"), "no way leads into the VM: it is gone"),
        (BrokenPipeError(32, "Broken pipe"), "no way leads into the VM: [Errno 32] Broken pipe"),
        (TimeoutError(), "no way leads into the VM: QEMU does not answer"),
        (ZeroDivisionError(), "something went wrong that was not foreseen (ZeroDivisionError)"),
    ],
)
async def test_a_port_that_cannot_be_plugged_in_is_told(visit: Visit, error: Exception, said: str) -> None:
    async def fails() -> Any:
        raise error

    visit.plugged = fails
    assert await visit.is_over(await visit.began()) == f"{shell_group.LEFT}: {said}"


async def test_a_qemu_that_answers_nothing_is_not_plugged_in_for_ever(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_group, "PLUG_SECONDS", 0.05)
    visit.plugged = asyncio.Event().wait
    told = await visit.is_over(await visit.began())
    assert told == f"{shell_group.LEFT}: no way leads into the VM: QEMU does not answer"


class Gone(QMPClient):
    """A QEMU that ended just now, before its client knows."""

    def __init__(self, error: Exception) -> None:
        super().__init__("gone")
        self._error = error

    def send_fd_scm(self, fd: int) -> None:  # noqa: ARG002
        raise self._error


@pytest.mark.parametrize("error", [AssertionError(), BrokenPipeError(32, "Broken pipe"), QMPError("it is gone")])
async def test_a_qemu_that_takes_no_file_any_more_is_one_error(error: Exception, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(QMPError, match=r"has ended|Broken pipe|it is gone"):
        hand_over(Gone(error), file.fileno())
    with pytest.raises(QMPError):
        async with late_port.plugged_in(Gone(error), "port"):
            pass
