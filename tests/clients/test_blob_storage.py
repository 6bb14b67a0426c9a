"""The blobs of storage accounts, served by the real Azurite and read with Azure's own library."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    AccountSasPermissions,
    BlobSasPermissions,
    BlobServiceClient,
    BlobType,
    PublicAccess,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
)
from real_clients import CLIENTS

from vmkiln.azure_names import STORAGE_ACCOUNT
from vmkiln.blobs import blob_storage
from vmkiln.blobs.account_containers import AccountContainers, BlobServerAway
from vmkiln.blobs.blob_endpoint import read_endpoint
from vmkiln.blobs.blob_server import ACCESS_SCRIPT, Azurite, find_azurite
from vmkiln.blobs.blob_storage import BlobStorage, external_service
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.logs.log_index import index_of
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import ResourceRow, RunRow

LOG = "packerlogs/run1/customization.log"
SECONDS = 60


@pytest.fixture
def azurite() -> Azurite:
    found = find_azurite(CLIENTS)
    assert found is not None, f"there is no Azurite in {CLIENTS}: `script/test-clients` installs it"
    return found


@dataclass
class Place:
    """A state directory with a store, and what keeps its blobs."""

    settings: Settings
    store: Store
    storage: BlobStorage

    def group(self, name: str) -> StagingResourceGroup:
        return staging_resource_group.create(self.settings.staging, self.store, name=name, run_id="", tags={})

    def client(self, account: str, *, key: str = "") -> BlobServiceClient:
        endpoint = read_endpoint(self.settings.blob_endpoint)
        assert endpoint is not None
        credential = {"account_name": account, "account_key": key or self.storage.keys.of(account)[1]}
        return BlobServiceClient(endpoint.of_account(account), credential=credential, retry_total=0)

    def content(self, account: str, blob: str) -> bytes | None:
        """A blob's bytes; none when it cannot be read (yet)."""
        container, _, name = blob.partition("/")
        if read_endpoint(self.settings.blob_endpoint) is None:
            return None
        with self.client(account) as client, contextlib.suppress(HttpResponseError, OSError):
            return bytes(client.get_blob_client(container, name).download_blob().readall())
        return None


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(SECONDS):
        while not (found := await asyncio.to_thread(condition)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return found


@contextlib.asynccontextmanager
async def served(storage: BlobStorage) -> AsyncIterator[None]:
    task = asyncio.create_task(storage.serve())
    try:
        await until(lambda: task.done() or read_endpoint(storage.settings.blob_endpoint))
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def place(tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(blob_storage, "LOGS_SECONDS", 0.1)
    settings = Settings(tmp_path)
    with opened(settings.database) as store:
        yield Place(settings, store, BlobStorage(settings, store, azurite, look_seconds=0.1))


def server_pid(home: Path) -> int:
    """The process of the blob server that works in a state directory."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                if "--blobPort" in words and str(home / "blobs/data") in words:
                    return int(folder.name)
    return 0


async def test_logs_scripts_and_vhds_are_read_as_they_are(place: Place) -> None:
    account = place.group("IT_one").storage_account
    account.blob(LOG).write_bytes(b"first\n")
    account.blob("scripts/0000-a.sh").write_bytes(b"echo \xff")
    with account.blob("vhds/out.vhd").open("wb") as disk:
        disk.write(b"begin")
        disk.seek(20 * 1024**2 + 1024)
        disk.write(b"end" + bytes(509))
    account.blob("vhds/next.part").write_bytes(b"half")
    async with served(place.storage):
        for blob in (LOG, "scripts/0000-a.sh", "vhds/out.vhd"):
            wanted = (account.directory / blob).read_bytes()
            await until(lambda blob=blob, wanted=wanted: place.content(account.name, blob) == wanted)
        with place.client(account.name) as client:
            containers = sorted(item.name for item in client.list_containers())
            assert containers == ["packerlogs", "scripts", "vhds"]
            vhds = list(client.get_container_client("vhds").list_blobs())
            assert [(item.name, item.blob_type) for item in vhds] == [("out.vhd", BlobType.PAGEBLOB)]


async def test_the_index_of_a_log_is_no_blob(place: Place) -> None:
    """Azure has the log alone, and clients take the first blob of its container."""
    account = place.group("IT_one").storage_account
    index_of(account.blob(LOG)).write_bytes(b"{}\n")
    account.blob(LOG).write_bytes(b"first\n")
    async with served(place.storage):
        await until(lambda: place.content(account.name, LOG))
        with place.client(account.name) as client:
            container = client.get_container_client("packerlogs")
            assert await asyncio.to_thread(lambda: list(container.list_blob_names())) == [LOG.partition("/")[2]]


async def test_a_log_grows_while_its_run_goes_on(place: Place) -> None:
    account = place.group("IT_one").storage_account
    path = account.blob(LOG)
    path.write_bytes(b"line 0\n")
    place.storage.groups_with_runs = lambda _since: {"IT_one"}  # type: ignore[method-assign]
    async with served(place.storage):
        for number in range(1, 4):
            await until(lambda: place.content(account.name, LOG) == path.read_bytes())
            with path.open("ab") as log:
                log.write(f"line {number}\n".encode())
        await until(lambda: place.content(account.name, LOG) == path.read_bytes())


async def test_the_log_of_a_run_that_began_and_ended_between_two_passes_is_sent(place: Place) -> None:
    account = place.group("IT_one").storage_account
    place.storage.look_seconds = 3600
    account.blob(LOG).write_bytes(b"begun\n")
    async with served(place.storage):
        await until(lambda: place.content(account.name, LOG) == b"begun\n")  # so the group is known
        account.blob(LOG).write_bytes(b"begun\nended\n")
        run = RunRow("run1", "short", "rg1", {}, "Running", "", "", "", "IT_one", {}, utc_now(), None)
        place.store.runs.add(run)
        assert place.store.runs.move("run1", expected=["Running"], state="Failed")
        await until(lambda: place.content(account.name, LOG) == b"begun\nended\n")


async def test_each_group_has_an_account_of_its_own_as_soon_as_it_is_there(place: Place) -> None:
    first = place.group("IT_one").storage_account
    first.blob(LOG).write_bytes(b"first\n")
    async with served(place.storage):
        await until(lambda: place.content(first.name, LOG))
        pid = server_pid(place.settings.home)
        second = place.group("IT_two").storage_account
        second.blob(LOG).write_bytes(b"second\n")
        assert await until(lambda: place.content(second.name, LOG)) == b"second\n"
        assert server_pid(place.settings.home) == pid, "nobody is cut off for a new account"
        wrong = place.client(second.name, key=place.storage.keys.of(first.name)[0])
        with wrong, pytest.raises(HttpResponseError) as refused:
            await asyncio.to_thread(lambda: list(wrong.list_containers()))
        assert refused.value.status_code == 403
        well_known = place.client("devstoreaccount1", key=place.storage.keys.of(first.name)[0])
        with well_known, pytest.raises(HttpResponseError) as unknown:
            await asyncio.to_thread(lambda: list(well_known.list_containers()))
        assert unknown.value.status_code in {403, 404}


def sas(place: Place, account: str, *, days: float, kind: str = "blob") -> str:
    """The address of the log with a shared access signature."""
    key = place.storage.keys.of(account)[0]
    endpoint = read_endpoint(place.settings.blob_endpoint)
    assert endpoint is not None
    ends = utc_now() + timedelta(days=days)
    container, _, name = LOG.partition("/")
    if kind == "blob":
        asked = {"permission": BlobSasPermissions(read=True), "expiry": ends}
        signature = generate_blob_sas(account, container, name, account_key=key, **asked)
    else:
        types = {"resource_types": ResourceTypes(object=True), "permission": AccountSasPermissions(read=True)}
        signature = generate_account_sas(account, key, expiry=ends, **types)
    return f"{endpoint.of_account(account)}{LOG}?{signature}"


async def test_nobody_reads_without_a_key_or_a_signature_that_ends_soon(place: Place) -> None:
    account = place.group("IT_one").storage_account
    account.blob(LOG).write_bytes(b"first\n")
    async with served(place.storage), httpx.AsyncClient() as web:
        await until(lambda: place.content(account.name, LOG))
        for kind in ("blob", "account"):
            soon, late = sas(place, account.name, days=1, kind=kind), sas(place, account.name, days=9000, kind=kind)
            assert (await web.get(soon)).content == b"first\n", "the control: such a signature is good"
            refused = await web.get(late)
            assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
        stranger = await web.get(soon.partition("?")[0])
        assert (stranger.status_code, stranger.headers["x-ms-error-code"]) == (409, "PublicAccessNotPermitted")
        with place.client(account.name) as client, pytest.raises(HttpResponseError) as public:
            await asyncio.to_thread(client.create_container, "open", public_access=PublicAccess.CONTAINER)
        assert public.value.error_code == "PublicAccessNotPermitted"  # type: ignore[attr-defined]
        # one that an older vmkiln let become public is none: not even with a header that proves nothing
        forged = await web.get(soon.partition("?")[0], headers={"Authorization": "nothing"})
        assert forged.status_code in {400, 403}


async def test_a_killed_server_comes_back_where_it_was(place: Place) -> None:
    account = place.group("IT_one").storage_account
    path = account.blob(LOG)
    path.write_bytes(b"before\n")
    async with served(place.storage):
        await until(lambda: place.content(account.name, LOG))
        endpoint, key = read_endpoint(place.settings.blob_endpoint), place.storage.keys.of(account.name)
        pid = server_pid(place.settings.home)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: server_pid(place.settings.home) not in {0, pid})
        with path.open("ab") as log:
            log.write(b"after\n")
        place.storage.groups_with_runs = lambda _since: {"IT_one"}  # type: ignore[method-assign]
        await until(lambda: place.content(account.name, LOG) == b"before\nafter\n")
        assert read_endpoint(place.settings.blob_endpoint) == endpoint
        assert place.storage.keys.of(account.name) == key
    assert server_pid(place.settings.home) == 0
    assert read_endpoint(place.settings.blob_endpoint) is None


async def test_what_a_crash_left_out_is_sent_at_the_next_start(place: Place, azurite: Azurite) -> None:
    account = place.group("IT_one").storage_account
    path = account.blob(LOG)
    path.write_bytes(b"one\n")
    disk = account.blob("vhds/out.vhd")
    disk.write_bytes(b"x" * 1024)
    async with served(place.storage):
        await until(lambda: place.content(account.name, "vhds/out.vhd") and place.content(account.name, LOG))
        with place.storage.destination(account.name).service as client:
            half = client.get_blob_client("vhds", "out.vhd")
            half.create_page_blob(1024)  # as an upload that was cut off leaves it
    path.write_bytes(b"one\ntwo\n")
    again = BlobStorage(place.settings, place.store, azurite, look_seconds=0.1)
    async with served(again):
        await until(lambda: place.content(account.name, LOG) == b"one\ntwo\n")
        await until(lambda: place.content(account.name, "vhds/out.vhd") == b"x" * 1024)


async def test_a_deleted_group_takes_its_account_along(place: Place) -> None:
    group, other = place.group("IT_one"), place.group("IT_two")
    for account in (group.storage_account, other.storage_account):
        account.blob(LOG).write_bytes(b"text\n")
    async with served(place.storage):
        await until(lambda: place.content(group.storage_account.name, LOG))
        key = place.storage.keys.of(group.storage_account.name)[0]
        row = next(row for row in place.store.staging.list_groups() if row.name == "IT_one")
        staging_resource_group.delete(place.settings.staging, place.store, row)
        await until(lambda: group.storage_account.name not in place.storage.keys.all())
        with place.client(group.storage_account.name, key=key) as client, pytest.raises(HttpResponseError):
            await asyncio.to_thread(lambda: list(client.list_containers()))
        assert place.content(other.storage_account.name, LOG) == b"text\n"


async def test_blobs_go_to_an_account_from_outside_when_one_is_set(place: Place, tmp_path: Path) -> None:
    async with served(place.storage):
        users_account(place, outside := "outside1")
        key = place.storage.keys.of(outside)[0]
        endpoint = read_endpoint(place.settings.blob_endpoint)
        assert endpoint is not None
        text = f"AccountName={outside};AccountKey={key};BlobEndpoint={endpoint.of_account(outside)}"
        settings = Settings(tmp_path / "other")
        settings.home.mkdir()
        with opened(settings.database) as store, external_service(text) as service:
            other = Place(settings, store, BlobStorage(settings, store, None, service, look_seconds=0.1))
            account = other.group("IT_one").storage_account
            account.blob(LOG).write_bytes(b"kept elsewhere\n")
            async with served(other.storage):
                blob = f"{account.name}/{LOG}"
                assert await until(lambda: place.content(outside, blob)) == b"kept elsewhere\n"
                staging_resource_group.delete(settings.staging, store, store.staging.list_groups()[0])
                await until(lambda: place.content(outside, blob) is None)


async def until_looked(place: Place) -> None:
    """Until the blob server's part has looked around since: a group made now and gone was taken away."""
    group = place.group("IT_looked")
    group.storage_account.blob(LOG).write_bytes(b"1\n")
    await until(lambda: place.content(group.storage_account.name, LOG))
    row = next(row for row in place.store.staging.list_groups() if row.name == "IT_looked")
    staging_resource_group.delete(place.settings.staging, place.store, row)
    await until(lambda: group.storage_account.name not in place.storage.keys.all())


def users_account(place: Place, name: str = "scripts1") -> None:
    """A storage account of a user, straight into the store."""
    place.store.resources.put(
        ResourceRow(
            id=f"/subscriptions/s/resourceGroups/rg1/providers/{STORAGE_ACCOUNT}/{name}",
            type=STORAGE_ACCOUNT,
            name=name,
            subscription_id="s",
            resource_group="rg1",
            location="westus2",
        )
    )


async def test_a_users_account_holds_blobs_until_it_is_deleted(place: Place) -> None:
    users_account(place)
    async with served(place.storage):
        endpoint = read_endpoint(place.settings.blob_endpoint)
        assert endpoint is not None
        key = place.storage.keys.of("scripts1")[0]
        containers = AccountContainers(endpoint.of_account("scripts1").rstrip("/"), "scripts1", key)
        asked = asyncio.to_thread
        assert [await asked(containers.make, "own"), await asked(containers.make, "own")] == [True, False]
        with place.client("scripts1") as client:
            await asked(client.get_blob_client("own", "a.sh").upload_blob, b"true")
        assert place.content("scripts1", "own/a.sh") == b"true"
        assert (await asked(containers.names), await asked(containers.has, "other")) == (["own"], False)
        assert [await asked(containers.delete, "own"), await asked(containers.delete, "own")] == [True, False]
        assert await asked(containers.make, "again")
        with place.client("scripts1") as client:  # who leases it for ever keeps neither it nor the account's name
            await asked(client.get_container_client("again").acquire_lease)
        place.store.resources.delete(f"/subscriptions/s/resourceGroups/rg1/providers/{STORAGE_ACCOUNT}/scripts1")
        await until_looked(place)
        assert await asked(containers.has, "again"), "it is not on record, as when an older database is restored"
        place.storage.keys.mark_deleted("scripts1")
        await until(lambda: "scripts1" not in place.storage.keys.all())
        with pytest.raises(BlobServerAway):  # its key is worth nothing any more
            await asked(containers.names)
        users_account(place)
        with place.client("scripts1", key=place.storage.keys.of("scripts1")[0]) as client:
            assert await asked(lambda: list(client.list_containers())) == [], "the next owner finds nothing"


async def test_what_users_upload_is_bounded_and_builds_go_on(place: Place) -> None:
    """A hundred thousand times what the bound says would else end on the disk that builds need."""
    place.storage.settings = place.settings = replace(place.settings, most_blob_mib=3)
    for name in ("scripts1", "scripts2"):
        users_account(place, name)
    account = place.group("IT_one").storage_account
    mib = bytes(1024**2)
    account.blob(LOG).write_bytes(mib * 4)
    async with served(place.storage):
        asked, told = asyncio.to_thread, place.settings.blobs / "subscriptions.json"
        await until(lambda: told.exists() and "scripts2" in told.read_text())
        with place.client("scripts1") as one, place.client("scripts2") as two, place.client(account.name) as build:
            for client in (one, two):
                await asked(client.create_container, "own")
            await asked(one.get_blob_client("own", "a").upload_blob, mib * 2)
            with pytest.raises(HttpResponseError) as full:
                await asked(two.get_blob_client("own", "b").upload_blob, mib * 2)
            assert (full.value.status_code, "most_blob_mib" in str(full.value)) == (409, True)
            with pytest.raises(HttpResponseError) as staged:
                await asked(two.get_blob_client("own", "b").stage_block, "MDE=", mib * 2)
            assert staged.value.status_code == 409, "a block that nobody commits lies there, too"
            await asked(one.get_blob_client("own", "a").delete_blob)
            await until(lambda: is_taken(two, mib * 2))
            await until(lambda: place.content(account.name, LOG) == mib * 4)
            with pytest.raises(HttpResponseError) as others:
                await asked(build.get_blob_client("packerlogs", "mine").upload_blob, b"x")
            assert others.value.status_code == 403


def is_taken(client: BlobServiceClient, content: bytes) -> bool:
    with contextlib.suppress(HttpResponseError):
        client.get_blob_client("own", "b").upload_blob(content)
        return True
    return False


BIG = 300 * 1024**2
FREE = 10 * 1024**3
FULLNESS = {
    "a small blob": (["scripts1", 10, FREE, 0], None),
    "a build's account": (["a" * 24, 10, FREE, 0], 403),
    "no room left": (["scripts1", 10, 2 * 1024**3, 0], 409),
    "too many blobs": (["scripts1", 10, FREE, BIG], 409),
    "too large at once": (["scripts1", BIG, FREE, 0], 413),
    "of unknown length": (["scripts1", "nobody says", FREE, 0], 411),
}


def test_users_accounts_leave_room_and_stay_within_bounds(azurite: Azurite) -> None:
    program = (
        f"const {{ fullness }} = require({json.dumps(str(ACCESS_SCRIPT))});"
        "for (const [a, l, f, n] of JSON.parse(process.argv[1])) console.log((fullness(a, +l, f, n) || [0])[0])"
    )
    cases = json.dumps([case for case, _ in FULLNESS.values()])
    done = subprocess.run([azurite.node, "-e", program, cases], capture_output=True, text=True, check=True)
    found = dict(zip(FULLNESS, map(int, done.stdout.split()), strict=True))
    assert found == {name: status or 0 for name, (_, status) in FULLNESS.items()}
