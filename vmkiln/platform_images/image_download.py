"""Fetches an image by its address, and checks it against its publisher's checksum before it is used.

*Leaves behind:* on success the file; after a failure only the part that arrived (`.part-*` in the cache), to go on
from. *Undone by:* deleting it. *Safe to repeat:* yes; goes on where it stopped.
"""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vmkiln.errors import DownloadFailed
from vmkiln.fetching.http_fetch import Patience, connected
from vmkiln.fetching.server_rule import FOR_THE_OPERATOR
from vmkiln.fetching.way_out import STRAIGHT, WayOut
from vmkiln.platform_images.catalogue_entry import DownloadEntry
from vmkiln.platform_images.checksum_file import (
    PublishedChecksum,
    find_keyring,
    json_checksum,
    published_checksum,
    verified_text,
)
from vmkiln.platform_images.resumed_download import Download, Progress
from vmkiln.waiting.off_loop import off_loop


@dataclass(frozen=True)
class FetchedImage:
    """A fetched file that matched its publisher's checksum, and when that checksum was published (UTC), if told."""

    file: Path
    checksum: PublishedChecksum
    published: datetime | None


async def fetch_image(
    entry: DownloadEntry,
    folder: Path,
    *,
    parts: Path,
    own_keyrings: Path,
    progress: Progress,
    patience: Patience,
    way_out: WayOut = STRAIGHT,
) -> FetchedImage:
    """Fetch an entry's image into `folder`; an unfinished part is kept in `parts` (same file system).

    A catalogue's addresses are the operator's own words, so they may be private ones.

    Raises: `DownloadFailed` when it cannot be fetched or does not match; `HostUnfit` when the publisher's keys are
    not on this machine and cannot be fetched.
    """
    async with connected(way_out, FOR_THE_OPERATOR) as client:
        download = Download(client, progress, patience)
        text, published = await _checksums(entry, download, folder, own_keyrings=own_keyrings, progress=progress)
        if entry.checksum_member:
            found = json_checksum(text, member=entry.checksum_member, url=entry.url)
            entry, checksum = replace(entry, url=found[0]), found[1]
        else:
            name = unquote(urlsplit(entry.url).path).rsplit("/", 1)[-1]
            named = published_checksum(text, name)
            if named is None:
                raise DownloadFailed(f"{entry.checksum_url} has no SHA-256 or SHA-512 of {name}")
            checksum = named
        file = folder / "fetched"
        await fetch_checked(download, entry.url, checksum, file, parts=parts)
    return FetchedImage(file, checksum, published)


async def fetch_checked(download: Download, url: str, checksum: PublishedChecksum, file: Path, *, parts: Path) -> None:
    """Fetch one file that has this checksum. Raises: `DownloadFailed`, and what does not match is deleted."""
    part = parts / f".part-{checksum.digest[:32]}"
    await download.whole_file(url, part)
    actual = await asyncio.to_thread(_digest_of, part, checksum.algorithm)
    if actual != checksum.digest:
        await off_loop(part.unlink)
        raise DownloadFailed(
            f"{url} has {checksum.algorithm} {actual}, but its publisher says {checksum.digest}",
            hint="it was deleted; the publisher may just be replacing it, so try again later",
        )
    await off_loop(part.rename, file)


async def _checksums(
    entry: DownloadEntry, download: Download, folder: Path, *, own_keyrings: Path, progress: Progress
) -> tuple[str, datetime | None]:
    """The publisher's checksum file, after its signature was found good where it has one."""
    checksums, published = await download.small_file(entry.checksum_url)
    if entry.signature == "none":
        progress(f"{entry.checksum_url} is not signed; who serves it is trusted")
        return checksums.decode(errors="replace"), published
    signature = (await download.small_file(entry.signature_url))[0] if entry.signature == "detached" else None
    keys = None
    if entry.key_url and await off_loop(find_keyring, entry.keyring, own_keyrings=own_keyrings) is None:
        progress(f"fetching the public keys of {entry.publisher} from {entry.key_url}")
        keys, _ = await download.small_file(entry.key_url)
    text = await verified_text(
        entry, checksums, signature=signature, own_keyrings=own_keyrings, folder=folder, fetched_keys=keys
    )
    return text, published


def _digest_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
