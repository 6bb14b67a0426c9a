"""Fetches a release of Packer from its maker or a mirror, and unpacks the program once its checksum and signature hold.

`script/bootstrap` runs this file with the distribution's Python where the distribution has no package `packer`:
before there is a Python environment, so it needs nothing but the standard library and gpgv.

*Leaves behind:* the program, whole, or nothing. *Undone by:* deleting it. *Safe to repeat:* yes.
Sources: the layout of releases.hashicorp.com (PRODUCT/VERSION/PRODUCT_VERSION_SHA256SUMS and its .sig); gpgv(1);
hashicorp.com/security for the key's fingerprint, C874 011F 0AB4 0511 0D02 1055 3436 5D94 72D7 468F.
"""

import argparse
import asyncio
import base64
import hashlib
import http.client
import os
import re
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import CommandFailed, DownloadFailed, VmkilnError
from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.waiting.off_loop import off_loop, off_loop_with

KEY = Path(__file__).with_name("hashicorp_72d7468f.asc")
PROGRAM = "packer"
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
SILENCE_SECONDS = 30.0
WHOLE_SECONDS = 30 * 60.0
GPGV_SECONDS = 60
CHUNK_BYTES = 1024 * 1024
MOST_CHECKSUM_BYTES = 1024 * 1024
MOST_ARCHIVE_BYTES = 256 * 1024 * 1024
MOST_PROGRAM_BYTES = 1024 * 1024 * 1024
TEMPORARY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Release:
    """One version for one architecture (as Go names it), and the address under which all versions lie."""

    version: str
    architecture: str
    base_url: str

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return f"packer_{self.version}_linux_{self.architecture}.zip"

    @property
    def checksums(self) -> str:
        """The file name of the version's checksums; their signature has `.sig` behind it."""
        return f"packer_{self.version}_SHA256SUMS"

    def url(self, name: str) -> str:
        """The address of one of the version's files."""
        return f"{self.base_url.rstrip('/')}/{self.version}/{name}"


def checksum_of(text: str, name: str) -> str | None:
    """A file's SHA-256 in the text of a checksum file, in lower-case hexadecimal; none when it is not named; pure."""
    for line in text.splitlines():
        found = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](\S+)", line.strip())
        if found and found[2] == name:
            return found[1].lower()
    return None


def keyring(text: str) -> bytes:
    """Armored public keys as gpgv reads them (RFC 9580, section 6.2); pure. Raises: `ValueError`."""
    text = text.replace("\r\n", "\n")
    blocks = re.findall(r"-----BEGIN PGP PUBLIC KEY BLOCK-----(\n.*?)-----END PGP", text, re.DOTALL)
    if not blocks:
        raise ValueError("there is no armored public key in it")
    # the armor's headers end at an empty line, and its last line is a checksum
    bodies = [block.partition("\n\n")[2].partition("\n=")[0] for block in blocks]
    return b"".join(base64.b64decode("".join(body.split()), validate=True) for body in bodies)


