"""Fetches an image by its address: resumed, retried, and checked against its publisher's checksum before it is used.

*Leaves behind:* on success the file; after a failure only the part that arrived (`.part-*` in the cache), to go on
from. *Undone by:* deleting it. *Safe to repeat:* yes; goes on where it stopped.
"""

import asyncio
import contextlib
import email.utils
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import httpx

from vmkiln.errors import DownloadFailed
from vmkiln.fetching import CHUNK_BYTES, Fetched, Patience, connected, fetched
from vmkiln.platform_images.catalogue import DownloadEntry
from vmkiln.platform_images.checksum_file import PublishedChecksum, published_checksum, verified_text
from vmkiln.waiting.off_loop import off_loop, off_loop_with

MOST_SMALL_BYTES = 4 * 1024 * 1024
MOST_IMAGE_BYTES = 64 * 1024**3
PROGRESS_BYTES = 32 * 1024 * 1024

Progress = Callable[[str], None]


@dataclass(frozen=True)
class FetchedImage:
    """A fetched file that matched its publisher's checksum, and when that checksum was published (UTC), if told."""

    file: Path
    checksum: PublishedChecksum
    published: datetime | None


async def fetch_image(
    entry: DownloadEntry, folder: Path, *, parts: Path, own_keyrings: Path, progress: Progress, patience: Patience
) -> FetchedImage:
    """Fetch an entry's image into `folder`; an unfinished part is kept in `parts` (same file system).

    Raises: `DownloadFailed` when it cannot be fetched or does not match; `HostUnfit` when the publisher's keys are
    not on this machine.
    """
    async with connected() as client:
        download = _Download(client, progress, patience)
        checksums, published = await download.small_file(entry.checksum_url)
        if entry.signature == "none":
            progress(f"{entry.checksum_url} is not signed; who serves it is trusted")
            text = checksums.decode(errors="replace")
        else:
            is_detached = entry.signature == "detached"
            signature = (await download.small_file(entry.signature_url))[0] if is_detached else None
            text = await verified_text(entry, checksums, signature=signature, own_keyrings=own_keyrings, folder=folder)
        name = unquote(urlsplit(entry.url).path).rsplit("/", 1)[-1]
        checksum = published_checksum(text, name)
        if checksum is None:
            raise DownloadFailed(f"{entry.checksum_url} has no SHA-256 or SHA-512 of {name}")
        part = parts / f".part-{checksum.digest[:32]}"
        await download.whole_file(entry.url, part)
    actual = await asyncio.to_thread(_digest_of, part, checksum.algorithm)
    if actual != checksum.digest:
        await off_loop(part.unlink)
        raise DownloadFailed(
            f"{entry.url} has {checksum.algorithm} {actual}, but its publisher says {checksum.digest}",
            hint="it was deleted; the publisher may just be replacing it, so try again later",
        )
    file = folder / "fetched"
    await off_loop(part.rename, file)
    return FetchedImage(file, checksum, published)


def _digest_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


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


class _Download:
    """Fetches files with one client, telling and retrying the same way."""

    def __init__(self, client: httpx.AsyncClient, progress: Progress, patience: Patience) -> None:
        self._client = client
        self._progress = progress
        self._patience = patience

    async def small_file(self, url: str) -> tuple[bytes, datetime | None]:
        """A file of at most 4 MiB, and when it was published."""
        return await self._tried(url, lambda: self._small(url))

    async def whole_file(self, url: str, part: Path) -> None:
        """All of a file, going on from what `part` has of the same one."""
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
        async with self._client.stream("GET", url) as response:
            _check_answer(url, response)
            content = b""
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MOST_SMALL_BYTES:
                    raise DownloadFailed(f"{url} is larger than {MOST_SMALL_BYTES} bytes, so no checksum file")
            return content, last_modified(response.headers)

    async def _go_on(self, url: str, part: Path) -> None:
        marker = part.with_name(part.name + ".validator")
        received = part.stat().st_size if part.exists() and marker.exists() else 0
        headers = {"Range": f"bytes={received}-", "If-Range": await off_loop(marker.read_text)} if received else {}
        async with self._client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
            if received and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it is there already; the checksum decides
            _check_answer(url, response)
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


def _check_answer(url: str, response: httpx.Response) -> None:
    response.raise_for_status()
    if url.startswith("https:") and response.url.scheme != "https":
        raise DownloadFailed(f"{url} led to an address without https, {response.url}")


def _remember(marker: Path, headers: httpx.Headers) -> None:
    """Keep what tells this very file from a later one of its address; a weak ETag does not (RFC 9110, 13.1.5)."""
    strong = headers.get("ETag", "")
    validator = strong if strong and not strong.startswith("W/") else headers.get("Last-Modified", "")
    if validator:
        marker.write_text(validator)
    else:
        marker.unlink(missing_ok=True)
