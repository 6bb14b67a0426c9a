"""Small documents, such as the keys of an issuer: fetched whole and once, as JSON.

*Leaves behind:* nothing.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from vmkiln.fetching.http_fetch import answered, connected
from vmkiln.fetching.server_rule import FOR_CALLERS, ServerRule
from vmkiln.fetching.transport import NAMED
from vmkiln.fetching.way_out import STRAIGHT, WayOut

DOCUMENT_SECONDS = 10.0  # for all of it
MOST_DOCUMENT_BYTES = 1024 * 1024


def fetch_json(url: str, *, rule: ServerRule = FOR_CALLERS, way_out: WayOut = STRAIGHT) -> Any:
    """What a URL answers, as JSON: no redirect is followed, and too much or too slow is no answer. Waits.

    Raises: `httpx.HTTPError`, `httpx.InvalidURL`, `ValueError`; `InputError` for a bad bundle of authorities.
    """
    # closed at once: a name server that does not answer keeps a thread, and need not keep us
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        return _read(loop.run_until_complete(_document(url, rule, way_out)))


def send_form(
    url: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    rule: ServerRule = FOR_CALLERS,
    way_out: WayOut = STRAIGHT,
) -> tuple[int, Any]:
    """The status and JSON that a server answers to a form: no redirect is followed. Waits. Raises: as `fetch_json`."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        status, content = loop.run_until_complete(_sent(url, form, headers, rule, way_out))
    return status, _read(content or b"null")


def _read(content: bytes) -> Any:
    """JSON as a server wrote it; pure. Raises: `ValueError`, also for one that is nested too deeply."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


async def _sent(
    url: str, form: Mapping[str, str], headers: Mapping[str, str], rule: ServerRule, way_out: WayOut
) -> tuple[int, bytes]:
    named = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded", **headers}
    try:
        async with asyncio.timeout(DOCUMENT_SECONDS), connected(way_out, rule) as client:
            request = client.build_request(
                "POST", url, content=urlencode(form), headers=named, extensions={NAMED: True}
            )
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                return response.status_code, await _whole(response)
            finally:
                await response.aclose()
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"not all of it came within {DOCUMENT_SECONDS:.0f} s") from error


async def _document(url: str, rule: ServerRule, way_out: WayOut) -> bytes:
    try:
        async with (
            asyncio.timeout(DOCUMENT_SECONDS),
            connected(way_out, rule) as client,
            answered(client, url, most_redirects=0) as response,
        ):
            response.raise_for_status()
            return await _whole(response)
    except TimeoutError as error:
        raise httpx.ReadTimeout(f"not all of it came within {DOCUMENT_SECONDS:.0f} s") from error


async def _whole(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MOST_DOCUMENT_BYTES:
            raise ValueError(f"more than {MOST_DOCUMENT_BYTES} bytes")
    return bytes(content)
