"""What Microsoft's task for Azure DevOps asks (`AzureImageBuilderTask@1`, and its successor), in its order.

It looks the storage account up in a list of all resources, takes its key, uploads the build's files, has them copied
into the build VM by a File customizer, waits for template and run, reads the run output, and cleans up after itself.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from azure.storage.blob import BlobSasPermissions, BlobServiceClient, generate_blob_sas
from real_clients import SUBSCRIPTION, Az, Login

from vmkiln.store.database import utc_now

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imagetemplates/t_1700000000000"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/from-the-task"
ACCOUNT, CONTAINER, BLOB = "fromthetask", "imagebuilder-vststask", "drop/7-1700000000000/drop_1700000000000.tar.gz"
STORAGE_TYPES = ("microsoft.storage/storageaccounts", "microsoft.classicstorage/storageaccounts")


@pytest.fixture
def web(login: Login, az: Az) -> Iterator[httpx.Client]:
    """A client with a token of the service connection."""
    token = az("account", "get-access-token")["accessToken"]
    with httpx.Client(base_url=login.url, headers={"Authorization": f"Bearer {token}"}, verify=False) as client:  # noqa: S501
        yield client


def ended(web: httpx.Client, first: httpx.Response) -> dict[str, Any]:
    """The end of an operation as the task sees it: neither 202 nor a status that goes on."""
    url = first.headers.get("azure-asyncoperation") or first.headers["location"]
    for _ in range(300):
        answer = web.get(url)
        going_on = answer.content and answer.json().get("status") in {"Accepted", "Running", "InProgress"}
        if answer.status_code != 202 and not going_on:
            return {"code": answer.status_code, **answer.json()}
        time.sleep(0.2)
    raise AssertionError(f"{url} does not end")


def uploaded(web: httpx.Client) -> str:
    """The address of the build's files, with a signature, as the task makes it."""
    types = " or ".join(f"resourceType eq '{kind}'" for kind in STORAGE_TYPES)
    for more in ("", f" and (name eq '{ACCOUNT}')"):
        wanted = f"(subscriptionId eq '{SUBSCRIPTION}') and ({types}){more}"
        found = web.get("/resources", params={"api-version": "2014-04-01-preview", "$filter": wanted}).json()["value"]
        assert ACCOUNT in [account["name"] for account in found]
    root = str(web.base_url).rstrip("/")  # it writes two slashes behind it
    path = f"{root}//subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage/storageAccounts"
    listed = web.get(path, params={"api-version": "2017-06-01"}).json()["value"]
    account = next(item for item in listed if item["name"] == ACCOUNT)
    group = account["id"].lower().partition("resourcegroups/")[2].partition("/providers")[0]
    where = f"{root}//subscriptions/{SUBSCRIPTION}/resourcegroups/{group}/providers/Microsoft.Storage"
    keys = web.post(f"{where}/storageAccounts/{ACCOUNT}/listKeys", params={"api-version": "2017-06-01"}).json()["keys"]
    key = {"account_name": ACCOUNT, "account_key": keys[0]["value"]}
    with BlobServiceClient(account["properties"]["primaryEndpoints"]["blob"], credential=key) as client:
        client.create_container(CONTAINER)
        blob = client.get_blob_client(CONTAINER, BLOB)
        blob.upload_blob(b"what the pipeline built")
        signature = generate_blob_sas(
            ACCOUNT,
            CONTAINER,
            BLOB,
            account_key=keys[0]["value"],
            permission=BlobSasPermissions(read=True),
            expiry=utc_now() + timedelta(hours=4),
        )
        return f"{blob.url}?{signature}"


def test_a_pipeline_builds_an_image_of_what_it_built(web: httpx.Client, az: Az) -> None:
    az("storage", "account", "create", "-g", "rg1", "-n", ACCOUNT, "-l", "westus2")
    made = az("identity", "create", "-g", "rg1", "-n", "of-the-task")
    az("role", "assignment", "create", "--assignee", made["clientId"], "--role", "Contributor", "--scope", GROUP)
    archive = f"/tmp/{BLOB.rpartition('/')[2]}"
    unpack = ["mkdir -p /tmp/drop", f"sudo tar -xzvf {archive} -C /tmp/drop", "echo from the pipeline"]
    body = {
        "location": "westus2",
        "tags": {},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {made["id"]: {}}},
        "properties": {
            "buildTimeoutInMinutes": 60,
            "vmProfile": {"vmSize": "Standard_DS2_v2"},
            "source": {
                "type": "PlatformImage",
                "publisher": "Debian",
                "offer": "debian-12",
                "sku": "12",
                "version": "latest",
            },
            "customize": [
                {"type": "File", "name": "vststask_file_copy", "sourceUri": uploaded(web), "destination": archive},
                {"type": "Shell", "name": "vststask_inline", "inline": unpack},
            ],
            "distribute": [
                {
                    "type": "ManagedImage",
                    "imageId": IMAGE,
                    "location": "westus2",
                    "runOutputName": "r_1700000000000",
                    "artifactTags": {"DefinitionName": "build", "BuildNumber": "7", "BuildId": "7"},
                }
            ],
        },
    }
    asked = {"api-version": "2020-02-14"}
    put = web.put(TEMPLATE, params=asked, json=body)
    assert put.status_code == 201, put.text
    assert ended(web, put)["status"] == "Succeeded"
    run = web.post(f"{TEMPLATE}/run", params=asked)
    assert run.status_code == 202, run.text
    assert ended(web, run)["status"] == "Succeeded"
    output = web.get(f"{TEMPLATE}/runOutputs/r_1700000000000", params=asked).json()
    assert output["properties"]["artifactId"].lower() == IMAGE.lower()
    assert web.get(TEMPLATE, params=asked).json()["id"].lower() == TEMPLATE.lower()
    found = ended(web, web.delete(TEMPLATE, params=asked))
    assert (found["code"], found["status"]) == (200, "Succeeded")
    az("storage", "account", "delete", "-g", "rg1", "-n", ACCOUNT, "--yes")
