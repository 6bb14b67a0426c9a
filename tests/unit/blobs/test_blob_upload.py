"""What is sent to a blob service: which blob goes where, what is left out."""

from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContentSettings

from vmkiln.blobs.blob_upload import CHUNK_BYTES, Destination, Uploader, data_extents, is_unfinished
from vmkiln.staging.storage_account import StorageAccount


@pytest.fixture
def service() -> BlobServiceClient:
    return BlobServiceClient("http://127.0.0.1:9/account", credential={"account_name": "a", "account_key": "a2V5"})


def test_an_account_of_ours_has_azures_containers(service: BlobServiceClient) -> None:
    place = Destination(service).container_and_name("packerlogs/1234/customization.log")
    assert place == ("packerlogs", "1234/customization.log")


def test_in_an_account_from_outside_everything_is_in_one_container(service: BlobServiceClient) -> None:
    place = Destination(service, "xjsg7ig6").container_and_name("packerlogs/1234/customization.log")
    assert place == ("xjsg7ig6", "packerlogs/1234/customization.log")


@pytest.mark.parametrize(
    ("blob", "unfinished"),
    [("scripts/.0001-a.sh.part", True), ("scripts/0001-a.sh", False), ("vhds/x.vhd", False), ("vhds/x.part", True)],
)
def test_what_is_still_written_is_not_sent(blob: str, unfinished: bool) -> None:
    assert is_unfinished(blob) is unfinished


class NoBlobsYet:
    """A blob service without blobs, which keeps the media type of each that is made."""

    def __init__(self) -> None:
        self.types: dict[str, str] = {}

    def get_blob_client(self, _container: str, name: str) -> Any:
        self._name = name
        return self

    def get_blob_properties(self) -> None:
        raise ResourceNotFoundError

    def create_append_blob(self, content_settings: ContentSettings) -> None:
        self.types[self._name] = str(content_settings.content_type)

    def append_block(self, _chunk: bytes, **_named: Any) -> None:
        pass


def test_among_the_logs_a_picture_is_a_blob_of_its_own_type(tmp_path: Path) -> None:
    account, sent = StorageAccount("x", tmp_path), NoBlobsYet()
    for name in ("customization.log", "flows.jsonl", "build-vm-screen-00001.png"):
        account.blob(f"packerlogs/1/{name}").write_bytes(b"x")
    Uploader(is_for_logs=True).publish(account, Destination(sent))
    text = "text/plain; charset=utf-8"
    assert sent.types == {
        "1/customization.log": text,
        "1/flows.jsonl": text,
        "1/build-vm-screen-00001.png": "image/png",
    }


def covered(file: Path) -> set[int]:
    """The 4 KiB blocks that the extents of a file cover."""
    with file.open("rb") as opened:
        extents = list(data_extents(opened.fileno(), file.stat().st_size))
    ends = [0, *(offset + length for offset, length in extents)]
    assert all(offset >= end for (offset, _), end in zip(extents, ends, strict=False)), "in order, none twice"
    assert all(length <= CHUNK_BYTES for _, length in extents)
    assert ends[-1] <= file.stat().st_size
    return {block for offset, length in extents for block in range(offset // 4096, -(-(offset + length) // 4096))}


def test_every_byte_that_is_not_zero_is_in_an_extent(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    places = [0, 5 * CHUNK_BYTES + 4096, 5 * CHUNK_BYTES + 3 * 1024**2, 6 * CHUNK_BYTES, 11 * CHUNK_BYTES - 1]
    with file.open("wb") as opened:
        for place in places:
            opened.seek(place)
            opened.write(b"x")
    assert {place // 4096 for place in places} <= covered(file)
    empty = tmp_path / "empty"
    empty.touch()
    assert covered(empty) == set()
