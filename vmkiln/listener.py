"""The HTTPS listener: one address, TLS always, ended gracefully.

Source: uvicorn's documentation of `Config` and `Server`.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from vmkiln.errors import InputError, TaskEnded

DEFAULT = "127.0.0.1:8443"
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 10
IDLE_GRACE_SECONDS = 0.5
MOST_CONNECTIONS = 1000
BACKLOG = 256
FIRST_INHERITED = 3  # SD_LISTEN_FDS_START
MOST_HEADER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Address:
    """Where to listen: a name or address, and a port (0: any that is free)."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[ADDRESS]:PORT` or `PORT` alone, which means loopback. Raises: `InputError`."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--listen: `{text}` has no port from 0 to 65535", hint=f"such as {DEFAULT} or [::1]:8443")
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; pure."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def inherited(environment: Mapping[str, str]) -> socket.socket | None:
    """The socket that systemd listens on for this process; connections wait there while it is started anew.

    Source: sd_listen_fds(3); systemd.socket(5).
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=FIRST_INHERITED)


@contextlib.contextmanager
def bound(address: Address, given: socket.socket | None = None) -> Iterator[socket.socket]:
    """A socket that listens there, or the one that is given. Raises: `InputError` when that is not possible."""
    if given is not None:
        with given:
            yield given
        return
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # named as TCP, so that asyncio sets TCP_NODELAY on what it accepts; else small answers wait 40 ms for an ACK
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        where = f"{address.host}:{address.port}"
        raise InputError(
            f"cannot listen on {where}: {error.strerror or error}", hint="choose another with --listen HOST:PORT"
        ) from error
    with listening:
        yield listening


class _Server(uvicorn.Server):
    """uvicorn's server without its own handling of signals, which the command line has."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does; clients that only keep a connection open are not waited for.

        asyncio closes TLS politely, and an idle client does not answer until it wants something again.
        """
        ending = asyncio.create_task(super().shutdown(sockets))
        await asyncio.wait([ending], timeout=IDLE_GRACE_SECONDS)
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is None or cycle.response_complete:
                # one that is being closed already has nothing left that could be aborted
                with contextlib.suppress(AttributeError):
                    connection.transport.abort()
                self.server_state.connections.discard(connection)
        await ending


async def serve(
    application: ASGIApp,
    listening: socket.socket,
    *,
    certificate: Path,
    key: Path,
    on_ready: Callable[[], Awaitable[None]],
) -> None:
    """Answer requests until cancelled; those that are being answered then have `GRACE_SECONDS` to end."""
    config = uvicorn.Config(
        application,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=MOST_CONNECTIONS,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        http="h11",
        ws="none",
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"the certificate {certificate} and its key cannot be used: {error}") from error
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    ready = asyncio.create_task(server.is_ready.wait())
    try:
        await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            await on_ready()
        await asyncio.shield(serving)
        raise TaskEnded("the listener came to an end, and nobody asked for that")
    finally:
        ready.cancel()
        server.should_exit = True
        await asyncio.wait([serving], timeout=GRACE_SECONDS + 5)
