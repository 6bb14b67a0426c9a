"""Fetches over HTTP: one client with limits, one way through redirects, one rule for what is tried again.

Whatever is fetched goes through here: scripts and files of templates, images, keys of issuers. So does what is sent.

*Leaves behind:* nothing; what arrives is written by whoever fetches.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx

from vmkiln.fetching.looked_up import looked_up
from vmkiln.fetching.server_rule import ServerRule
from vmkiln.fetching.transport import NAMED, SCHEMES, CheckedTransport, LookUp, ServerRefused
from vmkiln.fetching.way_out import WayOut, trusted
from vmkiln.waiting.off_loop import off_loop

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 60.0
MOST_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
# another time the answer may be another: too slow, too early, too many requests, a server in trouble (RFC 9110, 6585)
TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
Fetched = TypeVar("Fetched")


@dataclass(frozen=True)
class Patience:
    """How often to try, and how long to wait before the second time (twice as long each further time)."""

    attempts: int = ATTEMPTS
    first_pause_seconds: float = FIRST_PAUSE_SECONDS


@contextlib.asynccontextmanager
async def connected(
    way_out: WayOut,
    rule: ServerRule,
    *,
    look_up: LookUp = looked_up,
    notice: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with limits, for what `rule` lets be asked. Raises: `InputError` for a bad bundle of authorities.

    It takes nothing from the environment and asks for answers that are not packed.
    """
    context = await off_loop(trusted, way_out)  # reads every certificate of the machine, which takes a while
    transport = CheckedTransport(context, way_out, rule, look_up=look_up, notice=notice)
    limits = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    headers = {"Accept-Encoding": "identity"}
    async with httpx.AsyncClient(transport=transport, timeout=limits, headers=headers, trust_env=False) as client:
        yield client


@contextlib.asynccontextmanager
async def answered(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    most_redirects: int = MOST_REDIRECTS,
) -> AsyncIterator[httpx.Response]:
    """The answer of whoever an address leads to in the end. Raises: `ServerRefused`, and errors of httpx.

    Each hop is a request of its own. What the address has of a login goes to the server that it names, and to no
    other; a redirect's query is the one of the redirect; one from https leads to https.
    """
    address = httpx.URL(url)
    for hop in range(most_redirects + 1):
        request = client.build_request("GET", address, headers=headers, extensions={NAMED: hop == 0})
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if not response.has_redirect_location:
                packed = response.headers.get("Content-Encoding", "identity").strip().lower()
                if packed not in {"", "identity"}:
                    raise ServerRefused(f"the server packed its answer ({packed[:40]}), which it was asked not to do")
                yield response
                return
            address = _next(address, response.headers["Location"])
        finally:
            await response.aclose()
    raise httpx.TooManyRedirects(f"more than {most_redirects} redirects", request=request)


async def posted(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Post to an address, and give the status of the answer, whose content is not read.

    No redirect is followed. Raises: `ServerRefused`, and errors of httpx.
    """
    request = client.build_request("POST", url, content=body, headers=headers, extensions={NAMED: True})
    response = await client.send(request, stream=True, follow_redirects=False)
    await response.aclose()
    return response.status_code


def _origin(url: httpx.URL) -> tuple[str, bytes, int]:
    return url.scheme, url.raw_host, url.port or SCHEMES.get(url.scheme, 0)


def _next(address: httpx.URL, location: str) -> httpx.URL:
    """Where a redirect leads. Raises: `ServerRefused`, `httpx.InvalidURL`."""
    found = address.join(location)
    if address.scheme == "https" and found.scheme != "https":
        shown = found.copy_with(userinfo=b"", query=None, fragment=None)
        raise ServerRefused(f"it led to an address without https, {shown}")
    login = address.userinfo if _origin(found) == _origin(address) else b""
    return found.copy_with(userinfo=login)


async def fetched(
    fetch: Callable[[], Awaitable[Fetched]],
    patience: Patience,
    *,
    failed: Callable[[str], Exception],
    again: Callable[[str, int], None],
) -> Fetched:
    """What `fetch` gives, tried again after what may pass.

    `again` is told why a try failed, and its number, before the next one. Raises: what `failed` makes of the reason
    (`failed after 5 attempts: ...`), and whatever else `fetch` raises than errors of HTTP.
    """
    pause = patience.first_pause_seconds
    for number in range(1, patience.attempts + 1):
        try:
            return await fetch()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause, is_final = cause_of(error)
            if is_final or number == patience.attempts:
                tries = f" after {number} attempts" if number > 1 else ""
                raise failed(f"failed{tries}: {cause}") from error
        again(cause, number)
        await asyncio.sleep(pause)
        pause *= 2
    raise AssertionError("the last try returns or raises")


def cause_of(error: Exception) -> tuple[str, bool]:
    """Why a fetch failed, and whether it is of no use to try again; pure."""
    match error:
        case httpx.HTTPStatusError():
            status = error.response.status_code
            return f"the server answered {status} {error.response.reason_phrase}", status not in TEMPORARY_STATUS
        case httpx.TooManyRedirects() | ServerRefused():
            return str(error), True
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return f"not a usable address ({error})", True
        case _:
            return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, False
