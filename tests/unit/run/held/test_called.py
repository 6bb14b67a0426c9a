"""The holding host gives a visitor the sealed key and the way, and says why when it cannot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import HostUnfit, InputError, StorageFailed
from vmkiln.run.held import called, door
from vmkiln.shells import stream
from vmkiln.shells.order import Meeting, Order
from vmkiln.shells.sealed_key import VisitorKey

PATIENCE = 60


class Way:
    """A stand-in for the way: what the visitor sends, and what they were sent."""

    def __init__(self) -> None:
        self.arriving: asyncio.Queue[bytes] = asyncio.Queue()
        self.said: list[dict[str, str]] = []
        self.sent = b""
        self.has_ended = False

    async def read(self) -> bytes:
        return await self.arriving.get()

    async def write(self, content: bytes) -> None:
        self.sent += content

    async def say(self, **words: str) -> None:
        self.said.append(words)

    async def end(self) -> None:
        self.has_ended = True


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    found = Way()

    @contextlib.asynccontextmanager
    async def opened(*arguments: Any) -> AsyncIterator[Way]:
        assert arguments[0] == "https://localhost"
        yield found

    monkeypatch.setattr(stream, "opened", opened)
    return found


@contextlib.asynccontextmanager
async def no_host() -> AsyncIterator[Any]:
    yield None


def an_order(visitor: VisitorKey | None = None) -> Order:
    return Order("id", "run", Meeting("https://localhost"), "token", visitor.public if visitor else "x")


def woken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a VM be woken that answers in capitals; gives what becomes of it."""
    seen: list[str] = []

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(door.OPEN)
        while chunk := await reader.read(100):
            writer.write(chunk.upper())
            await writer.drain()
            if chunk == b"bye":
                return

    async def visited(
        _host: Any, _run: str, visit: Callable[[Path], Coroutine[Any, Any, int]], _tell: Callable[[str], None]
    ) -> int:
        async with door.opened(folder, private_key="the key", session=session):
            status = await visit(folder)
        seen.append("put back")
        return status

    monkeypatch.setattr(called, "visited", visited)
    return seen


@pytest.mark.parametrize("who", ["visitor", "VM"])
async def test_a_visitor_gets_the_key_and_then_the_way(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    seen, visitor = woken(tmp_path, monkeypatch), VisitorKey()
    visit = asyncio.create_task(called.called(an_order(visitor), no_host))
    async with asyncio.timeout(PATIENCE):
        while len(way.said) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert way.said[0] == {"tell": called.WAKES}
        assert visitor.opened(way.said[1]["key"]) == "the key"
        await way.arriving.put(b"words")
        while way.sent != b"WORDS":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await way.arriving.put(b"" if who == "visitor" else b"bye")
        await visit
    assert (seen, way.has_ended) == (["put back"], True)
    assert list(tmp_path.iterdir()) == []


async def test_a_visitor_who_goes_first_ends_the_waking(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def visited(*_arguments: Any) -> int:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            seen.append("ended")
            raise
        return 0

    monkeypatch.setattr(called, "visited", visited)
    visit = asyncio.create_task(called.called(an_order(VisitorKey()), no_host))
    await asyncio.sleep(0.05)
    await way.arriving.put(b"")
    async with asyncio.timeout(PATIENCE):
        await visit
    assert seen == ["ended"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("somebody is in", hint="one at a time"), {"problem": "somebody is in", "hint": "one at a time"}),
        (HostUnfit("/var/lib/vmkiln is away"), {"problem": called.CANNOT, "hint": called.LOG_SAYS}),
        (OSError(28, "No space left", "/var/lib/vmkiln"), {"problem": called.CANNOT, "hint": called.LOG_SAYS}),
        (ZeroDivisionError(), {"problem": called.CANNOT, "hint": called.LOG_SAYS}),
    ],
)
async def test_a_visitor_is_told_why_and_nothing_of_the_hosts_paths(
    way: Way, monkeypatch: pytest.MonkeyPatch, error: Exception, said: dict[str, str]
) -> None:
    async def visited(*_arguments: Any) -> int:
        raise error

    monkeypatch.setattr(called, "visited", visited)
    with pytest.raises(type(error)):
        await called.called(an_order(VisitorKey()), no_host)
    assert way.said[1:] == [said]


async def test_a_key_that_is_none_lets_nobody_in(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    woken(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="key is none"):
        await called.called(an_order(), no_host)
    assert "key" not in {name for words in way.said for name in words}


async def test_a_door_that_does_not_open_is_told_before_ssh_reads(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken(tmp_path, monkeypatch)

    def shut(*_arguments: Any) -> Any:
        raise door.taken()

    monkeypatch.setattr(called, "knock", shut)
    with pytest.raises(InputError, match="somebody is in"):
        await called.called(an_order(VisitorKey()), no_host)
    assert [set(words) for words in way.said] == [{"tell"}, {"problem", "hint"}]


async def test_what_goes_wrong_behind_the_visit_is_not_said_to_ssh(
    way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken(tmp_path, monkeypatch)
    entered = called.visited

    async def visited(*arguments: Any) -> int:
        await entered(*arguments)
        raise StorageFailed("the disk is full")

    monkeypatch.setattr(called, "visited", visited)
    await way.arriving.put(b"bye")
    with pytest.raises(StorageFailed):
        await called.called(an_order(VisitorKey()), no_host)
    assert [set(words) for words in way.said] == [{"tell"}, {"key"}]
