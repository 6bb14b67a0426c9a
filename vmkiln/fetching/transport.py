"""Carries requests to addresses that were checked: a name is looked up once, and connected to is what was looked at.

So a name that means another address a moment later (rebinding) changes nothing, and each redirect is a request of its
own that is checked again. The name in TLS and in `Host` stays the one of the address. Behind a proxy the proxy looks up
the name: it is looked up here before, but what the proxy finds then is out of our sight; an address in place of a name
is refused there, for what is private to the proxy is not known here.

*Leaves behind:* nothing; each request has a connection of its own, which ends with the answer.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httpcore
import httpx

from vmkiln.fetching.looked_up import LookedUp, looked_up
from vmkiln.fetching.server_rule import (
    LAST_PORT,
    NamedBy,
    ServerRule,
    allowed_addresses,
    is_listed,
    is_listed_name,
    literal_of,
)
from vmkiln.fetching.way_out import WayOut
from vmkiln.host.network.special_addresses import Address, is_metadata, is_of_the_internet

MOST_ADDRESSES = 8  # of one name that are tried
SCHEMES = {"http": 80, "https": 443}
NAMED = "vmkiln_is_named"
# one text whatever lies there, so that nobody learns from it what is in our network
REFUSED = "its name is not known, or means no server on the Internet (an operator may allow one by `private_servers`)"
LookUp = Callable[[str, int], LookedUp]


class ServerRefused(httpx.RequestError):
    """A server that may not be asked for this, or an answer that may not be taken; trying again is of no use."""


@dataclass(frozen=True)
class _Connecting(httpcore.AsyncNetworkBackend):
    """Connects to these addresses, whatever the name means by now."""

    addresses: Sequence[Address]

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 (looked up already)
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (the library's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        network = httpcore.AnyIOBackend()
        for address in self.addresses[:-1]:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await network.connect_tcp(str(address), port, timeout, local_address, socket_options)
        return await network.connect_tcp(str(self.addresses[-1]), port, timeout, local_address, socket_options)


class CheckedTransport(httpx.AsyncBaseTransport):
    """Requests of one client: checked by `rule`, through `way_out`. `notice` is told of a private server of the user's.

    Raises, from each request: `ServerRefused`, and what httpx raises.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        way_out: WayOut,
        rule: ServerRule,
        *,
        look_up: LookUp = looked_up,
        notice: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._context = context
        self._way_out = way_out
        self._rule = rule
        self._look_up = look_up
        self._notice = notice

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request to one server; redirects are not followed here."""
        with _told_as_httpx():
            pool = await self._pool(request)
            try:
                found = await pool.handle_async_request(_as_core(request))
            except BaseException:
                await pool.aclose()
                raise
        # what a server wants to be remembered is nothing to another request
        headers = [(name, value) for name, value in found.headers if name.lower() != b"set-cookie"]
        return httpx.Response(found.status, headers=headers, stream=_Body(found, pool), extensions=found.extensions)

    async def _pool(self, request: httpx.Request) -> httpcore.AsyncConnectionPool:
        url = request.url
        host, port = url.raw_host.decode("ascii"), url.port or SCHEMES.get(url.scheme, 0)
        if url.scheme not in SCHEMES or not host:
            raise httpx.UnsupportedProtocol("only http and https", request=request)
        if port > LAST_PORT:
            raise httpx.UnsupportedProtocol(f"there is no port {port}", request=request)
        seconds = request.extensions.get("timeout", {}).get("connect")
        is_named = bool(request.extensions.get(NAMED))
        proxy = self._way_out.proxy_for(url.scheme, host, port)
        if not proxy:
            addresses = await self._checked(host, port, seconds, is_named=is_named)
            return httpcore.AsyncConnectionPool(ssl_context=self._context, network_backend=_Connecting(addresses))
        await self._check_behind_proxy(host, port, seconds, is_named=is_named)
        return _through(proxy, self._context)

    async def _checked(self, host: str, port: int, seconds: float | None, *, is_named: bool) -> Sequence[Address]:
        found = await self._found(host, port, seconds)
        allowed = list(allowed_addresses(self._rule, host, port, found.addresses, own=found.own, is_named=is_named))
        if not allowed or len(allowed) < len(found.addresses):  # a name that means good and bad ones is a bad one
            raise ServerRefused(REFUSED)
        private = [str(address) for address in allowed if not is_of_the_internet(address)]
        if private and self._rule.named_by is NamedBy.USER:
            self._notice(f"{host} is a private server ({', '.join(private)}), asked with the rights of who builds")
        return allowed[:MOST_ADDRESSES]

    async def _check_behind_proxy(self, host: str, port: int, seconds: float | None, *, is_named: bool) -> None:
        rule = self._rule
        if rule.named_by is NamedBy.OPERATOR or is_listed_name(rule, host, port):
            return
        literal = literal_of(host)
        if rule.named_by is NamedBy.USER and is_named and not (literal and is_metadata(literal)):
            return
        found = await self._found(host, port, seconds)
        if found.is_literal and not all(is_listed(rule, host, port, address) for address in found.addresses):
            raise ServerRefused(REFUSED)
        allowed = list(allowed_addresses(rule, host, port, found.addresses, own=found.own, is_named=False))
        if not allowed or len(allowed) < len(found.addresses):
            raise ServerRefused(REFUSED)

    async def _found(self, host: str, port: int, seconds: float | None) -> LookedUp:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(self._look_up, host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("the name server does not answer") from error
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise httpx.ConnectError("the name server does not answer") from error
            if self._rule.named_by is NamedBy.CALLER:
                raise ServerRefused(REFUSED) from error
            raise httpx.ConnectError(f"{host}: {error.strerror}") from error
        except (OSError, UnicodeError) as error:
            raise ServerRefused(REFUSED) from error


def _through(proxy: str, context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    url = httpx.URL(proxy)
    login = (unquote(url.username).encode(), unquote(url.password).encode()) if url.userinfo else None
    address = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/")
    return httpcore.AsyncHTTPProxy(
        address, proxy_auth=login, ssl_context=context, proxy_ssl_context=context if url.scheme == "https" else None
    )


def _as_core(request: httpx.Request) -> httpcore.Request:
    url = request.url
    address = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    assert isinstance(request.stream, httpx.AsyncByteStream)  # an asynchronous client makes no others
    return httpcore.Request(
        request.method, address, headers=request.headers.raw, content=request.stream, extensions=request.extensions
    )


class _Body(httpx.AsyncByteStream):
    """The content of an answer; its connection ends with it."""

    def __init__(self, found: httpcore.Response, pool: httpcore.AsyncConnectionPool) -> None:
        self._found = found
        self._pool = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _told_as_httpx():
            async for part in self._found.aiter_stream():
                yield part

    async def aclose(self) -> None:
        try:
            with _told_as_httpx():
                await self._found.aclose()
        finally:
            await self._pool.aclose()


@contextlib.contextmanager
def _told_as_httpx() -> Iterator[None]:
    """Errors of the lower library by the names that the upper one gives them: they have the same."""
    try:
        yield
    except tuple(ERRORS) as error:
        kind = next(ERRORS[one] for one in type(error).__mro__ if one in ERRORS)
        raise kind(str(error)) from error


ERRORS: dict[type[Exception], type[httpx.RequestError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
    httpcore.ProtocolError: httpx.ProtocolError,
}
