"""Downloads of small and of large files: limited, retried, and gone on with where they stopped.

*Leaves behind:* after a failure the part of a large file that arrived, and beside it what tells which file it is of.
*Undone by:* deleting both. *Safe to repeat:* yes; goes on where it stopped.
"""

import contextlib
import email.utils
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import httpx

from vmkiln.errors import DownloadFailed
from vmkiln.fetching.http_fetch import CHUNK_BYTES, Fetched, Patience, answered, fetched
from vmkiln.waiting.off_loop import off_loop, off_loop_with

MOST_SMALL_BYTES = 4 * 1024 * 1024
MOST_IMAGE_BYTES = 64 * 1024**3
PROGRESS_BYTES = 32 * 1024 * 1024

Progress = Callable[[str], None]


def last_modified(headers: httpx.Headers) -> datetime | None:
    """The `Last-Modified` of an answer (UTC); pure."""
    with contextlib.suppress(KeyError, ValueError):
        return email.utils.parsedate_to_datetime(headers["Last-Modified"]).astimezone(UTC)
    return None


def resumes_at(status: int, headers: httpx.Headers, *, asked: int) -> int:
    """At which byte an answer's content begins, when `asked` was asked for; pure.

    Raises: `DownloadFailed` when the server sends another part than it was asked for.
    """
    if status != httpx.codes.PARTIAL_CONTENT:
        return 0
    found = re.fullmatch(r"bytes (\d+)-\d+/(?:\d+|\*)", headers.get("Content-Range", ""))
    if found is None or int(found[1]) != asked:
        raise DownloadFailed(f"bytes from {asked} on were asked for, and {headers.get('Content-Range')!r} came")
    return asked


def _opened(part: Path, received: int) -> BinaryIO:
    """A file that is written to behind what it has; what it has more is cut off."""
    file = part.open("r+b" if received else "wb")
    file.truncate(received)
    file.seek(received)
    return file


class Download:
    """Fetches files with one client, telling and retrying the same way."""

    def __init__(self, client: httpx.AsyncClient, progress: Progress, patience: Patience) -> None:
        self._client = client
        self._progress = progress
        self._patience = patience

    async def small_file(self, url: str) -> tuple[bytes, datetime | None]:
        """A file of at most 4 MiB, and when it was published. Raises: `DownloadFailed`."""
        return await self._tried(url, lambda: self._small(url))

    async def whole_file(self, url: str, part: Path) -> None:
        """All of a file, going on from what `part` has of the same one. Raises: `DownloadFailed`."""
        await self._tried(url, lambda: self._go_on(url, part))

    async def _tried(self, url: str, fetch: Callable[[], Awaitable[Fetched]]) -> Fetched:
        most = self._patience.attempts
        return await fetched(
            fetch,
            self._patience,
            failed=lambda reason: DownloadFailed(f"fetching {url} {reason}"),
            again=lambda cause, number: self._progress(
                f"fetching {url}: {cause}; trying again (attempt {number} of {most})"
            ),
        )

    async def _small(self, url: str) -> tuple[bytes, datetime | None]:
        async with answered(self._client, url) as response:
            response.raise_for_status()
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MOST_SMALL_BYTES:
                    raise DownloadFailed(f"{url} is larger than {MOST_SMALL_BYTES} bytes, so no checksum file or index")
            return content, last_modified(response.headers)

    async def _go_on(self, url: str, part: Path) -> None:
        marker = part.with_name(part.name + ".validator")
        received = part.stat().st_size if part.exists() and marker.exists() else 0
        headers = {"Range": f"bytes={received}-", "If-Range": await off_loop(marker.read_text)} if received else {}
        async with answered(self._client, url, headers) as response:
            if received and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it is there already; the checksum decides
            response.raise_for_status()
            received = resumes_at(response.status_code, response.headers, asked=received)
            await off_loop(_remember, marker, response.headers)
            await self._receive(url, response, part, received)
        await off_loop(marker.unlink, missing_ok=True)

    async def _receive(self, url: str, response: httpx.Response, part: Path, received: int) -> None:
        total = received + int(response.headers.get("Content-Length", 0))
        if total > MOST_IMAGE_BYTES:
            raise DownloadFailed(f"{url} is larger than {MOST_IMAGE_BYTES} bytes")
        told = received
        async with off_loop_with(lambda: _opened(part, received)) as file:
            async for chunk in response.aiter_bytes(CHUNK_BYTES):
                await off_loop(file.write, chunk)
                received += len(chunk)
                if received > MOST_IMAGE_BYTES:
                    raise DownloadFailed(f"{url} is larger than {MOST_IMAGE_BYTES} bytes")
                if received - told >= PROGRESS_BYTES:
                    told = received
                    share = f" ({received * 100 // total} %)" if total else ""
                    self._progress(f"fetching {url}: {received >> 20} of {total >> 20} MiB{share}")


def _remember(marker: Path, headers: httpx.Headers) -> None:
    """Keep what tells this very file from a later one of its address; a weak ETag does not (RFC 9110, 13.1.5)."""
    strong = headers.get("ETag", "")
    validator = strong if strong and not strong.startswith("W/") else headers.get("Last-Modified", "")
    if validator:
        marker.write_text(validator)
    else:
        marker.unlink(missing_ok=True)
