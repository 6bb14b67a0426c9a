"""The name proxy: takes every TCP connection of a locked run's guest, and joins it to the server that it names.

It runs in a jail in the run's network, where the firewall turns the guest's connections to it. It reads the name from
the first bytes (TLS: server name; HTTP: host), asks the policy about that name and the port that the guest chose, asks
the resolver for the name's addresses by itself, and connects there: never to the address that the guest chose. What it
cannot name it refuses. Each connection is told as one JSON line on standard output. Without this process nothing
passes: the firewall has no other way out.

Called as `main()`; its arguments, joined, are its `Orders` as JSON. Needs the standard library alone.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field

from vmkiln.host.egress import dns_message
from vmkiln.host.egress.client_hello import HANDSHAKE, MOST_HELLO_BYTES, NotNamed, server_name
from vmkiln.host.egress.dns_message import NotDns
from vmkiln.host.egress.egress_policy import EgressPolicy
from vmkiln.host.egress.http_request import NotHttp, Request, read_request

MOST_CONNECTIONS = 256
MOST_LINES = 20_000  # told of one run; a last one says that there were more
HELLO_SECONDS = 10.0
ASK_SECONDS = 3.0
ASK_TRIES = 3
MOST_ADDRESSES = 8  # of a name that are tried
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 600.0
PIECE_BYTES = 64 * 1024
SO_ORIGINAL_DST = 80
TLS_REFUSAL = bytes((21, 3, 3, 0, 2, 2, 49))  # an alert: fatal, access denied (RFC 8446 6)
LETTERS_TOLD = 300
NAME_PORT = 53
READY = "ready"
NOT_ALLOWED = "refused: not allowed by the egress policy"


@dataclass(frozen=True)
class Orders:
    """What the proxy is told: the port it listens on, who answers names (IPv4), what is allowed."""

    port: int
    resolver: str
    policy: EgressPolicy

    def text(self) -> str:
        """For its argument list."""
        return json.dumps({"port": self.port, "resolver": self.resolver, "policy": self.policy.described()})

    @classmethod
    def read(cls, text: str) -> "Orders":
        """What `text` gave."""
        found = json.loads(text)
        return cls(found["port"], found["resolver"], EgressPolicy.read(found["policy"]))


@dataclass(frozen=True)
class Passage:
    """A connection of the guest, told at its end.

    `time` is when it began, in seconds since 1970; `name` what it named, `chosen` the address that it chose, `address`
    the one that it was joined to ('' for none); bytes are the guest's out and in, `verdict` what became of it.
    """

    time: float
    name: str
    chosen: str
    address: str
    port: int
    bytes_out: int
    bytes_in: int
    verdict: str


class Refused(Exception):
    """A connection that is not made; says why."""


@dataclass
class Talk:
    """One connection of the guest: where it wanted to go, what it named, what passed."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chosen: str
    port: int
    name: str = ""
    address: str = ""
    is_tls: bool = False
    bytes_out: int = 0
    bytes_in: int = 0
    begun: float = field(default_factory=time.time)


