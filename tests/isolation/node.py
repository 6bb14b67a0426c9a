"""One machine of the test world: a network namespace with listeners, probes and an ear on the wire.

It speaks JSON lines: `{"id", "do", ...}` on stdin, one answer with the same `id` on stdout. As `tap PID NAME` it takes
the place of QEMU: it opens the tap NAME of the network namespace of process PID, and joins it frame by frame to a
network interface `eth0` of a namespace of its own. Standard library only, so that it starts quickly.
"""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000
IP_RECVERR, IPV6_RECVERR = 11, 25
ETH_P_ALL = 3
PACKET_OUTGOING = 4
LINK_TALK = {*range(130, 138), 143}  # RFC 4443 and 4861: listeners, routers and neighbours of one link
REFUSED = {errno.ECONNREFUSED}
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL, errno.EINVAL,
               errno.ENOPROTOOPT, errno.EPROTO, errno.ENETDOWN}  # fmt: skip


def enter_network(path: str | None) -> None:
    """Join a network namespace, or make a new one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if path is None:
        status = libc.unshare(CLONE_NEWNET)
    else:
        descriptor = os.open(path, os.O_RDONLY)
        status = libc.setns(descriptor, CLONE_NEWNET)
        os.close(descriptor)
    if status != 0:
        raise OSError(ctypes.get_errno(), f"network namespace {path}")


def open_tap(name: str) -> int:
    """A tap of this network namespace, as a descriptor; made if it is not there."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP_NO_PI))
    return descriptor


def join_cable(ends: tuple[int, int]) -> None:
    """Copy every frame from each end to the other, for as long as the process lives."""

    def copy(source: int, target: int) -> None:
        while True:
            frame = os.read(source, 65536)
            with contextlib.suppress(OSError):  # the other end is down: the frame is lost, as on a wire
                os.write(target, frame)

    for source, target in (ends, ends[::-1]):
        threading.Thread(target=copy, args=(source, target), daemon=True).start()


def described(frame: bytes) -> str | None:
    """What a frame asks for, as `protocol source > target`: an opened connection, a datagram, an echo request."""
    kind, body = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if kind == 0x86DD and len(body) >= 40:
        source, target = (ipaddress.IPv6Address(body[at : at + 16]) for at in (8, 24))
        is_of_the_link = body[6] == 0 or (body[6] == 58 and body[40] in LINK_TALK)
        return None if is_of_the_link else f"ipv6 {body[6]} {source} > {target}"
    if kind != 0x0800 or len(body) < 20:
        return None
    size, protocol = (body[0] & 15) * 4, body[9]
    source, target = (ipaddress.IPv4Address(body[at : at + 4]) for at in (12, 16))
    rest = body[size:]
    if protocol == socket.IPPROTO_TCP and len(rest) >= 14:
        flags = "".join(letter for bit, letter in enumerate("FSRPA") if rest[13] >> bit & 1)
        return f"tcp {flags} {source} > {target}:{struct.unpack_from('!H', rest, 2)[0]}"
    if protocol == socket.IPPROTO_UDP and len(rest) >= 8:
        return f"udp {source} > {target}:{struct.unpack_from('!H', rest, 2)[0]}"
    if protocol == socket.IPPROTO_ICMP and len(rest) >= 8:
        return f"icmp {rest[0]}/{rest[1]} {source} > {target}"
    return f"protocol {protocol} {source} > {target}"


def verdict(error: OSError) -> str:
    """An error of a probe in one word."""
    if isinstance(error, TimeoutError):
        return "silent"
    if error.errno in REFUSED:
        return "refused"
    if error.errno in UNREACHABLE:
        return "unreachable"
    raise error


