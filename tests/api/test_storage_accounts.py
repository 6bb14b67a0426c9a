"""Storage accounts while a blob server is up: a path-style endpoint, and keys for those who may act on the account."""

import json
from pathlib import Path

import pytest
from in_process import SUBSCRIPTION, InProcess, a_template, add_group, code_of, ended_run, provisioned

from vmkiln.api.protocol import application
from vmkiln.api.protocol.route import FileBody
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import account_name
from vmkiln.store.rows import ResourceRow

GROUP = "IT_rg1_web_1"
NAME = account_name(GROUP)
ACCOUNT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Storage/storageAccounts/{NAME}"
URL = "http://127.0.0.1:10000"


@pytest.fixture
def account(service: InProcess) -> str:
    """The id of the storage account of a staging resource group."""
    return add_account(service)


def add_account(service: InProcess) -> str:
    """Put a staging resource group into a service; gives its storage account's id."""
    store, settings = service.service.store, service.service.settings
    staging_resource_group.create(settings.staging, store, name=GROUP, run_id="", tags={})
    store.resources.put(
        ResourceRow(
            id=ACCOUNT.partition("/providers/")[0],
            type="Microsoft.Resources/resourceGroups",
            name=GROUP,
            subscription_id=SUBSCRIPTION,
            resource_group=GROUP,
            location="westus2",
            state={"staging_group": GROUP},
        )
    )
    return ACCOUNT


def serve_blobs(service: InProcess, kind: BlobService = BlobService.AZURITE, url: str = URL) -> None:
    write_endpoint(service.service.settings.blob_endpoint, BlobEndpoint(kind, url))


def keys_of(
    service: InProcess, account: str, action: str = "listKeys", body: object = None, **options: str
) -> list[str]:
    response = service.request("POST", f"{account}/{action}?$expand=kerb", body, **options)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    assert [key["keyName"] for key in response.json()["keys"]] == ["key1", "key2"]
    return [key["value"] for key in response.json()["keys"]]


def test_the_endpoint_is_path_style_and_the_keys_are_the_blob_servers(service: InProcess, account: str) -> None:
    serve_blobs(service)
    properties = service.get(account).json()["properties"]
    assert properties["primaryEndpoints"] == {"blob": f"{URL}/{NAME}/"}
    assert properties["allowSharedKeyAccess"] is True
    assert properties["supportsHttpsTrafficOnly"] is False
    keys = keys_of(service, account)
    assert json.loads((service.service.settings.blobs / "accounts.json").read_text()) == {NAME: keys}
    assert keys_of(service, account, token="contributor") == keys


def test_readers_and_strangers_never_see_a_key(service: InProcess, account: str) -> None:
    serve_blobs(service)
    for token in ("reader", "stranger"):
        for action, body in (("listKeys", None), ("regenerateKey", {"keyName": "key1"})):
            response = service.request("POST", f"{account}/{action}", body, token=token)
            assert (response.status_code, code_of(response)) == (403, "AuthorizationFailed")
    keys = keys_of(service, account)
    shown = service.get(account, token="reader").text
    assert not any(key in shown for key in keys)


def test_a_key_is_renewed_by_name(service: InProcess, account: str) -> None:
    serve_blobs(service)
    before = keys_of(service, account)
    after = keys_of(service, account, "regenerateKey", {"keyName": "key1"})
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert keys_of(service, account) == after
    refused = service.request("POST", f"{account}/regenerateKey", {"keyName": ["key1"]})
    assert (refused.status_code, code_of(refused)) == (400, "InvalidValuesForRequestParameters")


def test_without_a_blob_server_there_is_no_endpoint_and_no_key(service: InProcess, account: str) -> None:
    properties = service.get(account).json()["properties"]
    assert "primaryEndpoints" not in properties
    assert properties["allowSharedKeyAccess"] is False
    assert code_of(service.request("POST", f"{account}/listKeys")) == "KeyBasedAuthenticationNotPermitted"


def test_a_caller_on_another_machine_is_not_sent_to_this_ones_loopback(service: InProcess, account: str) -> None:
    serve_blobs(service)
    elsewhere = f"https://build.example:8443{account}"
    assert "primaryEndpoints" not in service.get(elsewhere).json()["properties"]
    refused = service.request("POST", f"{elsewhere}/listKeys")
    assert code_of(refused) == "KeyBasedAuthenticationNotPermitted"


def test_the_key_of_an_account_from_outside_is_not_handed_out(service: InProcess, account: str) -> None:
    serve_blobs(service, BlobService.EXTERNAL, "https://logs.blob.core.windows.net")
    properties = service.get(account).json()["properties"]
    assert properties["primaryEndpoints"] == {"blob": f"https://logs.blob.core.windows.net/{NAME}/"}
    assert properties["supportsHttpsTrafficOnly"] is True
    refused = service.request("POST", f"{account}/listKeys")
    assert code_of(refused) == "KeyBasedAuthenticationNotPermitted"


