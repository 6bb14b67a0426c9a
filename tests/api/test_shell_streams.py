"""Two who dial in are brought together once, each with a token of its own; whatever ends one of them ends both."""

import asyncio
import contextlib
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from certificates import a_certificate
from loop_thread import in_a_thread
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from vmkiln.api.builds.shell_streams import with_shells
from vmkiln.api.shells.meetings import MOST_OF_A_CALLER, MOST_SHELLS, WAITING_SECONDS, Asked, Meetings
from vmkiln.errors import ArmError
from vmkiln.listener import Address, bound, serve
from vmkiln.listening import http_connection
from vmkiln.listening.http_connection import Phase
from vmkiln.shells.order import path_of
from vmkiln.shells.stream import Stream, opened

MIB = 1024**2
RUN = "0123abcd-0000-0000-0000-000000000000"
PATIENCE = 60


@dataclass
class Served:
    """A service with shells; `may` is what its visitors may, `later` how far its clock is ahead.

    `taken_back` are the shells that no host is asked for any more.
    """

    port: int
    trusted: ssl.SSLContext
    may: list[bool] = field(default_factory=lambda: [True])
    later: float = 0.0
    taken_back: list[str] = field(default_factory=list)
    meetings: Meetings = field(init=False)

    def __post_init__(self) -> None:
        self.meetings = Meetings(clock=lambda: time.monotonic() + self.later)

    def ask(self, caller: str = "ann", seconds: float = 3600) -> Asked:
        return self.meetings.ask(RUN, caller=caller, seconds=seconds, may_still=lambda: self.may[0])

    def come(self, asked: Asked, token: str) -> contextlib.AbstractAsyncContextManager[Stream]:
        return opened(f"https://127.0.0.1:{self.port}", path_of(asked.shell.shell_id), token, self.trusted)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_at(tmp_path) as (found, _):
        yield found


@contextlib.contextmanager
def served_at(directory: Path) -> Iterator[tuple[Served, contextlib.ExitStack]]:
    """Such a service; it ends with the stack."""
    certificate, key = a_certificate(directory)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(bound(Address("127.0.0.1", 0)))
        found = Served(listening.getsockname()[1], ssl.create_default_context(cafile=certificate))

        async def main(is_ready: Callable[[], None]) -> None:
            async def on_ready() -> None:
                is_ready()

            application = with_shells(hello, found.meetings, found.taken_back.append, rights_seconds=0.1)
            await serve(application, listening, certificate=certificate, key=key, on_ready=on_ready)

        stack.enter_context(in_a_thread(main))
        yield found, stack


@contextlib.asynccontextmanager
async def met(served: Served, asked: Asked) -> AsyncIterator[tuple[Stream, Stream]]:
    """A visitor and a host, brought together."""
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        coming = [
            asyncio.create_task(stack.enter_async_context(served.come(asked, token)))
            for token in (asked.visitors_token, asked.hosts_token)
        ]
        visitor, host = await asyncio.gather(*coming)
        yield visitor, host


async def ends(stream: Stream) -> None:
    """Read until its end, however that comes."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while await stream.read():
                pass


async def settled(served: Served) -> None:
    """Nobody is waited for or in any more."""
    async with asyncio.timeout(PATIENCE):
        while len(served.meetings):  # noqa: ASYNC110 (the service is in another thread)
            await asyncio.sleep(0.02)


async def refused(served: Served, asked: Asked, token: str) -> str:
    """The code with which somebody is refused."""
    with pytest.raises(ArmError) as found:
        async with served.come(asked, token):
            pass
    return found.value.code


async def test_what_either_sends_the_other_gets_whole_and_in_order(served: Served) -> None:
    there, back = os.urandom(3 * MIB), os.urandom(2 * MIB)
    async with met(served, served.ask()) as (visitor, host):
        await host.say(tell="it wakes")
        assert await visitor.line() == {"tell": "it wakes"}

        async def sent(stream: Stream, content: bytes) -> None:
            await stream.write(content)

        async def got(stream: Stream, size: int) -> bytes:
            found = bytearray()
            while len(found) < size:
                found += await stream.read()
            return bytes(found)

        results = await asyncio.gather(
            sent(visitor, there), sent(host, back), got(host, len(there)), got(visitor, len(back))
        )
        assert results[2:] == [there, back]
    await settled(served)


async def test_a_body_that_is_slow_is_let_be_only_with_a_token(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "_LIMITS", dict.fromkeys((Phase.BODY, Phase.REST), 0.3))
    async with met(served, served.ask()) as (visitor, host):
        await asyncio.sleep(1)
        await visitor.write(b"still here")
        assert await host.read() == b"still here"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trusted)
    writer.write(b"POST /elsewhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
    writer.transport.abort()


async def test_each_token_lets_one_in_once(served: Served) -> None:
    asked = served.ask()
    async with met(served, asked) as (visitor, host):
        for token in (asked.visitors_token, asked.hosts_token):
            assert await refused(served, asked, token) == "ShellNotFound"
        await visitor.write(b"x")
        assert await host.read() == b"x", "who is in is left alone"
    await settled(served)
    assert await refused(served, asked, asked.visitors_token) == "ShellNotFound"


async def test_another_token_and_none_let_nobody_in(served: Served) -> None:
    asked, other = served.ask(), served.ask()
    for token in ("x", other.visitors_token, other.hosts_token, asked.visitors_token[:-1]):
        assert await refused(served, asked, token) == "ShellNotFound"
    async with met(served, asked):
        pass


async def test_nobody_is_let_in_when_the_minute_is_over(served: Served) -> None:
    asked = served.ask()
    served.later = WAITING_SECONDS + 1
    assert await refused(served, asked, asked.visitors_token) == "ShellNotFound"
    assert await refused(served, asked, asked.hosts_token) == "ShellNotFound"
    served.ask()
    assert len(served.meetings) == 1, "what nobody came to is forgotten"


async def test_who_waits_in_vain_is_told_for_whom(served: Served) -> None:
    asked, other = served.ask(), served.ask()
    served.later = WAITING_SECONDS - 1
    codes = await asyncio.gather(
        refused(served, asked, asked.visitors_token), refused(served, other, other.hosts_token)
    )
    assert codes == ["HostDidNotCome", "VisitorGone"]
    await settled(served)


@pytest.mark.parametrize("who", [0, 1])
async def test_when_one_vanishes_it_is_over_for_the_other(served: Served, who: int) -> None:
    async with met(served, served.ask()) as both:
        both[who]._writer.transport.abort()
        await ends(both[1 - who])
    await settled(served)


async def test_the_last_bytes_of_one_that_ends_in_order_arrive(served: Served) -> None:
    content = os.urandom(MIB)
    async with met(served, served.ask()) as (visitor, host):
        await asyncio.gather(host.write(content), host.end(), return_exceptions=False)
        found = bytearray()
        while chunk := await visitor.read():
            found += chunk
        assert bytes(found) == content
    await settled(served)


async def test_what_is_sent_behind_the_end_breaks_off_as_a_connection_does(served: Served) -> None:
    """What goes wrong while a VM is put on disk again is told by its own error, and by none of the protocol's."""
    async with met(served, served.ask()) as (_, host):
        await host.end()
        for again in (host.say(problem="x"), host.end()):
            with pytest.raises(ConnectionError):
                await again
    await settled(served)