async def fetch(release: Release, target: Path, *, key: Path, expected: str | None) -> str:
    """Put the program at `target`, executable; returns its archive's SHA-256.

    `expected` is a SHA-256 known beforehand, which the publisher's signed checksum has to equal.

    Raises: `DownloadFailed` when something cannot be fetched, or is not what its publisher signed.
    """
    async with off_loop_with(lambda: tempfile.TemporaryDirectory(prefix=".packer-", dir=target.parent)) as name:
        folder = Path(name)
        checksums, signature, archive = folder / "SHA256SUMS", folder / "SHA256SUMS.sig", folder / "archive.zip"
        for file_name, place in ((release.checksums, checksums), (f"{release.checksums}.sig", signature)):
            await asyncio.to_thread(download, release.url(file_name), place, most_bytes=MOST_CHECKSUM_BYTES)
        await check_signature(checksums, signature, key=key, folder=folder, url=release.url(release.checksums))
        text = await off_loop(checksums.read_text, errors="replace")
        digest = checksum_of(text, release.archive)
        if digest is None:
            raise DownloadFailed(f"{release.url(release.checksums)} has no checksum of {release.archive}")
        if expected and digest != expected:
            raise DownloadFailed(f"the signed checksum of {release.archive} is {digest}, but {expected} is expected")
        await asyncio.to_thread(download, release.url(release.archive), archive, most_bytes=MOST_ARCHIVE_BYTES)
        actual = await asyncio.to_thread(_sha256_of, archive)
        if actual != digest:
            raise DownloadFailed(f"{release.url(release.archive)} has SHA-256 {actual}, but {digest} was signed")
        program = folder / PROGRAM
        await asyncio.to_thread(unpack, archive, program)
        await off_loop(program.replace, target)
    return digest


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, target: Path, *, most_bytes: int) -> None:
    """Fetch a file, through the proxy that the environment names; tried again when the server is busy or hangs up.

    Raises: `DownloadFailed`, with the reason.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _downloaded(url, target, most_bytes)
        except urllib.error.HTTPError as error:
            with error:
                reason, is_temporary = f"HTTP {error.code} {error.reason}", error.code in TEMPORARY_STATUS
        except (OSError, http.client.HTTPException) as error:
            told = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            # a name that cannot be resolved or a refusing host stays so; a broken connection need not
            reason, is_temporary = str(told), not isinstance(error, urllib.error.URLError)
        except ValueError as error:
            raise DownloadFailed(f"{url} is no address that can be fetched: {error}") from error
        if not is_temporary or attempt + 1 == ATTEMPTS:
            raise DownloadFailed(f"{url} cannot be fetched: {reason}")
        time.sleep(PAUSE_SECONDS * 2**attempt)
    return None


def _downloaded(url: str, target: Path, most_bytes: int) -> None:
    if not url.startswith(("https://", "http://")):
        raise DownloadFailed(f"{url} is not an address that begins with https:// or http://")
    began, count = time.monotonic(), 0
    opener = urllib.request.build_opener()  # with the proxies that the environment names now
    with opener.open(url, timeout=SILENCE_SECONDS) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        while chunk := answer.read(CHUNK_BYTES):
            count += len(chunk)
            if count > most_bytes:
                raise DownloadFailed(f"{url} is longer than {most_bytes // 1024**2} MiB")
            if time.monotonic() - began > WHOLE_SECONDS:
                raise DownloadFailed(f"{url} did not arrive within {WHOLE_SECONDS / 60:g} minutes")
            file.write(chunk)
    if length is not None and count != int(length):
        raise http.client.IncompleteRead(b"", int(length) - count)


def _write_keyring(trusted: Path, key: Path) -> None:
    trusted.write_bytes(keyring(key.read_text(errors="replace")))


async def check_signature(signed: Path, signature: Path, *, key: Path, folder: Path, url: str) -> None:
    """Raises: `DownloadFailed` unless gpgv finds the signature good and made by one of the keys in `key`."""
    trusted = folder / "trusted.gpg"
    try:
        await off_loop(_write_keyring, trusted, key)
    except (OSError, ValueError) as error:
        raise DownloadFailed(f"the publisher's key {key} cannot be read: {error}") from error
    try:
        files = [path.absolute() for path in (trusted, signature, signed)]
        arguments: list[str | Path] = ["gpgv", "--quiet", "--keyring", *files]
        await confined_program.run(arguments, Reach(tuple(files)), timeout_seconds=GPGV_SECONDS)
    except CommandFailed as error:
        raise DownloadFailed(f"the signature of {url} is not good: {error.output.strip()}") from error


def unpack(archive: Path, target: Path) -> None:
    """Take the program out of its archive. Raises: `DownloadFailed` when it is not in there."""
    try:
        with zipfile.ZipFile(archive) as content:
            member = content.getinfo(PROGRAM)
            if member.file_size > MOST_PROGRAM_BYTES:
                raise DownloadFailed(f"{PROGRAM} in {archive.name} is longer than {MOST_PROGRAM_BYTES // 1024**2} MiB")
            with content.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
                os.fchmod(file.fileno(), 0o755)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(f"there is no program {PROGRAM} in the archive: {error}") from error


def reach(release: Release) -> None:
    """Raises: `DownloadFailed` when the version's checksums cannot be fetched; nothing is left."""
    with tempfile.TemporaryDirectory(prefix="packer-") as folder:
        download(release.url(release.checksums), Path(folder) / "checksums", most_bytes=MOST_CHECKSUM_BYTES)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line, for `script/bootstrap`: 0 when done, 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description="Fetches a release of Packer.")
    parser.add_argument("--version", required=True)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--url", required=True, help="where the versions lie")
    parser.add_argument("--key", type=Path, default=KEY, help="the publisher's armored public keys")
    parser.add_argument("--sha256", help="the archive's checksum, when it is known beforehand")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--into", type=Path, help="where the program goes")
    wanted.add_argument("--only-reach", action="store_true", help="only see whether it could be fetched")
    given = parser.parse_args(arguments)
    release = Release(given.version, given.architecture, given.url)
    try:
        if given.only_reach:
            reach(release)
        else:
            digest = asyncio.run(fetch(release, given.into, key=given.key, expected=given.sha256))
            sys.stderr.write(f"SHA-256 {digest}, signed by its publisher\n")
    except VmkilnError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