class NameProxy:
    """Serves the guest's connections with one policy."""

    def __init__(self, policy: EgressPolicy, resolver: tuple[str, int]) -> None:
        self._policy = policy
        self._resolver = resolver
        self._open = 0
        self._told = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its record."""
        talk = Talk(reader, writer, *_chosen(writer))
        self._open += 1
        verdict = "allowed"
        try:
            if self._open > MOST_CONNECTIONS:
                raise Refused(f"refused: more than {MOST_CONNECTIONS} connections at once")
            await self._joined(talk)
        except Refused as error:
            verdict = str(error)
            with contextlib.suppress(OSError):
                writer.write(_refusal(talk, verdict))
                async with asyncio.timeout(1):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            verdict = f"allowed; it broke: {str(error) or type(error).__name__}"
        except Exception as error:  # the guest's bytes led to it; it costs this connection and no other
            verdict = f"refused: {error!r}"
        finally:
            self._open -= 1
            with contextlib.suppress(OSError):
                writer.close()
            self._tell(talk, verdict)

    async def _joined(self, talk: Talk) -> None:
        """Name the server, ask the policy, connect, and pass on until both ends are done. Raises: `Refused`."""
        first, request = await _named(talk)
        if request is not None and request.port not in (0, talk.port):
            raise Refused(f"refused: it names port {request.port} on port {talk.port}")
        if not self._policy.allows(talk.name, talk.port):
            raise Refused(NOT_ALLOWED)
        server_reader, server_writer = await self._connected(talk)
        try:
            if talk.is_tls:
                outward = self._passed_on(talk, first, server_writer)
            else:
                outward = self._requests_passed_on(talk, first, server_writer)
            inward = asyncio.create_task(_answers_passed_on(talk, server_reader))
            outgoing = asyncio.create_task(outward)
            try:
                await asyncio.wait([outgoing, inward], return_when=asyncio.FIRST_COMPLETED)
                if outgoing.done() and outgoing.exception() is None:
                    await asyncio.wait([inward], timeout=IDLE_SECONDS)  # the guest has said all; the answer goes on
            finally:
                for task in (outgoing, inward):
                    task.cancel()
                ends = await asyncio.gather(outgoing, inward, return_exceptions=True)
            for end in ends:
                if isinstance(end, Refused | OSError | TimeoutError):
                    raise end
        finally:
            server_writer.close()

    async def _passed_on(self, talk: Talk, data: bytes, server: asyncio.StreamWriter) -> None:
        """What the guest says, to the server."""
        while data:
            talk.bytes_out += await _sent(server, data)
            data = await _more(talk.reader)
        with contextlib.suppress(OSError):
            server.write_eof()

    async def _requests_passed_on(self, talk: Talk, data: bytes, server: asyncio.StreamWriter) -> None:
        """Every HTTP request of the guest, each read before it passes. Raises: `Refused` for one to another host."""
        while True:
            request, data = await _next_request(talk, data)
            if request is None:
                break
            if request.name != talk.name or request.port not in (0, talk.port):
                raise Refused(f"refused: a later request names {request.name}")
            left = request.head_bytes + request.body_bytes
            while left:
                piece, data = data[:left], data[left:]
                talk.bytes_out += await _sent(server, piece)
                left -= len(piece)
                if left and not data and not (data := await _more(talk.reader)):
                    return
        with contextlib.suppress(OSError):
            server.write_eof()

    async def _connected(self, talk: Talk) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server, at an address that the name has. Raises: `Refused`."""
        last = "its name has no IPv4 address"
        for address in (await self._asked(talk.name))[:MOST_ADDRESSES]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    streams = await asyncio.open_connection(address, talk.port)
            except (OSError, TimeoutError) as error:
                last = f"{address}: {str(error) or 'no answer'}"
                continue
            talk.address = address
            return streams
        raise Refused(f"not reached: {last}")

    async def _asked(self, name: str) -> tuple[str, ...]:
        """The addresses of a name, as the resolver has them now. Raises: `Refused`."""
        loop = asyncio.get_running_loop()
        question = dns_message.question_for(name, number=secrets.randbelow(65536))
        for _ in range(ASK_TRIES):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as plug:
                try:
                    async with asyncio.timeout(ASK_SECONDS):
                        plug.connect(self._resolver)
                        await loop.sock_sendall(plug, dns_message.asking(question, question.number))
                        answer = await loop.sock_recv(plug, PIECE_BYTES)
                    if answer[:2] != question.number.to_bytes(2) or not dns_message.is_answer_to(answer, question):
                        continue  # nobody who has not seen the question knows its number
                    found = dns_message.answer_of(answer)
                except (OSError, TimeoutError, NotDns):
                    continue
            if found.code:
                raise Refused(f"not reached: the resolver says {found.code_name}")
            return tuple(address for address in found.addresses if ":" not in address)
        raise Refused("not reached: the resolver does not answer")

    def _tell(self, talk: Talk, verdict: str) -> None:
        """One line of a connection's end."""
        self._told += 1
        if self._told > MOST_LINES:
            return
        if self._told == MOST_LINES:
            verdict = f"more than {MOST_LINES} connections; no more are told"
            told = Passage(time.time(), "", "", "", 0, 0, 0, verdict)
        else:
            sizes = talk.bytes_out, talk.bytes_in
            told = Passage(talk.begun, talk.name, talk.chosen, talk.address, talk.port, *sizes, verdict[:LETTERS_TOLD])
        sys.stdout.write(json.dumps(asdict(told)) + "\n")
        sys.stdout.flush()