async def test_a_visitor_who_goes_before_the_host_is_not_met(served: Served) -> None:
    asked = served.ask()
    waiting = asyncio.create_task(refused(served, asked, asked.visitors_token))
    while not asked.shell.pumps:  # noqa: ASYNC110 (there, too)
        await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await settled(served)
    assert await refused(served, asked, asked.hosts_token) == "ShellNotFound"
    assert served.taken_back == [asked.shell.shell_id], "or a visitor who comes and goes leaves rows without a limit"


async def test_a_right_that_is_lost_ends_the_shell(served: Served) -> None:
    async with met(served, served.ask()) as (visitor, host):
        await visitor.write(b"x")
        assert await host.read() == b"x"
        served.may[0] = False
        await asyncio.gather(ends(visitor), ends(host))
    await settled(served)
    asked = served.ask()
    assert await refused(served, asked, asked.visitors_token) == "ShellNotFound", "nor does it begin"


async def test_the_end_of_the_vms_time_ends_the_shell(served: Served) -> None:
    async with met(served, served.ask(seconds=100)) as (visitor, host):
        served.later = 1000
        await asyncio.gather(ends(visitor), ends(host))
    await settled(served)


async def test_the_end_of_the_service_ends_the_shell(tmp_path: Path) -> None:
    with served_at(tmp_path) as (served, stack):
        async with met(served, served.ask()) as (visitor, host):
            began = time.monotonic()
            closing = asyncio.create_task(asyncio.to_thread(stack.close))
            await asyncio.gather(ends(visitor), ends(host))
            assert time.monotonic() - began < http_connection.HEAD_SECONDS, "it does not wait for them"
            await closing


def test_so_many_are_waited_for_and_a_caller_has_a_part_of_it(served: Served) -> None:
    """Twenty ask: the first are waited for, the others are told to come again."""
    for _ in range(MOST_OF_A_CALLER):
        served.ask("ann")
    with pytest.raises(ArmError) as own:
        served.ask("ann")
    assert (own.value.status, own.value.code) == (429, "TooManyShells")
    for number in range(20 - MOST_OF_A_CALLER):
        with contextlib.suppress(ArmError):
            served.ask(f"caller {number}")
    assert len(served.meetings) == MOST_SHELLS
    with pytest.raises(ArmError) as all_:
        served.ask("ben")
    assert all_.value.headers["Retry-After"]
    served.later = WAITING_SECONDS + 1
    served.ask("ben")
    assert len(served.meetings) == 1


async def test_a_slow_reader_makes_the_other_side_wait_and_costs_no_memory(served: Served) -> None:
    async with met(served, served.ask()) as (visitor, host):
        sent, before = 0, resident_bytes()

        async def flood() -> None:
            nonlocal sent
            while True:
                await host.write(bytes(65_536))
                sent += 65_536

        flooding = asyncio.create_task(flood())
        seen = -1
        while seen != sent:  # until it stands still
            seen = sent
            await asyncio.sleep(0.5)
        assert sent < 32 * MIB, "what the kernel takes of both connections is not without an end"
        assert resident_bytes() - before < 8 * MIB
        found = 0
        while found <= seen:
            found += len(await visitor.read())
        assert sent > seen, "it goes on when it is read"
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
    await settled(served)


def resident_bytes() -> int:
    """The memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("GET /x", b"hello"),
        (f"GET {path_of('x')}", b"UnsupportedHttpMethod"),
        (f"POST {path_of('x')}", b"ShellNotFound"),  # without a token
    ],
)
async def test_what_is_no_shell_is_left_to_the_others(served: Served, line: str, wanted: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.trusted)
    try:
        writer.write(f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert wanted in body
        if wanted != b"hello":
            assert json.loads(body)["error"]["code"] == wanted.decode()
            assert b"strict-transport-security" in head.lower()
    finally:
        writer.transport.abort()
