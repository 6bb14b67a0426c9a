"""A port on this machine's loopback that leads to one port of a guest, which can open no connection itself.

The guest's link ends in its namespace, whose firewall lets nothing begin but a connection to that port; there is no
way on from there. Bytes pass between two connections here, and are looked at by nobody.

*Leaves behind:* nothing. *Undone by:* leaving the block, and the end of the namespace. *Safe to repeat:* in a new one.
Source: nft(8), ip-tuntap(8), nsenter(1), unix(7) (SCM_RIGHTS).
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from vmkiln.errors import InputError
from vmkiln.host import command
from vmkiln.host.entrance import connector
from vmkiln.host.namespace import Namespace
from vmkiln.waiting.off_loop import off_loop

MOST_CONNECTIONS = 16
CHUNK_BYTES = 65536
ANSWER_SECONDS = connector.CONNECT_SECONDS + 5
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Link:
    """The one link of a guest: its tap, its MAC and address, our address on it, and the port that can be reached."""

    tap: str
    mac: str
    guest: IPv4Address
    router: IPv4Interface
    port: int


def firewall(link: Link) -> str:
    """The rules of the guest's namespace, as `nft -f` reads them; pure."""
    known = "ct state established accept"
    return (
        "table inet door {\n"
        f"chain input {{ type filter hook input priority 0; policy drop; {known}; }}\n"
        "chain forward { type filter hook forward priority 0; policy drop; }\n"
        "chain output { type filter hook output priority 0; policy drop; "
        f"{known}; ip daddr {link.guest} tcp dport {link.port} accept; }}\n"
        "}\n"
    )


def ip_batch(link: Link) -> str:
    """The link, as `ip -batch` reads it; pure."""
    lines = (
        f"tuntap add dev {link.tap} mode tap user 0",
        f"address add {link.router} dev {link.tap}",
        f"link set dev {link.tap} up",
    )
    return "".join(f"{line}\n" for line in lines)


@contextlib.asynccontextmanager
async def opened(namespace: Namespace, link: Link, *, port: int) -> AsyncIterator[int]:
    """The link made, and the door open; yields the port on the loopback, any free one for 0.

    The firewall is there before the link. Raises: `InputError` when the port is taken; `HostUnfit`, `CommandFailed`.
    """
    await namespace.run(["nft", "-f", "-"], stdin=firewall(link).encode())
    for scope in ("all", "default"):
        await namespace.run(["tee", f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"], stdin=b"1")
    await namespace.run(["ip", "-batch", "-"], stdin=ip_batch(link).encode())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    inside = ["nsenter", f"--user={namespace.user_path}", f"--net={namespace.network_path}", "--preserve-credentials"]
    program = [sys.executable, "-I", "-m", connector.__name__, str(link.guest), str(link.port)]
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(ours.close)
        ours.settimeout(ANSWER_SECONDS)
        with theirs:
            await stack.enter_async_context(command.start([*inside, *program], stdin=theirs.fileno()))
        door = _Door(ours)
        stack.push_async_callback(door.shut)
        try:
            server = await asyncio.start_server(door.entered, LOOPBACK, port)
        except OSError as error:
            raise InputError(f"port {port} cannot be had: {os.strerror(error.errno or 0)}") from error
        stack.callback(server.close)
        yield int(server.sockets[0].getsockname()[1])


class _Door:
    """Who comes in, and what asks for their ways on."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._asking = asyncio.Lock()
        self._inside: set[asyncio.Task[None]] = set()

    async def entered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes for one who came, until either side ends."""
        task = asyncio.current_task()
        assert task is not None
        self._inside.add(task)
        try:
            if len(self._inside) <= MOST_CONNECTIONS and (connection := await self._connection()) is not None:
                from_guest, to_guest = await asyncio.open_connection(sock=connection)
                try:
                    await asyncio.gather(_pass(reader, to_guest), _pass(from_guest, writer))
                finally:
                    to_guest.close()
        except (OSError, asyncio.CancelledError):  # the one or the other went, or the door is shut
            pass
        finally:
            self._inside.discard(task)
            writer.close()

    async def shut(self) -> None:
        """End all connections, and the wait for one that the guest has not taken yet."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        for task in tuple(self._inside):
            task.cancel()
        await asyncio.gather(*self._inside, return_exceptions=True)

    async def _connection(self) -> socket.socket | None:
        async with self._asking:
            return await off_loop(self._asked)

    def _asked(self) -> socket.socket | None:
        """A connection to the guest; none when it takes none now."""
        try:
            self._control.sendall(b"?")
            answer, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except OSError:
            return None
        return socket.socket(fileno=descriptors[0]) if answer == b"+" and descriptors else None


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
