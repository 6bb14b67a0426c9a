"""The resolver's decisions: what is passed on, what is refused, and its limits."""

import asyncio
from dataclasses import dataclass, field

import pytest

from vmkiln.host.egress import dns_message, resolver_program
from vmkiln.host.egress.dns_message import Question
from vmkiln.host.egress.egress_policy import OPEN_EGRESS, AllowedName, EgressMode, EgressPolicy
from vmkiln.host.egress.resolver_program import (
    MOST_AT_ONCE,
    MOST_IN_A_BURST,
    MOST_QUESTION_BYTES,
    Connections,
    Resolver,
    Told,
    Upstream,
)


def question(name: str = "deb.debian.org", kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x67\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + kind.to_bytes(2) + b"\0\1"


class Server(Upstream):
    """Who answers: with one address, when it may."""

    def __init__(self) -> None:
        super().__init__("192.0.2.1")
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()

    async def ask(self, question: Question) -> bytes:
        self.asked.append(question.name)
        await self.may_answer.wait()
        head = b"\0\1\x81\x80\0\1\0\1\0\0\0\0"
        return head + question.wire + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\x0a"


@dataclass
class Scene:
    """A resolver with who answers, and what it told."""

    policy: EgressPolicy = OPEN_EGRESS
    server: Server = field(default_factory=Server)
    told: list[Told] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.resolver = Resolver([self.server], self.policy, self.told.append)

    async def ask(self, message: bytes) -> str:
        """The code of the answer; '' for none."""
        answer = await self.resolver.answer(message, "10.0.1.4", most_bytes=512)
        return "" if answer is None else dns_message.answer_of(answer).code_name


async def test_a_question_is_passed_on_and_told() -> None:
    scene = Scene()
    scene.server.may_answer.set()
    assert await scene.ask(question()) == "NOERROR"
    [told] = scene.told
    assert (told.name, told.kind, told.addresses, told.verdict) == ("deb.debian.org", "A", ("203.0.113.10",), "allowed")


@pytest.mark.parametrize(
    ("name", "kind", "code", "asked"),
    [
        ("deb.debian.org", 1, "NOERROR", True),
        ("deb.debian.org", 28, "NOERROR", False),
        ("deb.debian.org", 16, "REFUSED", False),
        ("deb.debian.org", 65, "REFUSED", False),
        ("secret.tunnel.example", 1, "REFUSED", False),
    ],
)
async def test_in_a_locked_run_only_addresses_of_allowed_names_are_asked(
    name: str, kind: int, code: str, asked: bool
) -> None:
    scene = Scene(policy=EgressPolicy(EgressMode.ALLOW_LIST, ((AllowedName("*.debian.org"),),)))
    scene.server.may_answer.set()
    assert await scene.ask(question(name, kind)) == code
    assert (scene.server.asked == [name]) is asked
    assert scene.told[0].verdict.startswith("refused: by the egress policy" if code == "REFUSED" else "allowed")


async def test_questions_that_wait_are_few() -> None:
    scene = Scene()
    waiting = [asyncio.create_task(scene.ask(question())) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0)
    assert await scene.ask(question()) == "REFUSED"
    scene.server.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {"NOERROR"}
    assert await scene.ask(question()) == "NOERROR"


async def test_a_flood_is_refused_beyond_its_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(resolver_program.time, "monotonic", lambda: now)
    scene = Scene()
    scene.server.may_answer.set()
    codes = [await scene.ask(question()) for _ in range(MOST_IN_A_BURST + 1)]
    assert codes.count("REFUSED") == 1
    now += 1
    assert await scene.ask(question()) == "NOERROR"


async def test_a_flood_is_told_once_a_second_with_how_many_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is read by the service, between the lines of all other runs."""
    now = 100.0
    monkeypatch.setattr(resolver_program.time, "monotonic", lambda: now)
    scene = Scene()
    scene.server.may_answer.set()
    for _ in range(2):
        codes = [await scene.ask(question()) for _ in range(MOST_IN_A_BURST + 50)]
        assert codes.count("REFUSED") >= 50
        now += resolver_program.TOO_MANY_TOLD_SECONDS
    refused = [told.verdict for told in scene.told if told.verdict != "allowed"]
    assert refused == [
        "refused: too many questions at once",
        "refused: too many questions at once, and 49 more before",
    ]


async def test_a_question_that_is_too_long_is_not_read() -> None:
    scene = Scene()
    assert await scene.ask(question() + bytes(MOST_QUESTION_BYTES)) == "FORMERR"
    assert await scene.ask(b"noise") == ""
    assert scene.told == []


def by_tcp(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


async def test_a_guest_has_so_many_connections_and_questions_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_program, "MOST_CONNECTIONS", 2)
    monkeypatch.setattr(resolver_program, "MOST_OF_A_CONNECTION", 3)
    scene = Scene()
    scene.server.may_answer.set()
    server = await asyncio.start_server(Connections(scene.resolver).serve, "127.0.0.1", 0)
    async with asyncio.timeout(60), server:
        port = server.sockets[0].getsockname()[1]
        places = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in places:  # both are answered, and so there
            writer.write(by_tcp(question()))
            await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
        beyond, last = await asyncio.open_connection("127.0.0.1", port)
        assert await beyond.read() == b""
        reader, writer = places[0]
        writer.write(by_tcp(question()) * 5)
        answers = await reader.read()
        assert len(scene.server.asked) == 4, "one of each, and two more"
        assert answers.count(question()[12:]) == 2
        for closing in (last, *(writer for _, writer in places)):
            closing.close()


async def test_who_gets_no_answer_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_program, "UPSTREAM_SECONDS", 0.01)
    upstream = Upstream("192.0.2.1")
    upstream.connection_made(Sender())
    told: list[Told] = []
    resolver = Resolver([upstream], OPEN_EGRESS, told.append)
    answer = await resolver.answer(question(), "10.0.1.4", most_bytes=512)
    assert dns_message.answer_of(answer or b"").code_name == "SERVFAIL"
    assert told[0].code == ""


class Sender:
    """A socket that keeps what it sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendto(self, data: bytes, _address: tuple[str, int]) -> None:
        self.sent.append(data)


@pytest.mark.parametrize(
    ("address", "is_changed", "counts"),
    [(("192.0.2.1", 53), False, True), (("192.0.2.2", 53), False, False), (("192.0.2.1", 53), True, False)],
)
async def test_only_who_was_asked_answers_and_only_what(
    address: tuple[str, int], is_changed: bool, counts: bool
) -> None:
    upstream, sender = Upstream("192.0.2.1"), Sender()
    upstream.connection_made(sender)
    asking = asyncio.create_task(upstream.ask(dns_message.parse_question(question())))
    await asyncio.sleep(0)
    answer = sender.sent[0][:2] + b"\x81\x80\0\1\0\0\0\0\0\0" + question()[12:]
    upstream.datagram_received(b"", address)
    upstream.datagram_received(answer.replace(b"debian", b"debien") if is_changed else answer, address)
    await asyncio.sleep(0)
    assert asking.done() is counts
    asking.cancel()
