"""A publisher's checksum file: its formats, and the signature that makes it trustworthy.

Sources: sha256sum(1), "--tag" and the default format; gpgv(1); RFC 9580, section 6.2 (ASCII armor).
"""

import base64
import binascii
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vmkiln.errors import CommandFailed, DownloadFailed, HostUnfit
from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.platform_images.catalogue_entry import DownloadEntry, name_of
from vmkiln.waiting.off_loop import off_loop

KEYRING_FOLDERS = (Path("/usr/share/keyrings"), Path("/etc/apt/trusted.gpg.d"), Path("/etc/pki/rpm-gpg"))
GPGV_SECONDS = 60
BY_LENGTH = {64: "sha256", 128: "sha512"}
_GNU = re.compile(r"([0-9a-fA-F]{64,128})\s+[ *]?(?:\./)?(\S+)")
_BSD = re.compile(r"SHA(?:256|512) ?\((\S+)\) = ([0-9a-fA-F]{64,128})")
_MEMBER = re.compile(r"\{([\w.]+)\}")
_ARMOR = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)


@dataclass(frozen=True)
class PublishedChecksum:
    """What a file's publisher says its digest is: `sha256` or `sha512`, in lower-case hexadecimal."""

    algorithm: str
    digest: str


def published_checksum(text: str, file_name: str) -> PublishedChecksum | None:
    """A file's checksum in a checksum file, GNU or BSD style (both may be mixed); None when it is not named; pure."""
    for line in text.splitlines():
        gnu, bsd = _GNU.fullmatch(line.strip()), _BSD.fullmatch(line.strip())
        name, digest = (gnu[2], gnu[1]) if gnu else (bsd[1], bsd[2]) if bsd else ("", "")
        if name == file_name and len(digest) in BY_LENGTH:
            return PublishedChecksum(BY_LENGTH[len(digest)], digest.lower())
    return None


def json_checksum(text: str, *, member: str, url: str) -> tuple[str, PublishedChecksum]:
    """The address and the SHA-256 of an image in a publisher's JSON; pure.

    `member` is where the checksum stands (`kvm.sha256`); `url` has members in braces, on a server that it names itself.
    Raises: `DownloadFailed`.
    """
    try:
        document = json.loads(text)
        digest = _member_of(document, member)
        full = _MEMBER.sub(lambda found: _member_of(document, found[1]), url)
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadFailed(f"the publisher's JSON has no text {member} of a checksum, or of its address") from error
    server, wanted = urlsplit(full), urlsplit(url.partition("{")[0])
    if (server.scheme, server.netloc) != (wanted.scheme, wanted.netloc) or ".." in server.path.split("/"):
        raise DownloadFailed(f"the publisher's JSON names an image on another server, {full[:200]}")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise DownloadFailed(f"the publisher's JSON has no SHA-256 in {member}")
    return full, PublishedChecksum("sha256", digest.lower())


def _member_of(document: Any, path: str) -> str:
    for name in path.split("."):
        document = document[name]
    if not isinstance(document, str):
        raise TypeError(path)
    return document


def find_keyring(name: str, *, own_keyrings: Path) -> Path | None:
    """The file with a publisher's public keys: a path as it is, a name first among the user's own."""
    folders = (own_keyrings, *KEYRING_FOLDERS)
    places = [Path(name)] if Path(name).is_absolute() else [folder / name for folder in folders]
    return next((place for place in places if place.is_file()), None)


def binary_keyring(content: bytes) -> bytes:
    """Public keys as gpgv reads them, whether they came so or as text; pure. Raises: `ValueError`."""
    blocks = _ARMOR.findall(content.decode("ascii", errors="replace"))
    if not blocks:
        return content
    return b"".join(_dearmored(block) for block in blocks)


def _dearmored(block: str) -> bytes:
    _, _, body = block.replace("\r\n", "\n").partition("\n\n") if ":" in block else ("", "", block)
    lines = [line.strip() for line in body.splitlines() if line.strip() and not line.startswith("=")]
    try:
        return base64.b64decode("".join(lines), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the armored keys cannot be read: {error}") from error


async def verified_text(
    entry: DownloadEntry,
    checksums: bytes,
    *,
    signature: bytes | None,
    own_keyrings: Path,
    folder: Path,
    fetched_keys: bytes | None = None,
) -> str:
    """The text of a signed checksum file, or of the signed part of it, once gpgv found the signature good.

    Where the entry has fingerprints, one of those keys must have signed it. `fetched_keys` are the publisher's keys
    where this machine has none.

    Raises: `HostUnfit` when gpgv or the publisher's keys are missing; `DownloadFailed` when the signature is not good.
    """
    keyring = await off_loop(_readable_keyring, entry, own_keyrings, folder, fetched_keys)
    signed = folder / "checksums"
    await off_loop(signed.write_bytes, checksums)
    arguments: list[str | Path] = ["gpgv", "--quiet", "--status-fd", "1", "--keyring", keyring.absolute()]
    if signature is not None:
        detached = folder / "checksums.signature"
        await off_loop(detached.write_bytes, signature)
        verified = signed
        arguments += [detached, signed]
    else:
        verified = folder / "checksums.verified"
        arguments += ["--output", verified, signed]
    try:
        reach = Reach((keyring,), (folder,))
        done = await confined_program.run(arguments, reach, timeout_seconds=GPGV_SECONDS)
    except CommandFailed as error:
        raise DownloadFailed(
            f"the signature of {entry.checksum_url} is not good: {error.output.strip()}",
            hint="nothing was used of it; if the publisher has new keys, update the keyring",
        ) from error
    if entry.fingerprints and not set(signers(done.text)) & set(entry.fingerprints):
        raise DownloadFailed(
            f"{entry.checksum_url} is signed with {', '.join(signers(done.text))}, which is no key of its publisher",
            hint=f"the publisher's keys are {', '.join(entry.fingerprints)}; nothing was used of it",
        )
    return await off_loop(verified.read_text, errors="replace")


def signers(status: str) -> Sequence[str]:
    """The fingerprints of the primary keys whose signatures gpgv found good, by its status lines; pure.

    Source: doc/DETAILS of GnuPG, VALIDSIG: the last field is the primary key's.
    """
    lines = [line.split() for line in status.splitlines()]
    return [words[-1] for words in lines if words[:2] == ["[GNUPG:]", "VALIDSIG"]]


def _readable_keyring(
    entry: DownloadEntry, own_keyrings: Path, folder: Path, fetched_keys: bytes | None = None
) -> Path:
    found = find_keyring(entry.keyring, own_keyrings=own_keyrings)
    name = name_of(entry)
    if found is None and fetched_keys is None:
        hint = f"{entry.keyring_hint}; or " if entry.keyring_hint else ""
        raise HostUnfit(
            f"the public keys that {name} is signed with ({entry.keyring}) are not on this machine",
            hint=f"{hint}put them into {own_keyrings}",
        )
    if shutil.which("gpgv") is None:
        raise HostUnfit("gpgv, which checks the signatures of images, is not installed", hint="run `script/bootstrap`")
    try:
        content = binary_keyring(found.read_bytes() if found is not None else fetched_keys or b"")
    except ValueError as error:
        raise HostUnfit(f"the keyring {found or entry.key_url} of {name} is damaged: {error}") from error
    keyring = folder / "keyring.gpg"
    keyring.write_bytes(content)
    return keyring
