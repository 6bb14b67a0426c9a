"""A publisher's checksum file: its formats, and the signature that makes it trustworthy.

Sources: sha256sum(1), "--tag" and the default format; gpgv(1); RFC 9580, section 6.2 (ASCII armor).
"""

import base64
import binascii
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import CommandFailed, DownloadFailed, HostUnfit
from vmkiln.host import command
from vmkiln.platform_images.catalogue import DownloadEntry
from vmkiln.waiting.off_loop import off_loop

KEYRING_FOLDERS = (Path("/usr/share/keyrings"), Path("/etc/apt/trusted.gpg.d"), Path("/etc/pki/rpm-gpg"))
GPGV_SECONDS = 60
BY_LENGTH = {64: "sha256", 128: "sha512"}
_GNU = re.compile(r"([0-9a-fA-F]{64,128})\s+[ *]?(?:\./)?(\S+)")
_BSD = re.compile(r"SHA(?:256|512) ?\((\S+)\) = ([0-9a-fA-F]{64,128})")
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
    entry: DownloadEntry, checksums: bytes, *, signature: bytes | None, own_keyrings: Path, folder: Path
) -> str:
    """The text of a signed checksum file, or of the signed part of it, once gpgv found the signature good.

    Raises: `HostUnfit` when gpgv or the publisher's keys are missing; `DownloadFailed` when the signature is not good.
    """
    keyring = await off_loop(_readable_keyring, entry, own_keyrings=own_keyrings, folder=folder)
    signed = folder / "checksums"
    await off_loop(signed.write_bytes, checksums)
    arguments: list[str | Path] = ["gpgv", "--quiet", "--keyring", keyring]
    if signature is not None:
        detached = folder / "checksums.signature"
        await off_loop(detached.write_bytes, signature)
        verified = signed
        arguments += [detached, signed]
    else:
        verified = folder / "checksums.verified"
        arguments += ["--output", verified, signed]
    try:
        await command.run(arguments, timeout_seconds=GPGV_SECONDS)
    except CommandFailed as error:
        raise DownloadFailed(
            f"the signature of {entry.checksum_url} is not good: {error.output.strip()}",
            hint="nothing was used of it; if the publisher has new keys, update the keyring",
        ) from error
    return await off_loop(verified.read_text, errors="replace")


def _readable_keyring(entry: DownloadEntry, *, own_keyrings: Path, folder: Path) -> Path:
    found = find_keyring(entry.keyring, own_keyrings=own_keyrings)
    name = f"{entry.publisher}:{entry.offer}:{entry.sku}"
    if found is None:
        hint = f"{entry.keyring_hint}; or " if entry.keyring_hint else ""
        raise HostUnfit(
            f"the public keys that {name} is signed with ({entry.keyring}) are not on this machine",
            hint=f"{hint}put them into {own_keyrings}",
        )
    if shutil.which("gpgv") is None:
        raise HostUnfit("gpgv, which checks the signatures of images, is not installed", hint="run `script/bootstrap`")
    try:
        content = binary_keyring(found.read_bytes())
    except ValueError as error:
        raise HostUnfit(f"the keyring {found} of {name} is damaged: {error}") from error
    keyring = folder / "keyring.gpg"
    keyring.write_bytes(content)
    return keyring
