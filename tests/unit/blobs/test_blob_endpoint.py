"""Where blobs are served is written down, and forgotten."""

from pathlib import Path

from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, read_endpoint, write_endpoint


def test_an_endpoint_is_read_as_it_was_written_until_it_is_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "blobs/endpoint.json"
    assert read_endpoint(file) is None
    endpoint = BlobEndpoint(BlobService.AZURITE, "http://127.0.0.1:10000")
    write_endpoint(file, endpoint)
    assert read_endpoint(file) == endpoint
    write_endpoint(file, None)
    write_endpoint(file, None)
    assert read_endpoint(file) is None


def test_an_accounts_address_has_its_name_in_the_path() -> None:
    endpoint = BlobEndpoint(BlobService.AZURITE, "http://127.0.0.1:10000")
    assert endpoint.of_account("abc") == "http://127.0.0.1:10000/abc/"
