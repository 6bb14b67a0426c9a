"""Fetches over HTTP: one client with limits, one rule for what is tried again, for scripts and for images.

Small documents, such as the keys of an issuer, are fetched whole and once.

*Leaves behind:* nothing; what arrives is written by whoever fetches.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from vmkiln.waiting.off_loop import off_loop

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 60.0
MOST_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
DOCUMENT_SECONDS = 10.0  # for all of it
MOST_DOCUMENT_BYTES = 1024 * 1024
# another time the answer may be another: too slow, too early, too many requests, a server in trouble (RFC 9110, 6585)
TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
Fetched = TypeVar("Fetched")


@dataclass(frozen=True)
class Patience:
    """How often to try, and how long to wait before the second time (twice as long each further time)."""

    attempts: int = ATTEMPTS
    first_pause_seconds: float = FIRST_PAUSE_SECONDS


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with limits. It takes proxies from the environment and trusts the system's certificates."""
    async with await off_loop(_client) as client:
        yield client


def _client() -> httpx.AsyncClient:
    """A new client; it reads every certificate of the machine, which takes a while."""
    limits = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(follow_redirects=True, max_redirects=MOST_REDIRECTS, timeout=limits)


def fetch_json(url: str) -> Any:
    """What a URL answers, as JSON: no redirect is followed, and too much or too slow is no answer. Waits.

    Raises: `httpx.HTTPError`, `ValueError`.
    """
    deadline = time.monotonic() + DOCUMENT_SECONDS
    content = bytearray()
    with httpx.stream("GET", url, timeout=DOCUMENT_SECONDS, follow_redirects=False) as response:
        if response.is_redirect:
            raise httpx.HTTPStatusError("redirects are not followed", request=response.request, response=response)
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MOST_DOCUMENT_BYTES:
                raise ValueError(f"more than {MOST_DOCUMENT_BYTES} bytes")
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"not all of it came within {DOCUMENT_SECONDS:.0f} s", request=response.request)
    return json.loads(content)


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
        case httpx.TooManyRedirects():
            return f"more than {MOST_REDIRECTS} redirects", True
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            return f"not a usable address ({error})", True
        case _:
            return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, False
