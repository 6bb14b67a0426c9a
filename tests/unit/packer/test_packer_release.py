"""A release of Packer: what is fetched, from where, and what of it is believed."""

import asyncio
import hashlib
import stat
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packer_mirror import FAR_AWAY, Mirror, Signer, archive_of, release_files, serving, signing

from vmkiln.errors import DownloadFailed
from vmkiln.packer import packer_release
from vmkiln.packer.packer_release import KEY, Release, checksum_of, fetch, keyring, main

FINGERPRINT = "C874011F0AB405110D02105534365D9472D7468F"  # hashicorp.com/security
PROGRAM = b"#!/bin/sh\necho Packer v1.9.5\n"


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with signing() as made:
        yield made


@pytest.fixture
def key(signer: Signer, tmp_path: Path) -> Path:
    file = tmp_path / "mirror.asc"
    file.write_bytes(signer.public_key())
    return file


@pytest.fixture
def mirror(signer: Signer) -> Iterator[Mirror]:
    with serving() as served:
        served.files |= release_files(signer, "1.9.5", PROGRAM)
        yield served


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer_release, "PAUSE_SECONDS", 0.01)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def fetched(mirror: Mirror, target: Path, key: Path, *, url: str = "", expected: str | None = None) -> str:
    release = Release("1.9.5", "amd64", url or mirror.address)
    return asyncio.run(fetch(release, target, key=key, expected=expected))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_shipped_key_is_hashicorps(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shown = subprocess.run(
        ["gpg", "--homedir", home, "--batch", "--with-colons", "--show-keys"],
        input=keyring(KEY.read_text()),
        capture_output=True,
        check=True,
    ).stdout.decode()
    records = [line.split(":") for line in shown.splitlines()]
    assert next(record[9] for record in records if record[0] == "fpr") == FINGERPRINT
    assert sum(record[0] == "pub" for record in records) == 1


def test_a_release_is_put_in_place_whole_and_executable(mirror: Mirror, key: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    digest = fetched(mirror, folder / "packer", key)
    assert digest == hashlib.sha256(mirror.files["/1.9.5/packer_1.9.5_linux_amd64.zip"]).hexdigest()
    assert (folder / "packer").read_bytes() == PROGRAM
    assert stat.S_IMODE((folder / "packer").stat().st_mode) == 0o755
    assert left_in(folder) == ["packer"]


def test_a_release_comes_through_the_proxy_that_the_environment_names(
    mirror: Mirror, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", mirror.address)
    fetched(mirror, tmp_path / "packer", key, url=f"{FAR_AWAY}/")
    assert mirror.asked[0] == f"{FAR_AWAY}/1.9.5/packer_1.9.5_SHA256SUMS"


@pytest.mark.parametrize("answer", [503, "cut"])
def test_a_busy_or_broken_server_is_asked_again(mirror: Mirror, key: Path, tmp_path: Path, answer: int | str) -> None:
    mirror.answers["/1.9.5/packer_1.9.5_linux_amd64.zip"] = [answer, answer]
    fetched(mirror, tmp_path / "packer", key)
    assert (tmp_path / "packer").read_bytes() == PROGRAM


def spoil(mirror: Mirror, signer: Signer, how: str) -> None:
    archive, sums = "/1.9.5/packer_1.9.5_linux_amd64.zip", "/1.9.5/packer_1.9.5_SHA256SUMS"
    match how:
        case "another's signature":
            with signing() as stranger:
                mirror.files[f"{sums}.sig"] = stranger.signature(mirror.files[sums])
        case "no signature":
            del mirror.files[f"{sums}.sig"]
        case "checksums changed":
            mirror.files[sums] += b"\n"
        case "archive changed":
            mirror.files[archive] = archive_of(b"another program")
        case "archive not named":
            mirror.files[sums] = b"0" * 64 + b"  another.zip\n"
            mirror.files[f"{sums}.sig"] = signer.signature(mirror.files[sums])
        case "no program in it":
            mirror.files[archive] = b"no archive at all"
            mirror.files[sums] = f"{hashlib.sha256(mirror.files[archive]).hexdigest()}  {archive[7:]}\n".encode()
            mirror.files[f"{sums}.sig"] = signer.signature(mirror.files[sums])
        case "too long":
            mirror.files[sums] = b"#" * (packer_release.MOST_CHECKSUM_BYTES + 1)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("another's signature", "signature .* is not good"),
        ("no signature", r"SHA256SUMS.sig cannot be fetched: HTTP 404"),
        ("checksums changed", "signature .* is not good"),
        ("archive changed", "has SHA-256 [0-9a-f]{64}, but [0-9a-f]{64} was signed"),
        ("archive not named", "has no checksum of packer_1.9.5_linux_amd64.zip"),
        ("no program in it", "no program packer in the archive"),
        ("too long", "is longer than 1 MiB"),
    ],
)
def test_what_its_publisher_did_not_sign_is_not_used(
    mirror: Mirror, signer: Signer, tmp_path: Path, how: str, told: str
) -> None:
    folder, key = tmp_path / "bin", tmp_path / "mirror.asc"
    folder.mkdir()
    key.write_bytes(signer.public_key())
    (folder / "packer").write_text("the one before")
    spoil(mirror, signer, how)
    with pytest.raises(DownloadFailed, match=told):
        fetched(mirror, folder / "packer", key)
    assert left_in(folder) == ["packer"]
    assert (folder / "packer").read_text() == "the one before"


def test_a_signed_checksum_has_to_equal_the_one_that_is_known(mirror: Mirror, key: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"but f{64} is expected"):
        fetched(mirror, tmp_path / "packer", key, expected="f" * 64)


def test_hashicorps_key_does_not_let_a_mirrors_own_signature_pass(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"signature .* is not good"):
        fetched(mirror, tmp_path / "packer", KEY)


@pytest.mark.parametrize("url", ["ftp://x.example/packer", "file:///etc", "nonsense"])
def test_only_http_is_spoken(mirror: Mirror, key: Path, tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed, match="begins with https"):
        fetched(mirror, tmp_path / "packer", key, url=url)


def test_the_program_says_why_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as away:
        address = away.address
    options = ["--version", "1.9.5", "--architecture", "amd64", "--url", address]
    assert main([*options, "--only-reach"]) == 1
    assert main([*options, "--into", str(tmp_path / "packer")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{address}/1.9.5/packer_1.9.5_SHA256SUMS cannot be fetched: [Errno 111] Connection refused"] * 2


def test_a_checksum_is_of_the_whole_name() -> None:
    text = f"{'a' * 64}  my_packer.zip\n{'B' * 64} *packer.zip\n"
    assert checksum_of(text, "packer.zip") == "b" * 64
    assert checksum_of(text, "cker.zip") is None


def test_an_archive_with_a_program_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer_release, "MOST_PROGRAM_BYTES", 4)
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("packer", b"12345")
    with pytest.raises(DownloadFailed, match="is longer than"):
        packer_release.unpack(archive, tmp_path / "packer")
    assert not (tmp_path / "packer").exists()
