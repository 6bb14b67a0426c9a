"""Fetching images, against a server on this machine that misbehaves on request."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from image_server import ImageServer, serving

from vmkiln.errors import DownloadFailed, HostUnfit
from vmkiln.fetching.http_fetch import Patience
from vmkiln.platform_images import resumed_download
from vmkiln.platform_images.catalogue_entry import DownloadEntry
from vmkiln.platform_images.image_download import FetchedImage, fetch_image
from vmkiln.platform_images.resumed_download import last_modified, resumes_at

CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
DISK = "/disk.qcow2"
SUMS = "/SHA256SUMS"
QUICK = Patience(attempts=3, first_pause_seconds=0)


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serving() as running:
        running.files = {DISK: CONTENT, SUMS: f"{DIGEST}  disk.qcow2\n".encode()}
        yield running


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    return folder


def entry(server: ImageServer) -> DownloadEntry:
    return DownloadEntry("Acme", "golden", "1", 1, server.url(DISK), server.url(SUMS), "qcow2")


async def fetch(server: ImageServer, parts: Path, told: list[str] | None = None) -> FetchedImage:
    folder = parts.parent / "new"
    folder.mkdir(exist_ok=True)
    return await fetch_image(
        entry(server), folder, parts=parts, own_keyrings=parts / "none",
        progress=(told if told is not None else []).append, patience=QUICK,
    )  # fmt: skip


def leave_part(parts: Path, content: bytes, *, validator: str) -> None:
    """What a fetch that was cut off left behind."""
    part = parts / f".part-{DIGEST[:32]}"
    part.write_bytes(content)
    part.with_name(part.name + ".validator").write_text(validator)


async def test_an_image_is_fetched_and_nothing_else_stays(server: ImageServer, parts: Path) -> None:
    fetched = await fetch(server, parts)
    assert fetched.file.read_bytes() == CONTENT
    assert (fetched.checksum.algorithm, fetched.checksum.digest) == ("sha256", DIGEST)
    assert fetched.published == datetime(2026, 11, 22, 2, 9, 44, tzinfo=UTC)
    assert list(parts.iterdir()) == []


async def test_an_unsigned_checksum_is_said_to_be_unsigned(server: ImageServer, parts: Path) -> None:
    told: list[str] = []
    await fetch(server, parts, told)
    assert any("not signed" in line for line in told)


async def test_a_fetch_goes_on_where_it_stopped(server: ImageServer, parts: Path) -> None:
    leave_part(parts, CONTENT[:1_000_000], validator=server.etag)
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT
    assert server.ranges(DISK) == ["bytes=1000000-"]


async def test_a_fetch_goes_on_by_date_where_the_server_has_no_etag(server: ImageServer, parts: Path) -> None:
    server.etag = ""
    leave_part(parts, CONTENT[:1_000_000], validator=server.modified)
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT
    assert server.ranges(DISK) == ["bytes=1000000-"]


async def test_a_connection_that_breaks_is_resumed_and_told(server: ImageServer, parts: Path) -> None:
    server.answers[DISK] = ["cut", "cut"]
    told: list[str] = []
    assert (await fetch(server, parts, told)).file.read_bytes() == CONTENT
    first, second, third = server.ranges(DISK)
    assert first is None
    assert second is not None
    assert third is not None
    assert sum("trying again" in line for line in told) == 2


async def test_a_file_that_changed_meanwhile_is_fetched_anew(server: ImageServer, parts: Path) -> None:
    leave_part(parts, b"older" * 1000, validator='"older"')
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT


async def test_a_server_without_ranges_sends_the_whole_again(server: ImageServer, parts: Path) -> None:
    leave_part(parts, b"x" * 1000, validator=server.etag)
    server.answers[DISK] = ["whole"]
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT


async def test_a_part_that_is_already_whole_is_used(server: ImageServer, parts: Path) -> None:
    leave_part(parts, CONTENT, validator=server.etag)
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT


async def test_a_part_of_nobody_knows_which_file_is_not_gone_on_with(server: ImageServer, parts: Path) -> None:
    (parts / f".part-{DIGEST[:32]}").write_bytes(b"unknown")
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT
    assert server.ranges(DISK) == [None]


async def test_another_part_than_asked_for_is_refused(server: ImageServer, parts: Path) -> None:
    leave_part(parts, CONTENT[:1000], validator=server.etag)
    server.answers[DISK] = ["other range"]
    with pytest.raises(DownloadFailed, match="were asked for"):
        await fetch(server, parts)


async def test_a_wrong_checksum_is_refused_and_the_file_deleted(server: ImageServer, parts: Path) -> None:
    server.files[DISK] = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadFailed, match=f"but its publisher says {DIGEST}"):
        await fetch(server, parts)
    assert list(parts.iterdir()) == []


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_in_trouble_is_asked_again(server: ImageServer, parts: Path, status: int) -> None:
    server.answers = {DISK: [status], SUMS: [status, status]}
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT


async def test_a_server_that_stays_in_trouble_is_one_clear_error(server: ImageServer, parts: Path) -> None:
    server.answers[DISK] = [500] * 10
    with pytest.raises(DownloadFailed, match=r"disk.qcow2 failed after 3 attempts: the server answered 500"):
        await fetch(server, parts)
    assert len(server.ranges(DISK)) == 3


@pytest.mark.parametrize("path", [DISK, SUMS])
async def test_what_does_not_exist_is_asked_for_once(server: ImageServer, parts: Path, path: str) -> None:
    del server.files[path]
    with pytest.raises(DownloadFailed, match="the server answered 404"):
        await fetch(server, parts)
    assert len(server.ranges(path)) == 1


async def test_a_checksum_file_without_the_image_is_refused(server: ImageServer, parts: Path) -> None:
    server.files[SUMS] = f"{DIGEST}  another.qcow2\n".encode()
    with pytest.raises(DownloadFailed, match="has no SHA-256 or SHA-512 of disk"):
        await fetch(server, parts)
    assert server.ranges(DISK) == []


async def test_too_large_a_file_is_refused(server: ImageServer, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumed_download, "MOST_IMAGE_BYTES", len(CONTENT) - 1)
    with pytest.raises(DownloadFailed, match="is larger than"):
        await fetch(server, parts)


async def test_too_large_a_checksum_file_is_refused(
    server: ImageServer, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumed_download, "MOST_SMALL_BYTES", 10)
    with pytest.raises(DownloadFailed, match="no checksum file"):
        await fetch(server, parts)


async def test_a_server_that_is_not_there_is_a_clear_error(server: ImageServer, parts: Path) -> None:
    nowhere = replace(entry(server), checksum_url="http://127.0.0.1:9/SHA256SUMS")
    with pytest.raises(DownloadFailed, match="failed after 3 attempts: ConnectError"):
        await fetch_image(nowhere, parts, parts=parts, own_keyrings=parts, progress=lambda _: None, patience=QUICK)


async def test_without_the_publishers_keys_the_image_is_not_even_asked_for(server: ImageServer, parts: Path) -> None:
    server.files["/SHA256SUMS.gpg"] = b"signature"
    signed = replace(
        entry(server), signature="detached", signature_url=server.url("/SHA256SUMS.gpg"), keyring="no-such-keyring.gpg"
    )
    with pytest.raises(HostUnfit, match="not on this machine"):
        await fetch_image(signed, parts, parts=parts, own_keyrings=parts, progress=lambda _: None, patience=QUICK)
    assert server.ranges(DISK) == []


async def test_a_cancelled_fetch_leaves_only_the_part_to_go_on_from(server: ImageServer, parts: Path) -> None:
    server.answers[DISK] = ["cut"]
    waiting = Patience(attempts=3, first_pause_seconds=3600)
    retried = asyncio.Event()

    def progress(line: str) -> None:
        if "trying again" in line:
            retried.set()

    fetching = asyncio.create_task(
        fetch_image(entry(server), parts, parts=parts, own_keyrings=parts, progress=progress, patience=waiting)
    )
    await retried.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    names = {path.name for path in parts.iterdir()}
    assert names == {f".part-{DIGEST[:32]}", f".part-{DIGEST[:32]}.validator"}
    assert (await fetch(server, parts)).file.read_bytes() == CONTENT


def test_progress_counts_up_to_the_whole(monkeypatch: pytest.MonkeyPatch, server: ImageServer, parts: Path) -> None:
    monkeypatch.setattr(resumed_download, "PROGRESS_BYTES", 1)
    monkeypatch.setattr(resumed_download, "CHUNK_BYTES", 1024 * 1024)
    told: list[str] = []
    asyncio.run(fetch(server, parts, told))
    assert [line.rsplit(": ", 1)[1] for line in told if "MiB" in line][-1] == "3 of 3 MiB (100 %)"


@pytest.mark.parametrize(("status", "headers", "start"), [(200, {}, 0), (206, {"Content-Range": "bytes 7-9/10"}, 7)])
def test_where_an_answer_begins(status: int, headers: dict[str, str], start: int) -> None:
    assert resumes_at(status, httpx.Headers(headers), asked=7) == start


@pytest.mark.parametrize("value", ["bytes 8-9/10", "bytes */10", ""])
def test_an_answer_that_begins_elsewhere_is_refused(value: str) -> None:
    with pytest.raises(DownloadFailed):
        resumes_at(206, httpx.Headers({"Content-Range": value}), asked=7)


def test_a_date_that_is_none_is_no_date() -> None:
    assert last_modified(httpx.Headers({"Last-Modified": "yesterday"})) is None
    assert last_modified(httpx.Headers()) is None
