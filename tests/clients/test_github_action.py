"""What Microsoft's GitHub Action and its Azure DevOps task ask, in their order, with their reading of the answers.

They ask az for features and providers, then speak REST themselves: PUT, run, run output, DELETE, and of an operation
they look at `azure-asyncoperation` first. The real action is run by `script/try-github-action`.
"""

import time
from collections.abc import Iterator

import httpx
import pytest
from real_clients import SUBSCRIPTION, Az, Login

VERSION = "2020-02-14"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
TEMPLATE = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imagetemplates/from-the-action"
IMAGE = f"{GROUP}/providers/Microsoft.Compute/images/from-the-action"


@pytest.fixture
def web(login: Login, az: Az) -> Iterator[httpx.Client]:
    """A client that has the token which az gives the action."""
    token = az("account", "get-access-token")["accessToken"]
    with httpx.Client(base_url=login.url, headers={"Authorization": f"Bearer {token}"}, verify=False) as client:  # noqa: S501
        yield client


def ended(web: httpx.Client, first: httpx.Response) -> httpx.Response:
    """The end of an operation as the action sees it: neither 202 nor a status that goes on."""
    url = first.headers.get("azure-asyncoperation") or first.headers["location"]
    for _ in range(100):
        answer = web.get(url)
        going_on = answer.content and answer.json().get("status") in {"Accepted", "Running", "InProgress"}
        if answer.status_code != 202 and not going_on:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{url} does not end")


def test_the_features_and_providers_it_asks_for_are_registered(az: Az) -> None:
    which = ("--namespace", "Microsoft.VirtualMachineImages", "--name", "VirtualMachineTemplatePreview")
    assert az("feature", "show", *which)["properties"]["state"] == "Registered"
    assert az("feature", "register", *which)["properties"]["state"] == "Registered"
    for name in ("VirtualMachineImages", "Storage", "Compute", "KeyVault"):
        assert az("provider", "show", "-n", f"Microsoft.{name}")["registrationState"] == "Registered"


def test_a_workflow_builds_an_image_and_cleans_up_after_itself(web: httpx.Client, az: Az) -> None:
    made = az("identity", "create", "-g", "rg1", "-n", "builder")
    identity = made["id"]
    scope = ("--role", "Contributor", "--scope", IMAGE.partition("/providers/")[0])
    az("role", "assignment", "create", "--assignee", made["clientId"], *scope)
    target = {
        "type": "ManagedImage",
        "imageId": IMAGE,
        "location": "westus2",
        "runOutputName": "from-the-action_1",
        "artifactTags": {"RunURL": "https://github.com/you/yours/actions/runs/1", "GitHubRepo": "you/yours"},
    }
    body = {
        "location": "westus2",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "properties": {
            "source": {
                "type": "PlatformImage",
                "publisher": "Debian",
                "offer": "debian-12",
                "sku": "12",
                "version": "latest",
            },
            "customize": [{"type": "Shell", "name": "aibaction_inline", "inline": ["#", "echo from the action", ""]}],
            "distribute": [target],
            "vmProfile": {"vmSize": "Standard_D1_v2"},
        },
    }
    asked = {"api-version": VERSION}
    put = web.put(TEMPLATE, params=asked, json=body)
    assert put.status_code == 201, put.text
    end = ended(web, put)
    assert (end.status_code, end.json()["status"]) == (200, "Succeeded"), end.text
    run = web.post(f"{TEMPLATE}/run", params=asked)
    assert run.status_code == 202, run.text
    end = ended(web, run)
    assert (end.status_code, end.json()["status"]) == (200, "Succeeded"), end.text
    output = web.get(f"{TEMPLATE}/runOutputs/from-the-action_1", params=asked).json()
    assert output["properties"]["artifactId"].lower() == IMAGE.lower()
    assert web.get(TEMPLATE, params=asked).json()["id"].lower() == TEMPLATE.lower()
    deleted = web.delete(TEMPLATE, params=asked)
    end = ended(web, deleted)
    assert (deleted.status_code, end.status_code, end.json()["status"]) == (202, 200, "Succeeded")
    assert web.get(deleted.headers["location"]).status_code == 204
    assert web.get(TEMPLATE, params=asked).status_code == 404