async def _more(reader: asyncio.StreamReader) -> bytes:
    """What came next; nothing at the end. Raises: `TimeoutError`.

    Not by `wait_for`, which may swallow a cancel that comes with the bytes.
    """
    async with asyncio.timeout(IDLE_SECONDS):
        return await reader.read(PIECE_BYTES)


async def _sent(writer: asyncio.StreamWriter, data: bytes) -> int:
    """Send bytes, once the other end takes them; how many they were. Raises: `OSError`, `TimeoutError`."""
    writer.write(data)
    async with asyncio.timeout(IDLE_SECONDS):
        await writer.drain()
    return len(data)


async def _named(talk: Talk) -> tuple[bytes, Request | None]:
    """The first bytes, once the server's name is known by them. Raises: `Refused`."""
    data = b""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            while True:
                piece = await talk.reader.read(MOST_HELLO_BYTES)
                if not piece:
                    raise Refused("refused: it said nothing that names a server")
                data += piece
                talk.is_tls = data[0] == HANDSHAKE
                if talk.is_tls:
                    if name := server_name(data):
                        talk.name = name
                        return data, None
                elif request := read_request(data):
                    talk.name = request.name
                    return data, request
    except TimeoutError as error:
        raise Refused(f"refused: it named no server within {HELLO_SECONDS:g} s") from error
    except (NotNamed, NotHttp) as error:
        raise Refused(f"refused: {error}") from error


async def _next_request(talk: Talk, data: bytes) -> tuple[Request | None, bytes]:
    """The next request, with the bytes that begin with it; None when the guest is done. Raises: `Refused`."""
    try:
        while not data or (request := read_request(data)) is None:
            if not (piece := await _more(talk.reader)):
                return None, b""
            data += piece
    except NotHttp as error:
        raise Refused(f"refused: {error}") from error
    return request, data


async def _answers_passed_on(talk: Talk, server: asyncio.StreamReader) -> None:
    """What the server says, to the guest."""
    while data := await _more(server):
        talk.bytes_in += await _sent(talk.writer, data)
    with contextlib.suppress(OSError):
        talk.writer.write_eof()


def _refusal(talk: Talk, verdict: str) -> bytes:
    """What a refused guest is told, in its own protocol: who reads its log learns why."""
    if talk.is_tls:
        return TLS_REFUSAL
    if talk.bytes_in:
        return b""
    text = f"{talk.name or 'no name'}:{talk.port}: {verdict} (vmkiln)\n".encode("ascii", errors="replace")
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode() + text if talk.name else b""


def _chosen(writer: asyncio.StreamWriter) -> tuple[str, int]:
    """The address and port that the guest chose, before the firewall turned the connection here."""
    plug = writer.get_extra_info("socket")
    try:
        _, port, packed = struct.unpack("!HH4s8x", plug.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
    except OSError:
        return "", 0  # it came by no rule of the firewall's; no policy allows port 0
    return socket.inet_ntoa(packed), port


async def _serve(port: int, proxy: NameProxy) -> None:
    everywhere = "0.0.0.0"  # noqa: S104 (the firewall lets in only what it turned here itself)
    server = await asyncio.start_server(proxy.serve, everywhere, port, backlog=MOST_CONNECTIONS, limit=PIECE_BYTES)
    async with server:
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    orders = Orders.read("".join(sys.argv[1:]))
    asyncio.run(_serve(orders.port, NameProxy(orders.policy, (orders.resolver, NAME_PORT))))
