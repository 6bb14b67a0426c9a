"""Checksum files: formats, keyrings, and signatures checked by the real gpgv."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from signing_publisher import Publisher, signing_publishers

from vmkiln.errors import DownloadFailed, HostUnfit
from vmkiln.platform_images.catalogue_entry import DownloadEntry
from vmkiln.platform_images.checksum_file import (
    PublishedChecksum,
    binary_keyring,
    find_keyring,
    published_checksum,
    verified_text,
)

SHA256 = "a" * 64
SHA512 = "b" * 128
TEXT = f"{SHA256}  disk.qcow2\n"
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg makes the keys of this test")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{SHA256}  disk.qcow2", PublishedChecksum("sha256", SHA256)),
        (f"{SHA256} *disk.qcow2", PublishedChecksum("sha256", SHA256)),
        (f"{SHA256}  ./disk.qcow2", PublishedChecksum("sha256", SHA256)),
        (f"{SHA256.upper()}  disk.qcow2", PublishedChecksum("sha256", SHA256)),
        (f"{SHA512}  disk.qcow2", PublishedChecksum("sha512", SHA512)),
        (f"SHA256 (disk.qcow2) = {SHA256}", PublishedChecksum("sha256", SHA256)),
        (f"SHA512 (disk.qcow2) = {SHA512}", PublishedChecksum("sha512", SHA512)),
    ],
)
def test_each_usual_format_is_read(line: str, expected: PublishedChecksum) -> None:
    text = f"# disk.qcow2: 12345 bytes\n{'c' * 64}  other.qcow2\n{line}\n"
    assert published_checksum(text, "disk.qcow2") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{SHA256}  disk.qcow2.asc",
        f"{SHA256}  other/disk.qcow2x",
        f"{'a' * 63}  disk.qcow2",
        f"{'a' * 32}  disk.qcow2",
        f"MD5 (disk.qcow2) = {'a' * 32}",
        "<html>disk.qcow2</html>",
    ],
)
def test_a_file_that_is_not_named_with_a_strong_checksum_has_none(text: str) -> None:
    assert published_checksum(text, "disk.qcow2") is None


def test_the_users_own_keyring_comes_first(tmp_path: Path) -> None:
    (tmp_path / "debian-archive-keyring.gpg").write_bytes(b"own")
    assert find_keyring("debian-archive-keyring.gpg", own_keyrings=tmp_path) == tmp_path / "debian-archive-keyring.gpg"
    assert find_keyring("no-such-keyring.gpg", own_keyrings=tmp_path) is None
    assert find_keyring(str(tmp_path / "debian-archive-keyring.gpg"), own_keyrings=Path("/none")) is not None


def test_damaged_armor_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        binary_keyring(b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----\n")


@pytest.fixture(scope="module")
def publishers() -> Iterator[tuple[Publisher, Publisher]]:
    with signing_publishers(2) as (first, second):
        yield first, second


def entry(keyring: Path, *, signature: str = "detached") -> DownloadEntry:
    return DownloadEntry(
        "Acme", "golden", "1", 1, "https://acme.example/disk.qcow2", "https://acme.example/SHA256SUMS", "qcow2",
        signature=signature, keyring=str(keyring), keyring_hint="ask Acme",
    )  # fmt: skip


async def verify(keyring: Path, checksums: bytes, signature: bytes | None, folder: Path) -> str:
    kind = "clearsigned" if signature is None else "detached"
    own = folder / "keyrings"
    return await verified_text(
        entry(keyring, signature=kind), checksums, signature=signature, own_keyrings=own, folder=folder
    )


@needs_gpg
@pytest.mark.parametrize("options", [(), ("--armor",)], ids=["binary keys", "armored keys"])
async def test_a_good_detached_signature_is_accepted(
    publishers: tuple[Publisher, Publisher], tmp_path: Path, options: tuple[str, ...]
) -> None:
    publisher = publishers[0]
    keyring = tmp_path / "acme.gpg"
    keyring.write_bytes(publisher.public_key(*options))
    assert await verify(keyring, TEXT.encode(), publisher.signature(TEXT.encode()), tmp_path) == TEXT


@needs_gpg
async def test_of_a_clearsigned_file_only_the_signed_part_is_used(
    publishers: tuple[Publisher, Publisher], tmp_path: Path
) -> None:
    publisher = publishers[0]
    keyring = tmp_path / "acme.gpg"
    keyring.write_bytes(publisher.public_key())
    forged = f"{'f' * 64}  disk.qcow2\n".encode() + publisher.clear_signed(TEXT.encode())
    text = await verify(keyring, forged, None, tmp_path)
    assert published_checksum(text, "disk.qcow2") == PublishedChecksum("sha256", SHA256)


@needs_gpg
@pytest.mark.parametrize("what", ["content", "signer", "garbage"])
async def test_a_bad_signature_is_refused(publishers: tuple[Publisher, Publisher], tmp_path: Path, what: str) -> None:
    trusted, stranger = publishers
    keyring = tmp_path / "acme.gpg"
    keyring.write_bytes(trusted.public_key())
    content = TEXT.encode()
    signature = {
        "content": trusted.signature(content + b"more"),
        "signer": stranger.signature(content),
        "garbage": b"not a signature",
    }[what]
    with pytest.raises(DownloadFailed, match=r"signature of .* is not good"):
        await verify(keyring, content, signature, tmp_path)


async def test_missing_keys_say_how_to_get_them_and_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(HostUnfit, match="not on this machine") as unfit:
        await verify(tmp_path / "none.gpg", TEXT.encode(), b"", tmp_path)
    assert "ask Acme" in (unfit.value.hint or "")
    assert str(tmp_path / "keyrings") in (unfit.value.hint or "")
