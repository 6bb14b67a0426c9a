"""Storage accounts that users make: a name, kept like any resource; with a blob server, keys and blobs too."""

from pathlib import Path
from typing import Any

import pytest
from asked_server import serving
from in_process import SUBSCRIPTION, TEMPLATE, InProcess, TestAccess, a_template, add_group, code_of, provisioned
from service_fixtures import living_service
from test_storage_accounts import ACCOUNT, URL, add_account, keys_of, serve_blobs

from vmkiln.api.storage import users_accounts
from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.blobs.blob_server import BlobFolder
from vmkiln.provisioning.submitting import copied_scripts
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import opened
from vmkiln.template.checked_template import check_image_template

PROVIDER = "Microsoft.Storage"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
ONE = f"{GROUP}/providers/{PROVIDER}/storageAccounts/scripts1"
CHECK = f"/subscriptions/{SUBSCRIPTION}/providers/{PROVIDER}/checkNameAvailability"
BODY: dict[str, Any] = {
    "location": "westus2",
    "kind": "StorageV2",
    "sku": {"name": "Standard_LRS"},
    "properties": {"minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": True},
}


@pytest.fixture
def group(service: InProcess) -> str:
    """The id of a resource group."""
    add_group(service)
    return GROUP


@pytest.mark.usefixtures("group")
def test_an_account_is_made_changed_listed_and_deleted(service: InProcess) -> None:
    serve_blobs(service)
    made = service.put(ONE, BODY)
    assert made.status_code == 200, "as Azure's, whose clients take 200 and 202"
    assert (
        made.json()["properties"]
        | {
            "provisioningState": "Succeeded",
            "minimumTlsVersion": "TLS1_2",
            "primaryEndpoints": {"blob": f"{URL}/scripts1/"},
            "allowBlobPublicAccess": False,
        }
        == made.json()["properties"]
    )
    assert (made.json()["kind"], made.json()["sku"]["tier"]) == ("StorageV2", "Standard")
    assert service.request("PATCH", ONE, {"tags": {"a": "b"}}).json()["tags"] == {"a": "b"}
    for path in (GROUP, f"/subscriptions/{SUBSCRIPTION}"):
        listed = service.get(f"{path}/providers/{PROVIDER}/storageAccounts").json()["value"]
        assert [item["name"] for item in listed] == ["scripts1"]
    assert service.get(f"{GROUP}/resources").json()["value"][0]["id"] == ONE
    assert service.request("DELETE", ONE).status_code == 200
    assert (service.get(ONE).status_code, service.request("DELETE", ONE).status_code) == (404, 204)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("name", ["UPPER", "ab", "a" * 24, "with-hyphen"])
def test_a_name_that_cannot_be_given_is_told_before(service: InProcess, name: str) -> None:
    """24 letters are those of builds' accounts, whose names anybody can work out beforehand."""
    refused = service.put(ONE.replace("scripts1", name), BODY)
    assert (refused.status_code, "3 to 23" in refused.text) == (400, True)
    told = service.request("POST", CHECK, {"name": name}).json()
    assert (told["nameAvailable"], told["reason"]) == (False, "AccountNameInvalid")


@pytest.mark.usefixtures("group")
def test_every_mistake_of_a_body_is_told_at_once(service: InProcess) -> None:
    refused = service.put(ONE, {"tags": 1, "kind": "X", "sku": {"name": 5}, "properties": []})
    assert refused.status_code == 400
    targets = {detail["target"] for detail in refused.json()["error"]["details"]}
    assert targets == {"tags", "location", "kind", "sku.name", "properties"}


@pytest.mark.usefixtures("group")
def test_a_name_is_given_once_in_all_subscriptions(service: InProcess) -> None:
    service.put(ONE, BODY)
    add_group(service, name="other")
    refused = service.put(ONE.replace("rg1", "other"), BODY)
    assert (refused.status_code, code_of(refused)) == (409, "StorageAccountAlreadyTaken")
    assert service.request("POST", CHECK, {"name": "scripts1"}).json()["reason"] == "AlreadyExists"
    assert service.request("POST", CHECK, {"name": "scripts2"}).json() == {"nameAvailable": True}


@pytest.mark.usefixtures("group")
def test_a_name_is_given_anew_when_what_it_held_is_gone(service: InProcess) -> None:
    """Else its new owner would find the blobs of the one before."""
    serve_blobs(service)
    service.put(ONE, BODY)
    keys_of(service, ONE)
    service.request("DELETE", ONE)
    refused = service.put(ONE, BODY)
    assert (refused.status_code, code_of(refused)) == (409, "StorageAccountAlreadyTaken")
    AccountKeys(BlobFolder(service.service.settings.blobs).keys).forget(["scripts1"])  # as the blob server's look does
    assert service.put(ONE, BODY).status_code == 200


