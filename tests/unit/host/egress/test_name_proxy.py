"""The name proxy by itself: who is joined to whom, its limits, and what it tells; a stand-in tells what was chosen."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from vmkiln.host.egress import dns_message, name_proxy
from vmkiln.host.egress.egress_policy import EgressPolicy
from vmkiln.host.egress.name_proxy import NOT_ALLOWED, NameProxy, Orders, Passage
from vmkiln.host.egress.policy_text import checked_policy
from vmkiln.host.network.proxy import passage_of

GET = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n"


class Names(asyncio.DatagramProtocol):
    """Answers every question with one address; as somebody who has not seen it when it is forged."""

    is_forged = False

    def __init__(self, address: str) -> None:
        self.address = address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        question = dns_message.parse_question(data)
        packed = bytes(int(part) for part in self.address.split("."))
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + packed
        head = bytes([data[0], data[1] ^ self.is_forged]) + b"\x81\x80\0\1\0\1\0\0\0\0"
        self.transport.sendto(head + question.wire + record, address)  # type: ignore[attr-defined]


@dataclass
class Bench:
    """A proxy at a port, a web server, and what the proxy told."""

    port: int
    server_port: int
    told: list[Passage] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    async def say(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        writer.write_eof()
        with contextlib.closing(writer):
            return await asyncio.wait_for(reader.read(), 10)


@contextlib.asynccontextmanager
async def a_bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, address: str = "127.0.0.1"
) -> AsyncIterator[Bench]:
    heard: list[bytes] = []

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            heard.append(data)
            writer.write(b"answer")
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    server_port = server.sockets[0].getsockname()[1]
    policy: EgressPolicy = checked_policy([text.replace("PORT", str(server_port))], where="x")
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Names(address), local_addr=("127.0.0.1", 0)
    )
    monkeypatch.setattr(name_proxy, "_chosen", lambda _writer: ("198.51.100.9", server_port))
    proxy = NameProxy(policy, transport.get_extra_info("sockname"))
    serving = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    bench = Bench(serving.sockets[0].getsockname()[1], server_port, heard=heard)
    async with server, serving:
        yield bench
        for _ in range(200):
            lines = capsys.readouterr().out.splitlines()
            bench.told += [passage for line in lines if (passage := passage_of(line))]
            if bench.told:
                break
            await asyncio.sleep(0.01)
    transport.close()


async def test_an_allowed_host_is_joined_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_bench(monkeypatch, capsys, "good.example:PORT") as bench:
        assert await bench.say(GET) == b"answer"
    assert bench.heard == [GET]
    (told,) = bench.told
    assert (told.name, told.port, told.address, told.chosen) == (
        "good.example",
        bench.server_port,
        "127.0.0.1",
        "198.51.100.9",
    )
    assert (told.bytes_out, told.bytes_in, told.verdict) == (len(GET), 6, "allowed")


async def test_an_answer_with_another_number_leads_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Names, "is_forged", True)
    async with a_bench(monkeypatch, capsys, "good.example:PORT") as bench:
        assert await bench.say(GET) != b"answer"
    assert (bench.heard, bench.told[0].verdict) == ([], "not reached: the resolver does not answer")


@pytest.mark.parametrize(
    ("text", "said", "verdict"),
    [
        ("good.example:81", GET, NOT_ALLOWED),
        ("other.example:PORT", GET, NOT_ALLOWED),
        ("good.example:PORT", b"SSH-2.0-x\r\n", "refused: it speaks neither TLS nor HTTP"),
        ("good.example:PORT", b"GET / HT", "refused: it said nothing that names a server"),
        ("good.example:PORT", b"\x16\3\1\0\4\2\0\0\0", "refused: it does not begin with a ClientHello"),
        ("good.example:PORT", GET.replace(b"good.example", b"good.example:1"), "refused: it names port 1 on port"),
    ],
)
async def test_what_is_refused_reaches_no_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, said: bytes, verdict: str
) -> None:
    async with a_bench(monkeypatch, capsys, text) as bench:
        assert b"answer" not in await bench.say(said)
    assert bench.heard == []
    assert bench.told[0].verdict.startswith(verdict)


async def test_requests_behind_one_another_each_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = (
        b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 40\r\n\r\n"
        + b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n!!"
    )
    async with a_bench(monkeypatch, capsys, "good.example:PORT") as bench:
        await bench.say(body + GET + GET.replace(b"good", b"evil"))
    assert b"".join(bench.heard) == body + GET
    assert bench.told[0].verdict == "refused: a later request names evil.example"


async def test_a_silent_guest_is_sent_away(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(name_proxy, "HELLO_SECONDS", 0.05)
    async with a_bench(monkeypatch, capsys, "good.example:PORT") as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(b"GET ")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert "named no server within" in bench.told[0].verdict


async def test_more_connections_than_it_takes_are_sent_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(name_proxy, "MOST_CONNECTIONS", 2)
    async with a_bench(monkeypatch, capsys, "good.example:PORT") as bench:
        idle = [await asyncio.open_connection("127.0.0.1", bench.port) for _ in range(2)]
        await asyncio.sleep(0.05)
        try:
            assert await bench.say(GET) == b""
        except ConnectionResetError:
            pass  # what it said was not even read
        finally:
            for _, writer in idle:
                writer.close()
        await asyncio.sleep(0.05)
        assert await bench.say(GET) == b"answer"


async def test_a_server_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with a_bench(monkeypatch, capsys, "good.example:PORT", address="127.0.0.2") as bench:
        assert b"403" in await bench.say(GET)
    assert bench.told[0].verdict.startswith("not reached: 127.0.0.2: ")


async def test_what_it_tells_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(name_proxy, "MOST_LINES", 3)
    async with a_bench(monkeypatch, capsys, "other.example:PORT") as bench:
        for _ in range(6):
            await bench.say(GET)
    assert [told.verdict for told in bench.told] == [
        NOT_ALLOWED,
        NOT_ALLOWED,
        "more than 3 connections; no more are told",
    ]


def test_orders_are_read_as_they_were_written() -> None:
    orders = Orders(3128, "10.0.2.54", checked_policy(["a.example *.b.example:8443"], where="x"))
    assert Orders.read(orders.text()) == orders


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 2000},
        {"port": -1},
        {"port": True},
        {"time": "1"},
        {"time": 1e300},
        {"verdict": None},
        {"bytes_in": 1.5},
    ],
)
def test_what_only_somebody_else_would_tell_counts_for_nothing(change: dict[str, object]) -> None:
    report = {**vars(Passage(1.0, "a.example", "", "", 443, 0, 0, "allowed"))}
    assert passage_of(json.dumps(report)) is not None
    assert passage_of(json.dumps({**report, **change})) is None
    assert passage_of("[" * 100_000) is None
    assert passage_of("ready") is None
