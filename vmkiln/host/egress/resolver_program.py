"""The resolver of a run, as it runs in its jail: it takes the guests' questions, and passes them on or refuses them.

It is the only one that guests may ask. Each question is told as one line of JSON on standard output, with what became
of it, those beyond its limits together; who reads that is slow, then the guests wait. Standard library only, and a few
sockets towards the host's own resolver for good: a guest cannot make it take more of the host's ports.

Started as `main()` with its `Orders` as JSON in its one argument.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from vmkiln.host.egress import dns_message
from vmkiln.host.egress.dns_message import NotDns, Question
from vmkiln.host.egress.egress_policy import OPEN_EGRESS, EgressPolicy

PORT = 53
UPSTREAM_SECONDS = 5
IDLE_SECONDS = 10
UPSTREAM_SOCKETS = 8
MOST_AT_ONCE = 200  # questions that wait for an answer
MOST_CONNECTIONS = 32
MOST_OF_A_CONNECTION = 100  # questions
MOST_A_SECOND = 200
MOST_IN_A_BURST = 1000
MOST_QUESTION_BYTES = 512
MOST_ANSWER_BYTES = 4096
MOST_TOLD_ADDRESSES = 16
READY = "ready"
BY_POLICY = "by the egress policy"
TOO_MANY = "too many questions at once"
TOO_MANY_TOLD_SECONDS = 1.0  # between two reports of such questions: a guest asks as fast as it can


@dataclass(frozen=True)
class Orders:
    """What a resolver is told: where it listens, who answers (both of IPv4, in dotted form), what may be asked for."""

    listen: str
    upstream: str
    policy: EgressPolicy = OPEN_EGRESS

    def text(self) -> str:
        """For its argument list."""
        return json.dumps({"listen": self.listen, "upstream": self.upstream, "policy": self.policy.described()})

    @classmethod
    def read(cls, text: str) -> "Orders":
        """What `text` gave."""
        found = json.loads(text)
        return cls(found["listen"], found["upstream"], EgressPolicy.read(found["policy"]))


@dataclass(frozen=True)
class Told:
    """A question and what became of it. `time` is in seconds since 1970, `code` as DNS names it; '' without answer."""

    time: float
    client: str
    name: str
    kind: str
    code: str
    addresses: tuple[str, ...]
    verdict: str


class Upstream(asyncio.DatagramProtocol):
    """One socket towards who answers: each question gets a number that nobody can guess.

    It is not connected, for it is there before the way out is.
    """

    def __init__(self, address: str) -> None:
        self._address = (address, PORT)
        self._waiting: dict[int, tuple[Question, asyncio.Future[bytes]]] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        """The socket is there."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """An answer, if it is one to a question of ours."""
        question, future = self._waiting.get(int.from_bytes(data[:2]), (None, None))
        if question is None or future is None or address != self._address or future.done():
            return
        if dns_message.is_answer_to(data, question):
            future.set_result(data)

    async def ask(self, question: Question) -> bytes:
        """The answer. Raises: `TimeoutError`."""
        number = secrets.randbelow(65536)
        while number in self._waiting:  # at most MOST_AT_ONCE of them are taken
            number = secrets.randbelow(65536)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = question, future
        try:
            assert self._transport is not None  # made before anything is asked
            self._transport.sendto(dns_message.asking(question, number), self._address)
            async with asyncio.timeout(UPSTREAM_SECONDS):
                return await future
        finally:
            del self._waiting[number]


class Resolver:
    """Takes questions, within its limits."""

    def __init__(self, upstreams: list[Upstream], policy: EgressPolicy, tell: Callable[[Told], None]) -> None:
        self._upstreams = upstreams
        self._policy = policy
        self._tell = tell
        self._at_once = 0
        self._tokens = float(MOST_IN_A_BURST)
        self._filled = time.monotonic()
        self._told_too_many = float("-inf")
        self._untold = 0

    async def answer(self, message: bytes, client: str, *, most_bytes: int) -> bytes | None:
        """The answer to a message, None for what gets none."""
        word = self.first_word(message, client)
        return await self.passed_on(word, client, most_bytes=most_bytes) if isinstance(word, Question) else word

    def first_word(self, message: bytes, client: str) -> Question | bytes | None:
        """The answer to what is not passed on, None for what gets none; else the question, to be passed on."""
        try:
            if len(message) > MOST_QUESTION_BYTES:
                raise NotDns("a question that is too long")
            question = dns_message.parse_question(message)
        except NotDns:
            return dns_message.complaint(message)
        refusal = self._refusal(question)
        if refusal == TOO_MANY:
            self._said_too_many(question, client)
            return dns_message.own_answer(question, dns_message.REFUSED)
        if refusal or self._is_empty(question):
            code = dns_message.REFUSED if refusal else dns_message.NO_ERROR
            self._said(question, client, dns_message.CODES[code], (), f"refused: {refusal}" if refusal else "allowed")
            return dns_message.own_answer(question, code)
        self._at_once += 1
        return question

    def _refusal(self, question: Question) -> str:
        """Why a question is refused; '' when it is not."""
        now = time.monotonic()
        self._tokens = min(MOST_IN_A_BURST, self._tokens + (now - self._filled) * MOST_A_SECOND)
        self._filled = now
        if self._tokens < 1 or self._at_once >= MOST_AT_ONCE:
            return TOO_MANY
        self._tokens -= 1
        if self._policy.is_open:
            return ""
        if not self._policy.allows_name(question.name):
            return BY_POLICY
        # a question for anything else could carry what nobody allowed
        return "" if question.kind in {dns_message.A, dns_message.AAAA} else f"{BY_POLICY}, which has addresses only"

    def _is_empty(self, question: Question) -> bool:
        """In a locked run names have no IPv6 addresses, for nothing could be reached there."""
        return not self._policy.is_open and question.kind == dns_message.AAAA

    async def passed_on(self, question: Question, client: str, *, most_bytes: int) -> bytes:
        """The answer to a question that `first_word` let through."""
        try:
            message = await secrets.choice(self._upstreams).ask(question)
            found = dns_message.answer_of(message)
            answer = dns_message.passed_on(message, question, most_bytes=most_bytes)
        except (TimeoutError, NotDns, OSError):
            self._said(question, client, "", (), "allowed")
            return dns_message.own_answer(question, dns_message.SERVER_FAILURE)
        finally:
            self._at_once -= 1
        self._said(question, client, found.code_name, found.addresses[:MOST_TOLD_ADDRESSES], "allowed")
        return answer

    def _said_too_many(self, question: Question, client: str) -> None:
        """One report a second, with how many there were since the last: the service that hears it has other runs."""
        now = time.monotonic()
        if now - self._told_too_many < TOO_MANY_TOLD_SECONDS:
            self._untold += 1
            return
        more = f", and {self._untold} more before" if self._untold else ""
        self._told_too_many, self._untold = now, 0
        self._said(question, client, dns_message.CODES[dns_message.REFUSED], (), f"refused: {TOO_MANY}{more}")

    def _said(self, question: Question, client: str, code: str, addresses: tuple[str, ...], verdict: str) -> None:
        self._tell(Told(time.time(), client, question.name, question.kind_name, code, addresses, verdict))


class Datagrams(asyncio.DatagramProtocol):
    """Questions by UDP."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._questions: asyncio.Queue[tuple[Question, Any]] = asyncio.Queue(maxsize=MOST_AT_ONCE)

    def connection_made(self, transport: Any) -> None:
        """The socket is there."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """A question. The queue has room: the resolver refuses what is too much."""
        word = self._resolver.first_word(data, address[0])
        if isinstance(word, Question):
            self._questions.put_nowait((word, address))
        elif word is not None:
            self._transport.sendto(word, address)

    async def serve(self) -> None:
        """Pass on one question after the other."""
        while True:
            question, address = await self._questions.get()
            most_bytes = question.udp_bytes or dns_message.LEAST_UDP_BYTES
            self._transport.sendto(await self._resolver.passed_on(question, address[0], most_bytes=most_bytes), address)


class Connections:
    """Questions by TCP, one after the other on each connection."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection."""
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # it is the guest's own loss
        finally:
            self._open -= 1
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = writer.get_extra_info("peername")[0]
        for _ in range(MOST_OF_A_CONNECTION):
            async with asyncio.timeout(IDLE_SECONDS):
                size = int.from_bytes(await reader.readexactly(2))
                if size > MOST_QUESTION_BYTES:
                    return
                message = await reader.readexactly(size)
                answer = await self._resolver.answer(message, client, most_bytes=MOST_ANSWER_BYTES)
                if answer is None:
                    return
                writer.write(len(answer).to_bytes(2) + answer)
                await writer.drain()


def tell(told: Told) -> None:
    """One line of standard output."""
    sys.stdout.write(json.dumps(asdict(told)) + "\n")
    sys.stdout.flush()


async def serve(orders: Orders) -> None:
    """Answer until killed."""
    loop = asyncio.get_running_loop()
    upstreams = []
    for _ in range(UPSTREAM_SOCKETS):
        _, upstream = await loop.create_datagram_endpoint(
            lambda: Upstream(orders.upstream),
            local_addr=("0.0.0.0", 0),  # noqa: S104 (the firewall lets answers in)
        )
        upstreams.append(upstream)
    resolver = Resolver(upstreams, orders.policy, tell)
    connections = Connections(resolver)
    server = await asyncio.start_server(connections.serve, orders.listen, PORT, backlog=MOST_CONNECTIONS)
    _, datagrams = await loop.create_datagram_endpoint(lambda: Datagrams(resolver), local_addr=(orders.listen, PORT))
    async with server, asyncio.TaskGroup() as tasks:
        for _ in range(MOST_AT_ONCE):
            tasks.create_task(datagrams.serve())
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main() -> None:
    """Read the orders and serve."""
    asyncio.run(serve(Orders.read("".join(sys.argv[1:]))))