@pytest.mark.usefixtures("group")
def test_what_a_restored_back_up_does_not_know_is_nobody_elses(service: InProcess) -> None:
    serve_blobs(service)
    keys = AccountKeys(BlobFolder(service.service.settings.blobs).keys)
    keys.ensure(["scripts1"])
    refused = service.put(ONE, BODY)
    assert (refused.status_code, "a back-up was restored" in refused.text) == (409, True)
    keys.forget(["scripts1"])
    service.put(ONE, BODY)
    keys_of(service, ONE)
    service.request("DELETE", ONE)
    assert keys.deleted() == {"scripts1"}


@pytest.mark.usefixtures("group")
def test_readers_and_strangers_get_no_key_of_a_users_account(service: InProcess) -> None:
    serve_blobs(service)
    service.put(ONE, BODY)
    for token in ("reader", "stranger"):
        assert service.request("POST", f"{ONE}/listKeys", token=token).status_code == 403
    assert keys_of(service, ONE, token="contributor") == keys_of(service, ONE)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("kind", [None, BlobService.EXTERNAL])
def test_without_our_blob_server_an_account_is_a_name(service: InProcess, kind: BlobService | None) -> None:
    if kind is not None:
        serve_blobs(service, kind, "https://logs.blob.core.windows.net")
    assert "primaryEndpoints" not in service.put(ONE, BODY).json()["properties"]
    for path in ("/listKeys", ""):
        method = "POST" if path else "GET"
        target = f"{ONE}{path or '/blobServices/default/containers'}"
        refused = service.request(method, target)
        assert code_of(refused) == "KeyBasedAuthenticationNotPermitted"


def test_a_subscriptions_accounts_are_counted_however_it_is_spelled(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_accounts, "MOST_ACCOUNTS", 1)
    subscription = "abcdef00-0000-4000-8000-000000000000"
    group = GROUP.replace(SUBSCRIPTION, subscription)
    service.request("PUT", group, {"location": "westus2"}, token="root")
    for spelled, status in ((subscription, 200), (subscription.upper(), 409), (subscription, 409)):
        name = f"scripts{spelled[:3]}{status}".lower()
        path = ONE.replace(SUBSCRIPTION, spelled).replace("scripts1", name)
        assert service.request("PUT", path, BODY, token="root").status_code == status


def test_nobody_makes_an_account_beside_a_builds(service: InProcess) -> None:
    build = add_account(service)
    for path in (build, build.rpartition("/")[0] + "/mine"):
        refused = service.put(path, BODY)
        assert (refused.status_code, code_of(refused)) == (409, "OperationNotAllowed")
    assert service.request("DELETE", ACCOUNT).status_code == 409


@pytest.mark.usefixtures("group")
def test_a_blob_server_that_is_away_is_told(service: InProcess) -> None:
    serve_blobs(service, url="http://127.0.0.1:9")
    service.put(ONE, BODY)
    container = f"{ONE}/blobServices/default/containers/scripts"
    answers = [service.put(container, {}), service.get(container), service.request("DELETE", container)]
    assert {(answer.status_code, code_of(answer)) for answer in answers} == {(503, "ServerBusy")}
    refused = service.put(container, {"properties": {"publicAccess": "Blob"}})
    assert (refused.status_code, code_of(refused)) == (409, "PublicAccessNotPermitted")
    assert service.put(f"{container}_", {}).status_code == 400


def test_scripts_come_from_our_blob_server_and_nothing_beside_it(tmp_path: Path, access: TestAccess) -> None:
    with serving() as blobs, serving() as beside:
        with living_service(tmp_path / "a", access, tmp_path / "a.sqlite") as service:
            add_group(service)
            serve_blobs(service, url=blobs.url("").rstrip("/"))
            states = []
            for number, server in enumerate((blobs, beside)):
                steps = [{"type": "Shell", "name": "s", "scriptUri": server.url("/scripts1/c/a.sh")}]
                found = provisioned(service, f"{TEMPLATE}{number}", a_template(customize=steps))
                states.append(found["properties"]["provisioningState"])
        assert states == ["Succeeded", "Failed"]
        assert beside.asked == []


async def test_our_blob_server_is_asked_past_the_operators_proxy(tmp_path: Path) -> None:
    """A proxy on another machine would ask itself, and be told the signature in the address."""
    with serving() as blobs, serving() as proxy:
        settings = Settings(tmp_path, http_proxy=proxy.url("").rstrip("/"))
        write_endpoint(settings.blob_endpoint, BlobEndpoint(BlobService.AZURITE, blobs.url("").rstrip("/")))
        steps = [{"type": "Shell", "name": "s", "scriptUri": blobs.url("/scripts1/c/a.sh")}]
        template = check_image_template(a_template(customize=steps))
        with opened(settings.database) as store:
            group = staging_resource_group.create(settings.staging, store, name="IT_g", run_id="", tags={})
            assert await copied_scripts(settings, template, group)
        assert proxy.asked == []
