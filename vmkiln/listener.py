"""The HTTPS listener: one address, TLS always, so many connections, each with limits of time, ended gracefully.

Connections are taken here and not by asyncio's own server, which knows no number of them, waits a minute for TLS, and
tells some hundred lines a second when no file is left. Source: uvicorn's documentation of `Config` and `Server`.
"""

import asyncio
import asyncio.sslproto
import contextlib
import errno
import ipaddress
import logging
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vmkiln.api.identity.login_turns import network_of
from vmkiln.errors import InputError, TaskEnded
from vmkiln.host.confinement.file_limit import raise_file_limit
from vmkiln.lifetime import ending
from vmkiln.listening.connections import Connections
from vmkiln.listening.few_lines import FewLines
from vmkiln.listening.http_connection import HttpConnection
from vmkiln.shells.order import Meeting

DEFAULT = "127.0.0.1:8443"
SHORT_ADDRESS = re.compile(r"[0-9a-fx.]*[0-9][0-9a-fx.]*", re.IGNORECASE)
KEEP_ALIVE_SECONDS = 30
TLS_SECONDS = 10.0  # to set it up
TLS_END_SECONDS = 2.0  # to end it politely
TLS_READ_BYTES = 32 * 1024  # at once; asyncio has 256 KiB for each connection, most of which say nothing
NO_FILES_SECONDS = 0.5  # before the next is taken, when there is no file for it, or another reason
SPARED_FILES = 512  # for the database, logs, builds and what else the process opens
FEWEST_CONNECTIONS = 16
GRACE_SECONDS = 10
IDLE_GRACE_SECONDS = 0.5
MOST_REQUESTS = 1000
# nothing of the request was begun, so that a client may send it again
BUSY = {"error": {"code": "ServerBusy", "message": f"The service answers {MOST_REQUESTS} requests already; try again."}}
BACKLOG = 256
DEFAULT_CONNECTIONS = 500
_NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_GONE = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}  # accept(2): what listens is no more
# accept(2): of the one connection that was to be taken, which went away before
_LOST = {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.ENONET}
_LOST |= {errno.EHOSTDOWN, errno.EHOSTUNREACH}
LOGGERS = ("uvicorn.error", "asyncio", __name__)  # what strangers can make long
FIRST_INHERITED = 3  # SD_LISTEN_FDS_START
FAMILIES = {socket.AF_INET, socket.AF_INET6}
MOST_HEADER_BYTES = 64 * 1024
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where to listen: a name or address, and a port (0: any that is free)."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """`HOST:PORT`, `[ADDRESS]:PORT` or `PORT` alone, which means loopback. Raises: `InputError`."""
    host, _, port = text.rpartition(":")
    host = _in_full(host.removeprefix("[").removesuffix("]") or "127.0.0.1")
    if not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--listen: `{text}` has no port from 0 to 65535", hint=f"such as {DEFAULT} or [::1]:8443")
    return Address(host, int(port))


def _in_full(host: str) -> str:
    """An IPv4 address with all of its numbers, which `bind` takes with fewer as well, such as 127.1; pure."""
    if not SHORT_ADDRESS.fullmatch(host):
        return host
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; pure."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may begin with digits
        return host == "localhost"


def is_everywhere(host: str) -> bool:
    """Whether it means all addresses of this machine; pure."""
    return host in {"", "0.0.0.0", "::"}  # noqa: S104 (compared, not bound)


def meetings(
    address: Address, service_url: str, authority: str, names: Collection[str], *, is_near: bool
) -> tuple[Meeting, Meeting | None]:
    """Where the host of this machine meets its visitors, and where other hosts do, if these reach it.

    `authority` (PEM) is what they trust, `names` is what the certificate is for. `is_near` says that only this machine
    reaches the address.
    """
    port = address.port
    here, there = (address.host, address.host)
    if is_everywhere(address.host):
        here, there = "localhost", socket.gethostname()
    near = Meeting(url_of(here, port), authority, _name_for(here, names))
    if service_url:
        return near, Meeting(service_url.rstrip("/"), authority, is_public=True)
    return near, None if is_near else Meeting(url_of(there, port), authority, _name_for(there, names))


def named_here(host: str) -> str:
    """By which name this machine reaches what listens at `host`; pure.

    `localhost` is 127.0.0.1, and nothing that listens on ::1 or another address of loopback alone is reached by it.
    """
    return "localhost" if is_everywhere(host) or host == "127.0.0.1" else host


def url_of(host: str, port: int) -> str:
    """Where a service is asked; an IPv6 address stands in brackets (RFC 3986, 3.2.2). Pure."""
    return f"https://{place_of(host, port)}"


def place_of(host: str, port: int) -> str:
    """An address with its port, as it is told and typed; pure."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _name_for(host: str, names: Collection[str]) -> str:
    """The name that a certificate is checked for: the host's, else the first that is no pattern; pure."""
    return host if host in names else next((name for name in sorted(names) if "*" not in name), "")