class Node:
    """The listeners and the ear of one machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: set[str] = set()
        self.said: set[str] = set()
        self.ports: set[int] = set()
        self._keep: list[Any] = []

    async def answer(self, request: dict[str, Any]) -> Any:
        """Do what a request asks and return the answer."""
        do = request.pop("do")
        number = request.pop("id")
        try:
            return {"id": number, "answer": await getattr(self, f"do_{do}")(**request)}
        except Exception as error:
            return {"id": number, "error": f"{self.name}: {do} {request}: {type(error).__name__}: {error}"}

    async def do_run(self, arguments: list[str], stdin: str = "") -> str:
        """Run a program in this network namespace and return what it printed."""
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await process.communicate(stdin.encode())
        if process.returncode != 0:
            raise RuntimeError(f"{arguments}: {errors.decode()}")
        return output.decode()

    async def do_write(self, path: str, text: str) -> None:
        """Write a kernel setting of this namespace."""
        Path(path).write_text(text)

    async def do_listen(self, address: str, tcp: list[int], udp: list[int]) -> None:
        """Answer at ports of an address with this machine's name."""
        loop = asyncio.get_running_loop()
        for port in tcp:
            self._keep.append(await asyncio.start_server(self._greet, address, port))
        for port in udp:
            self._keep.append(await loop.create_datagram_endpoint(lambda: _Echo(self), (address, port)))

    async def _greet(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(self.name.encode() + b"\n")
            await writer.drain()
            writer.close()

    async def do_listen_web(self, address: str, tcp: list[int]) -> None:
        """Answer what comes at ports of an address with this machine's name and what it was."""
        for port in tcp:
            self._keep.append(await asyncio.start_server(self._echo, address, port))

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(self.name.encode() + b" got " + data)
                await writer.drain()
            writer.close()

    async def do_say(
        self, target: str, port: int, pieces: list[str], seconds: float = 5, *, to_the_end: bool = False
    ) -> str:
        """Connect and say pieces (in hexadecimal), each after an answer or a pause; all that was answered, or why not.

        The answer is in hexadecimal, with a `|` where the other end closed; `to_the_end` waits for that.
        """
        answer = b""
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(target, port)
        except OSError as error:
            return verdict(error)
        with contextlib.closing(writer), contextlib.suppress(OSError):
            for piece in [*pieces, ""] if to_the_end else pieces:
                writer.write(bytes.fromhex(piece))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        answer += (more := await reader.read(65536))
                        if not more:
                            return answer.hex() + "|"
            return answer.hex()
        return answer.hex() + "|"  # it was cut off

    async def do_watch(self, interface: str) -> None:
        """Note every packet that arrives at an interface (`seen`), and every one that goes out there (`said`).

        Of datagrams that go out, the ports they come from are noted too (`ports`).
        """
        ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        ear.bind((interface, ETH_P_ALL))

        def hear() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, origin = ear.recvfrom(65536)
                    if text := described(frame):
                        (self.said if origin[2] == PACKET_OUTGOING else self.seen).add(text)
                        if origin[2] == PACKET_OUTGOING and text.startswith("udp "):
                            self.ports.add(struct.unpack_from("!H", frame, 14 + (frame[14] & 15) * 4)[0])

        asyncio.get_running_loop().add_reader(ear.fileno(), hear)
        self._keep.append(ear)

    async def do_traffic(self) -> dict[str, list[Any]]:
        """What arrived and what went out since the last time."""
        found: dict[str, list[Any]] = {
            "seen": sorted(self.seen),
            "said": sorted(self.said),
            "ports": sorted(self.ports),
        }
        for noted in (self.seen, self.said, self.ports):
            noted.clear()
        return found

    async def do_send(self, interface: str, frame: str) -> None:
        """Put a frame (in hexadecimal) on the wire as it is."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface, 0))
            raw.send(bytes.fromhex(frame))

    async def do_flood(
        self, target: str, port: int, count: int, *, protocol: str = "udp", asked: str = "who.example", size: int = 0
    ) -> dict[str, int]:
        """Open flows to a port, each from a port of its own, as fast as they go, with `size` bytes; how they ended."""
        loop = asyncio.get_running_loop()
        ends: dict[str, int] = {}

        async def one() -> None:
            kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
            with socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK) as plug:
                _hear_errors(plug, socket.AF_INET)
                try:
                    async with asyncio.timeout(5):
                        await loop.sock_connect(plug, (target, port))
                        await loop.sock_sendall(plug, question(asked) if port == 53 else b"who are you".ljust(size))
                        answer = await loop.sock_recv(plug, 4096)
                    end = told_name(answer) if port == 53 else f"open {answer.decode().strip()}"
                except OSError as error:
                    end = verdict(error)
            ends[end] = ends.get(end, 0) + 1

        for begun in range(0, count, 500):
            await asyncio.gather(*(one() for _ in range(min(500, count - begun))))
        return ends

    async def do_probe(  # noqa: PLR0917 (every one is named in the request)
        self,
        protocol: str,
        target: str,
        port: int,
        source: str | None = None,
        seconds: float = 5,
        name: str = "who.example",
    ) -> str:
        """Try to reach a target: `open NAME`, `refused`, `unreachable` or `silent`."""
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol in {"tcp", "names-tcp"} else socket.SOCK_DGRAM
        number = 0
        if protocol == "icmp":
            number = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        loop = asyncio.get_running_loop()
        try:
            with socket.socket(family, kind | socket.SOCK_NONBLOCK, number) as plug:
                _hear_errors(plug, family)
                async with asyncio.timeout(seconds):
                    if source is not None:
                        plug.bind((source, 0))
                    if kind == socket.SOCK_STREAM:
                        await loop.sock_connect(plug, (target, port))
                    else:  # waits for nothing
                        plug.connect((target, port))
                    if protocol == "icmp":
                        request = 128 if family == socket.AF_INET6 else 8
                        await loop.sock_sendall(plug, struct.pack("!BBHHH", request, 0, 0, 0, 1) + b"probe")
                    elif protocol == "udp":
                        await loop.sock_sendall(plug, b"who are you")
                    elif protocol.startswith("names"):
                        asked = question(name)
                        prefix = len(asked).to_bytes(2) if protocol == "names-tcp" else b""
                        await loop.sock_sendall(plug, prefix + asked)
                    answer = await loop.sock_recv(plug, 4096)
                    while protocol == "names-tcp" and len(answer) < 2 + int.from_bytes(answer[:2]):
                        answer += await loop.sock_recv(plug, 4096)
                if protocol.startswith("names"):
                    return told_name(answer[2:] if protocol == "names-tcp" else answer)
                if protocol == "icmp":
                    return "open" if answer[8:] == b"probe" else f"strange {answer!r}"
                return f"open {answer.decode().strip()}" if answer else "closed"
        except OSError as error:
            return verdict(error)


def _hear_errors(plug: socket.socket, family: int) -> None:
    if family == socket.AF_INET6:
        plug.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        plug.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)


class _Echo(asyncio.DatagramProtocol):
    def __init__(self, node: Node) -> None:
        self._node = node

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if data[12:18] != b"\5never":  # what such a name is asked for is never answered
            self._transport.sendto(answered(data, self._node.name) or self._node.name.encode(), address)


def question(name: str) -> bytes:
    """A question for the TXT record of a name, or for the A record of one that begins with `public.`."""
    kind = 1 if name.startswith("public.") else 16
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def told_name(answer: bytes) -> str:
    """What an answer says: `open NODE`, `open ADDRESS`, `cut`, or `code N`."""
    flags, _, records = struct.unpack_from("!3H", answer, 2)
    if flags & 0x0200:
        return "cut"
    if flags & 15 or not records:
        return f"code {flags & 15}"
    at = answer.index(b"\xc0\x0c") + 2
    kind, size = struct.unpack_from("!H6xH", answer, at)
    value = answer[at + 10 : at + 10 + size]
    return f"open {ipaddress.IPv4Address(value)}" if kind == 1 else f"open {value[1:][: value[0]].decode()}"


def answered(asked: bytes, own_name: str) -> bytes | None:
    """The answer to a question of DNS: this machine's name as TXT, many of them for `large.`, 203.0.113.10 as A.

    The A record of a name that begins with `inner.` is an address that is nobody's business.
    """
    if len(asked) < 17 or asked[2] & 0x80 or asked[4:6] != b"\0\1":
        return None
    end = asked.index(b"\0", 12) + 5
    kind = struct.unpack_from("!H", asked, end - 4)[0]
    address = ipaddress.IPv4Address("10.77.0.1" if asked[12:18] == b"\5inner" else "203.0.113.10")
    value = {1: address.packed, 16: bytes([len(own_name)]) + own_name.encode()}.get(kind)
    count = 0 if value is None else 100 if asked[13:18] == b"large" else 1
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(value or b"")) + (value or b"")
    return asked[:2] + struct.pack("!5H", 0x8180, 1, count, 0, 0) + asked[12:end] + record * count


def requests(line: bytes) -> Iterator[dict[str, Any]]:
    """The requests in one line."""
    found = json.loads(line)
    yield from found if isinstance(found, list) else [found]


async def serve(node: Node) -> None:
    """Answer requests, many at a time, until stdin ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    async def handle(request: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(await node.answer(request)) + "\n")
        sys.stdout.flush()

    while line := await reader.readline():
        for request in requests(line):
            task = asyncio.create_task(handle(request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


def main() -> None:
    """`node.py NAME here | new | inside PID | tap PID TAP`."""
    name, how, *rest = sys.argv[1:]
    if how == "tap":
        enter_network(f"/proc/{rest[0]}/ns/net")
        far_end = open_tap(rest[1])
        enter_network(None)
        join_cable((far_end, open_tap("eth0")))
    elif how == "new":
        enter_network(None)
    elif how == "inside":
        enter_network(f"/proc/{rest[0]}/ns/net")
    # as systemd sets it for every group: ours have ids up to this one
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 65535")
    asyncio.run(serve(Node(name)))


if __name__ == "__main__":
    main()