def test_a_vhd_is_told_by_its_blobs_url(living: InProcess) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.VirtualMachineImages"
    template = f"{path}/imageTemplates/vhd"
    add_group(living)
    provisioned(living, template, a_template("true", distribute=[{"type": "VHD", "runOutputName": "disk"}]))
    assert living.request("POST", f"{template}/run").status_code == 202
    assert ended_run(living, template)["runState"] == "Succeeded"
    [output] = living.get(f"{template}/runOutputs").json()["value"]
    local = output["properties"]["artifactUri"]
    assert local.startswith("file:///")
    serve_blobs(living)
    found = living.get(f"{template}/runOutputs/disk").json()["properties"]["artifactUri"]
    assert found.startswith(f"{URL}/")
    account, container, name = found.removeprefix(f"{URL}/").split("/")
    assert (account, container, name) == tuple(local.rsplit("/", 3)[1:])
    assert (container, name) == ("vhds", "disk.vhd")


LOG = b"0123456789" * 10_000


@pytest.fixture
def log(service: InProcess, account: str) -> str:
    """The address of a log of 100,000 bytes."""
    path = service.service.settings.staging / GROUP / NAME / "packerlogs/run/customization.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(LOG)
    return f"{account}/blobServices/default/containers/packerlogs/run/customization.log"


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=99990-", 99_990, 100_000),
        ("bytes=-7", 99_993, 100_000),
        ("bytes=70000-900000", 70_000, 100_000),
        ("bytes=-900000", 0, 100_000),
        ("BYTES=5-15", 5, 16),
    ],
)
def test_a_part_of_a_log_is_sent_as_it_is_asked_for(
    service: InProcess, log: str, asked: str, first: int, end: int
) -> None:
    answer = service.request("GET", log, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, LOG[first:end])
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/100000"
    assert answer.headers["content-length"] == str(end - first)


@pytest.mark.parametrize("asked", ["", "bytes=", "bytes=-", "bytes=9-5", "bytes=0-1,5-6", "lines=1-2", "bytes=x-"])
def test_what_is_no_single_range_gets_the_whole_log(service: InProcess, log: str, asked: str) -> None:
    answer = service.request("GET", log, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, LOG)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=100000-", "bytes=999999-9999999", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_length(service: InProcess, log: str, asked: str) -> None:
    answer = service.request("GET", log, headers={"Range": asked})
    assert (answer.status_code, code_of(answer)) == (416, "InvalidRange")
    assert answer.headers["content-range"] == "bytes */100000"


def test_a_range_is_of_the_log_that_was_meant(service: InProcess, log: str) -> None:
    tag = service.get(log).headers["etag"]
    wanted = {"Range": "bytes=0-9", "If-Range": tag}
    assert service.request("GET", log, headers=wanted).status_code == 206
    with (service.service.settings.staging / GROUP / NAME / "packerlogs/run/customization.log").open("ab") as file:
        file.write(b"more")
    assert service.request("GET", log, headers=wanted).status_code == 200


def test_the_length_of_a_log_is_told_without_it(service: InProcess, log: str) -> None:
    answer = service.request("HEAD", log, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "100000", b"")


def test_a_blob_that_is_not_listed_is_not_served(service: InProcess, log: str, vhd: str) -> None:
    folder = service.service.settings.staging / GROUP / NAME
    (folder / "packerlogs/run/customization.log.times").write_bytes(b"an index of ours")
    (folder / "vhds/disk.vhd.part").write_bytes(b"half a disk")
    for blob in (log, vhd):
        container = f"{blob.partition('/containers/')[0]}/containers/{blob.partition('/containers/')[2].split('/')[0]}"
        listed = [item["id"] for item in service.get(container).json()["value"]]
        assert listed == [blob]
        assert service.get(blob).status_code == 200
    assert service.get(f"{log}.times").status_code == 404
    assert service.get(f"{vhd}.part").status_code == 404


def test_a_log_that_grows_while_it_is_sent_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "customization.log"
    path.write_bytes(b"x" * 200_000)
    blocks = application._blocks(FileBody(path, 200_000))
    sent = next(blocks)
    with path.open("ab") as file:
        file.write(b"more")
    assert len(sent + b"".join(blocks)) == 200_000
    assert len(sent) < 200_000


@pytest.fixture
def vhd(service: InProcess, account: str) -> str:
    """The address of a VHD of 100,000 bytes that a build has put out."""
    path = service.service.settings.staging / GROUP / NAME / "vhds/disk.vhd"
    path.parent.mkdir(parents=True)
    path.write_bytes(LOG)
    return f"{account}/blobServices/default/containers/vhds/disk.vhd"


def test_a_vhd_is_downloaded_whole_or_in_part(service: InProcess, vhd: str) -> None:
    found = service.get(vhd)
    assert (found.status_code, found.content) == (200, LOG)
    assert found.headers["content-type"] == "application/octet-stream"
    assert found.headers["content-disposition"] == "attachment; filename=disk.vhd"
    part = service.get(vhd, headers={"Range": "bytes=10-14"})
    assert (part.status_code, part.content) == (206, b"01234")
    assert service.get(f"{vhd}x").status_code == 404
    assert service.get(vhd.replace("/vhds/", "/packerlogs/")).status_code == 404


def test_a_vhd_is_for_those_who_may_read_the_keys(service: InProcess, vhd: str) -> None:
    service.access.roles["reader"] = [("Reader", vhd.partition("/providers/")[0])]
    account = vhd.partition("/blobServices")[0]
    assert service.get(account, token="reader").status_code == 200
    assert service.get(vhd, token="reader").status_code == 403
    assert service.get(vhd, token="nobody").status_code == 401
