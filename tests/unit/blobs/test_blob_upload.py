"""What is sent to a blob service: which blob goes where, what is left out."""

from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from vmkiln.blobs.blob_upload import CHUNK_BYTES, Destination, data_extents, is_unfinished


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