def inherited(environment: Mapping[str, str]) -> socket.socket | None:
    """The socket that systemd listens on for this process; connections wait there while it is started anew.

    Raises: `InputError` for one that takes no connections of TCP, as no service could. Source: sd_listen_fds(3);
    systemd.socket(5).
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS") != "1":
        return None
    given = socket.socket(fileno=FIRST_INHERITED)
    is_listening = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if given.type != socket.SOCK_STREAM or given.family not in FAMILIES or not is_listening:
        given.close()
        raise InputError(
            "the socket that systemd gave takes no connections of TCP",
            hint="the socket unit wants ListenStream= with an address and a port",
        )
    return given


def where(listening: socket.socket, wanted: Address | None) -> tuple[Address, str, bool]:
    """Where it listens, its URL for this machine, and whether only this machine reaches it, by the socket's own word.

    It is called as was wanted; by its own address where somebody else chose that.
    """
    own, port = listening.getsockname()[:2]
    host = own if wanted is None else wanted.host
    return Address(host, port), url_of(named_here(host), port), is_loopback(own)


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
    except (OSError, UnicodeError) as error:  # the latter for what cannot be a name
        listening.close()
        why = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(
            f"cannot listen on {place_of(address.host, address.port)}: {why}",
            hint="choose another with --listen HOST:PORT",
        ) from error
    with listening:
        yield listening


def room_for(wanted: int, files: int) -> int:
    """How many connections there may be, of those that are wanted, when a process may open so many files; pure."""
    return max(FEWEST_CONNECTIONS, min(wanted, files - min(SPARED_FILES, files // 2)))


def places(most: int, most_of_an_address: int) -> Connections:
    """The connections of a service, which takes all files that it may for them."""
    return Connections(room_for(most, raise_file_limit()), most_of_an_address)


class _Server(uvicorn.Server):
    """uvicorn's server, which takes its connections itself and leaves signals to the command line."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self.is_ready = asyncio.Event()
        self._connections = connections
        self._taking: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers: list[asyncio.Server] = []
        for listening in sockets or []:
            listening.setblocking(False)
            # without it the service would go on and answer nobody
            self._own(self._take_all(listening)).add_done_callback(lambda _: self._end())
        self.started = True
        self.is_ready.set()

    def _end(self) -> None:
        self.should_exit = True

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        task.add_done_callback(_told)
        return task

    async def _take_all(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in _GONE:
                    raise
                if error.errno in _LOST:
                    await asyncio.sleep(0)
                    continue
                log.error("a connection cannot be taken now: %s", error.strerror or error)
                if error.errno in _NO_FILES:
                    self._connections.make_room()
                await asyncio.sleep(NO_FILES_SECONDS)  # for an error that stays comes at once, again and again
                continue
            self._take(accepted, network_of(str(peer[0])))

    def _take(self, accepted: socket.socket, address: str) -> None:
        place = self._connections.enter(address)
        if place is None:
            log.warning("no place for a connection from %s: every one of its places, or of all, has a request", address)
            accepted.close()
            return
        connection = HttpConnection(
            place,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state | ending.state(lambda: self.should_exit),
        )
        greeting = self._own(self._greet(accepted, connection, address))
        place.close = greeting.cancel

        def tidy_up(_: object) -> None:  # not in the task, which may be cancelled before it does anything
            if not connection.has_begun:
                place.leaves()
                accepted.close()

        greeting.add_done_callback(tidy_up)

    async def _greet(self, accepted: socket.socket, connection: HttpConnection, address: str) -> None:
        """Set up TLS and hand the connection to its protocol."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self.config.ssl,
                ssl_handshake_timeout=TLS_SECONDS,
                ssl_shutdown_timeout=TLS_END_SECONDS,
            )
        except OSError as error:  # ssl.SSLError is one; strangers who speak no TLS are no news
            log.debug("TLS was not set up with %s: %s", address, error)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does; clients that only keep a connection open are not waited for.

        asyncio closes TLS politely, and an idle client does not answer until it wants something again.
        """
        for task in list(self._taking):
            task.cancel()
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
    connections: Connections | None = None,
) -> None:
    """Answer requests until cancelled; those that are being answered then have `GRACE_SECONDS` to end.

    `connections` knows how many there may be; without it, a few hundred.
    """
    asyncio.sslproto.SSLProtocol.max_size = TLS_READ_BYTES
    requests = _Requests(application)
    config = uvicorn.Config(
        requests,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        lifespan="off",
        log_config=None,
        log_level="warning",  # that a process and its server started and ended is told in our own words
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
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
    if connections is None:
        connections = Connections(DEFAULT_CONNECTIONS, DEFAULT_CONNECTIONS)
    server = _Server(config, connections)
    few = FewLines()
    for logger in LOGGERS:
        logging.getLogger(logger).addFilter(few)
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
        for logger in LOGGERS:
            logging.getLogger(logger).removeFilter(few)


def _told(task: asyncio.Task[None]) -> None:
    """Say how a task ended, when that was not foreseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a connection could not be taken: %s", error, exc_info=error)


class _Requests:
    """So many requests at once; more are told to come again."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._count >= MOST_REQUESTS:
            await JSONResponse(BUSY, 503, {"Retry-After": "1", "Connection": "close"})(scope, receive, send)
            return
        self._count += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._count -= 1
