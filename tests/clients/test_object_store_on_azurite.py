"""The object store by Azure's Blob protocol, served by the real Azurite."""

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from object_store_contract import ObjectStoreContract
from real_clients import CLIENTS

from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.blobs.blob_server import BlobFolder, find_azurite, supervise
from vmkiln.errors import SharedStorageFailed
from vmkiln.sharing import object_store
from vmkiln.sharing.object_store import AZURE_CONNECTION, ObjectStore, open_object_store

SECONDS = 60
ACCOUNT = "fleet"


@pytest.fixture(scope="module")
def connection_string(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """How to reach an Azurite with one account, in which there is the container `shared`."""
    azurite = find_azurite(CLIENTS)
    assert azurite is not None, f"there is no Azurite in {CLIENTS}: `script/test-clients` installs it"
    place = BlobFolder(tmp_path_factory.mktemp("azurite"))
    keys = AccountKeys(place.keys)
    keys.ensure([ACCOUNT])
    ready, urls = threading.Event(), [""]
    loop = asyncio.new_event_loop()

    def on_change(url: str) -> None:
        if url:
            urls[0] = url
            ready.set()

    async def serve() -> None:
        await supervise(azurite, place, on_change)

    task = loop.create_task(serve())

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(SECONDS)
    text = f"AccountName={ACCOUNT};AccountKey={keys.of(ACCOUNT)[0]};BlobEndpoint={urls[0]}/{ACCOUNT}"
    with BlobServiceClient.from_connection_string(text) as service:
        service.create_container("shared").close()
    yield text
    loop.call_soon_threadsafe(task.cancel)
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def environment(connection_string: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    monkeypatch.setenv(AZURE_CONNECTION, connection_string)
    return os.environ


class TestOnAzurite(ObjectStoreContract):
    @pytest.fixture
    def objects(self, environment: Mapping[str, str], request: pytest.FixtureRequest) -> ObjectStore:
        return open_object_store(f"az://shared/{abs(hash(request.node.name))}", environment)


def test_a_wrong_key_is_refused_and_not_shown(connection_string: str, tmp_path: Path) -> None:
    key = "d3JvbmcgYW5kIHNlY3JldA=="
    wrong = ";".join(
        f"AccountKey={key}" if item.startswith("AccountKey=") else item for item in connection_string.split(";")
    )
    objects = open_object_store("az://shared", {AZURE_CONNECTION: wrong})
    with pytest.raises(SharedStorageFailed) as refused:
        objects.put("a", b"x")
    assert "credentials" in (refused.value.hint or "")
    assert key not in str(refused.value)


def test_a_missing_container_is_told_with_a_hint(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "RETRIES", {"max_retries": 0})
    with pytest.raises(SharedStorageFailed) as failed:
        open_object_store("az://nothing", environment).put("a", b"x")
    assert "the container has to be there" in (failed.value.hint or "")
