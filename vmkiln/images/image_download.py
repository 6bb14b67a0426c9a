"""Source images fetched by URL: resumable, checked against a published checksum whose signature is checked first.

*Leaves behind:* on failure the part that was received, to go on from. *Undone by:* deleting it.
*Safe to repeat:* yes; goes on where it stopped.
"""

import asyncio
import contextlib
import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from vmkiln.errors import CommandFailed, DownloadFailed, HostUnfit
from vmkiln.host import command
from vmkiln.images.catalogue import DownloadEntry
from vmkiln.images.image_header import inspect_image

ATTEMPTS = 5
FIRST_PAUSE_SECONDS = 1.0
CHUNK_BYTES = 1024 * 1024
MOST_CHECKSUM_BYTES = 4 * 1024 * 1024
MOST_IMAGE_BYTES = 64 * 1024**3
PROGRESS_BYTES = 32 * 1024 * 1024
TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
BY_LENGTH = {64: "sha256", 128: "sha512"}


@dataclass(frozen=True)
class FetchedImage:
    """A fetched image file, and the version its publisher's checksum gives it."""

    file: Path
    version: str


def published_checksum(text: str, file_name: str) -> tuple[str, str] | None:
    """(algorithm, digest) of a file in a checksum file, GNU or BSD style; pure."""
    for line in text.splitlines():
        gnu = re.fullmatch(r"([0-9a-fA-F]{64,128})\s[ *]?(?:\./)?(\S+)", line.strip())
        bsd = re.fullmatch(r"SHA(?:256|512) ?\((\S+)\) = ([0-9a-fA-F]{64,128})", line.strip())
        name, digest = (gnu[2], gnu[1]) if gnu else (bsd[1], bsd[2]) if bsd else ("", "")
        if name == file_name and len(digest) in BY_LENGTH:
            return BY_LENGTH[len(digest)], digest.lower()
    return None


async def fetch_image(
    entry: DownloadEntry, parts: Path, folder: Path, *, progress: Callable[[str], None]
) -> FetchedImage:
    """Fetch an entry's image into `folder`; an unfinished part is kept in `parts`.

    Raises: `DownloadFailed` when it cannot be fetched or does not match; `HostUnfit` when the keyring is missing;
    `ImageUnsafe` when its header is refused.
    """
    file_name = urlsplit(entry.url).path.rsplit("/", 1)[-1]
    limits = httpx.Timeout(60.0, connect=20.0)
    async with httpx.AsyncClient(follow_redirects=True, max_redirects=5, timeout=limits) as client:
        checksums = await _small_file(client, entry.checksum_url)
        text = await _verified_text(client, entry, checksums, folder)
        found = published_checksum(text, file_name)
        if found is None:
            raise DownloadFailed(f"{entry.checksum_url} has no checksum for {file_name}")
        algorithm, digest = found
        part = parts / f".part-{digest[:32]}"
        await _resumed(client, entry.url, part, progress)
    actual = await asyncio.to_thread(_digest_of, part, algorithm)
    if actual != digest:
        part.unlink()
        raise DownloadFailed(f"{entry.url} has {algorithm} {actual}, but its publisher says {digest}")
    file = folder / f"disk.{entry.format}"
    part.rename(file)
    inspect_image(file, expected_format=entry.format)
    return FetchedImage(file, entry.version or f"{algorithm}-{digest[:16]}")


async def _small_file(client: httpx.AsyncClient, url: str) -> bytes:
    try:
        response = await client.get(url)
        response.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadFailed(f"fetching {url} failed: {_cause(error)}") from error
    if len(response.content) > MOST_CHECKSUM_BYTES:
        raise DownloadFailed(f"{url} is larger than a checksum file should be")
    return response.content


def _cause(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the server answered {error.response.status_code}"
    return str(error) or type(error).__name__


async def _verified_text(client: httpx.AsyncClient, entry: DownloadEntry, checksums: bytes, folder: Path) -> str:
    """The checksum file's text, once its signature is found good."""
    if entry.signature == "none":
        return checksums.decode(errors="replace")
    if not Path(entry.keyring).is_file():
        package = f"install the package `{entry.keyring_package}`" if entry.keyring_package else "put the keys there"
        raise HostUnfit(f"the publisher's public keys {entry.keyring} are not on this machine", hint=package)
    if shutil.which("gpgv") is None:
        raise HostUnfit("gpgv is not installed", hint="install the package `gpgv`")
    signed = folder / "checksums"
    signed.write_bytes(checksums)
    verified = folder / "checksums.verified"
    arguments: list[str | Path] = ["gpgv", "--quiet", "--keyring", entry.keyring]
    if entry.signature == "detached":
        signature = folder / "checksums.signature"
        signature.write_bytes(await _small_file(client, entry.signature_url))
        arguments += [signature, signed]
        verified = signed
    else:
        arguments += ["--output", verified, signed]
    try:
        await command.run(arguments, timeout_seconds=60)
    except CommandFailed as error:
        raise DownloadFailed(f"the signature of {entry.checksum_url} is not good: {error.output.strip()}") from error
    return verified.read_text(errors="replace")


async def _resumed(client: httpx.AsyncClient, url: str, part: Path, progress: Callable[[str], None]) -> None:
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await _go_on(client, url, part, progress)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            is_final = (
                isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in TEMPORARY_STATUS
            ) or isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects))
            if is_final or attempt == ATTEMPTS:
                raise DownloadFailed(f"fetching {url} failed after {attempt} attempts: {_cause(error)}") from error
            progress(f"fetching {url}: {_cause(error)}; trying again (attempt {attempt + 1} of {ATTEMPTS})")
            await asyncio.sleep(pause)
            pause *= 2
        else:
            return


async def _go_on(client: httpx.AsyncClient, url: str, part: Path, progress: Callable[[str], None]) -> None:
    """Receive the rest; starts anew when the server sends the whole, or the file changed there."""
    marker = part.with_name(part.name + ".validator")
    received = part.stat().st_size if part.exists() and marker.exists() else 0
    headers = {"Range": f"bytes={received}-", "If-Range": marker.read_text()} if received else {}
    async with client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there; the checksum decides
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            received = 0
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        with contextlib.suppress(FileNotFoundError):
            if not validator or validator.startswith("W/"):
                marker.unlink()
        if validator and not validator.startswith("W/"):
            marker.write_text(validator)
        total = received + int(response.headers.get("Content-Length", 0))
        told = received
        with part.open("r+b" if received else "wb") as file:
            file.seek(received)
            file.truncate()
            async for chunk in response.aiter_bytes(CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                if received > MOST_IMAGE_BYTES:
                    raise DownloadFailed(f"{url} is larger than {MOST_IMAGE_BYTES} bytes")
                if received - told >= PROGRESS_BYTES:
                    told = received
                    share = f"{received * 100 // total} %" if total else "?"
                    progress(f"fetching {url}: {received >> 20} MiB ({share})")
    marker.unlink(missing_ok=True)


def _digest_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
