"""The object store: in a directory, and by S3's protocol; tests/clients/ has Azure's."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer
from object_store_contract import ObjectStoreContract

from vmkiln.errors import InputError, SharedStorageFailed
from vmkiln.settings_sources import settings_from
from vmkiln.sharing import object_store
from vmkiln.sharing.object_store import ObjectStore, connection_parts, open_object_store

SECRET = "c2VjcmV0LW9mLXRoZS1hY2NvdW50LTEyMzQ1Njc4OTA="


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """The endpoint of a server that speaks S3 (moto, a stand-in), with a bucket."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    assert httpx.put(f"{url}/bucket").status_code == 200
    yield url
    server.stop()


@pytest.fixture
def s3_environment(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """The environment of who uses that server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    return os.environ


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / "a b" / "shared"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def in_directory(directory: Path) -> ObjectStore:
    return open_object_store(directory.as_uri(), {})


class TestInADirectory(ObjectStoreContract):
    @pytest.fixture
    def objects(self, in_directory: ObjectStore) -> ObjectStore:
        return in_directory


class TestOverS3(ObjectStoreContract):
    @pytest.fixture
    def objects(self, s3_environment: Mapping[str, str], request: pytest.FixtureRequest) -> ObjectStore:
        return open_object_store(f"s3://bucket/{abs(hash(request.node.name))}", s3_environment)


def names_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_in_a_directory_a_file_gets_its_name_when_it_is_on_disk(
    in_directory: ObjectStore, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"content")
    seen: list[tuple[str, bool]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((str(path.relative_to(directory)), (directory / "images/r/disk").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    in_directory.put_file("images/r/disk", file)
    assert seen[0][0].startswith("images/r/.disk.")
    assert not seen[0][1]
    assert seen[1:] == [("images/r", True), ("images", True), (".", True)]


def put_and_die(directory: Path, file: Path) -> None:
    real = os.write

    def write(descriptor: int, content: memoryview) -> int:
        real(descriptor, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    object_store.os.write = write  # type: ignore[assignment, attr-defined]
    open_object_store(directory.as_uri(), {}).put_file("images/r/0001/disk", file)


def test_what_a_killed_process_was_storing_is_no_object(
    in_directory: ObjectStore, directory: Path, tmp_path: Path
) -> None:
    file = tmp_path / "disk"
    file.write_bytes(b"content")
    process = get_context("fork").Process(target=put_and_die, args=(directory, file))
    process.start()
    process.join(20)
    assert process.exitcode == -9
    assert in_directory.objects("images") == []
    left = in_directory.objects("images", with_unfinished=True)
    assert [item.size_bytes for item in left] == [3]
    in_directory.delete([item.key for item in left])
    assert names_in(directory) == []


def test_a_directory_that_is_not_mounted_is_never_made(
    in_directory: ObjectStore, directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no directory") as refused:
        open_object_store((tmp_path / "elsewhere").as_uri(), {})
    assert "mount it" in (refused.value.hint or "")
    directory.rmdir()
    file = tmp_path / "disk"
    file.write_bytes(b"x")
    with pytest.raises(SharedStorageFailed, match="not mounted"):
        in_directory.put_file("images/x", file)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("/mnt/shared", "file:///mnt/shared, with three slashes"),
        ("http://host/x", "az://CONTAINER"),
        ("az:container", "az://CONTAINER"),
        ("s3:///prefix", "az://CONTAINER"),
        ("s3://bucket/../x", "az://CONTAINER"),
        ("file://mnt/shared", "three slashes"),
        ("file:///mnt/../etc", "three slashes"),
        (f"s3://key:{SECRET}@bucket", "never in the URL"),
        (f"az://container?sig={SECRET}", "never in the URL"),
    ],
)
def test_an_address_that_is_none_is_refused_with_what_would_be_one(url: str, hint: str) -> None:
    with pytest.raises(InputError) as refused:
        settings_from({"VMKILN_HOME": "/x", "VMKILN_OBJECT_STORE": url})
    assert hint in (refused.value.hint or "")
    assert SECRET not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize("url", ["az://vmkiln", "az://vmkiln/fleet", "s3://bucket/a/b", "file:///mnt/shared"])
def test_an_address_is_taken_as_it_is_and_not_shown(url: str) -> None:
    settings = settings_from({"HOME": "/x", "VMKILN_OBJECT_STORE": url})
    assert settings.object_store == url
    assert url not in repr(settings)
    assert settings_from({"HOME": "/x"}).object_store == ""


def test_a_connection_string_of_azure_says_where_and_with_what_key() -> None:
    text = f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={SECRET};EndpointSuffix=core.windows.net"
    where = "https://acc.blob.core.windows.net"
    assert connection_parts(text) == {"account_name": "acc", "endpoint": where, "account_key": SECRET}
    shared = connection_parts("BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x%3D")
    assert shared == {"account_name": "acc", "endpoint": where, "sas_key": "sv=1&sig=x%3D"}
    for bad in ("AccountName=acc", f"AccountKey={SECRET}", "UseDevelopmentStorage=true", "nothing"):
        with pytest.raises(InputError) as refused:
            connection_parts(bad)
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("kind", ["az", "sas", "s3"])
def test_no_message_shows_a_key(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "RETRIES", {"max_retries": 0})
    nobody = "http://127.0.0.1:9"
    given = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": nobody}
    if kind == "az":
        account = f"AccountName=a;AccountKey={SECRET};BlobEndpoint={nobody}/a"
        given = {"AZURE_STORAGE_CONNECTION_STRING": account}
    if kind == "sas":
        account = f"AccountName=a;SharedAccessSignature=sv=2022&sig={SECRET};BlobEndpoint={nobody}/a"
        given = {"AZURE_STORAGE_CONNECTION_STRING": account}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    objects = open_object_store("s3://bucket" if kind == "s3" else "az://container", given)
    with pytest.raises(SharedStorageFailed) as failed:
        objects.put("a", b"x")
    assert SECRET not in f"{failed.value} {failed.value.hint} {failed.value.__cause__} {objects.name}"
    assert failed.value.__cause__ is None


def test_what_a_library_says_is_told_without_signatures_and_keys(in_directory: ObjectStore) -> None:
    objects = ObjectStore(None, "az://c", secrets=[SECRET, ""])
    with pytest.raises(SharedStorageFailed) as failed, objects._doing("x"):
        raise OSError(f"PUT https://a/b?sig=abc%3D&se=1 with {SECRET}\nDebug: {SECRET}")
    assert str(failed.value) == "x in az://c failed: PUT https://a/b?... with ***"


def test_a_missing_bucket_is_told_with_a_hint(s3_environment: Mapping[str, str]) -> None:
    objects = open_object_store("s3://nosuchbucket", s3_environment)
    with pytest.raises(SharedStorageFailed) as failed:
        objects.put("a", b"x")
    assert "the bucket has to be there" in (failed.value.hint or "")


def test_plain_http_only_where_the_endpoint_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    class Taken:
        def __init__(self, *_arguments: object, client_options: dict[str, bool], **_named: object) -> None:
            given.append(client_options["allow_http"])

    monkeypatch.setattr(object_store, "S3Store", Taken)
    with contextlib.suppress(InputError):
        open_object_store("s3://b", {"AWS_ENDPOINT_URL": "http://minio:9000"})
        open_object_store("s3://b", {"AWS_ENDPOINT_URL": "https://minio:9000"})
        open_object_store("s3://b", {})
    assert given == [True, False, False]
