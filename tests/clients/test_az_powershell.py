"""What PowerShell's `Az.ImageBuilder` asks, in its order, with its reading of the answers.

Its cmdlets speak api-version 2022-07-01, follow `Azure-AsyncOperation` before `Location`, and read the state of every
answer from `properties.provisioningState`, else from `status`; where there is neither, the operation has ended.
PowerShell itself is not run here. Source: the published recordings and the generated client of Az.ImageBuilder 0.4.
"""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from real_clients import SUBSCRIPTION, Login

VERSION = "2022-07-01"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/powershell"
TEMPLATES = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates"
GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/shelf"
ASKED = {"api-version": VERSION}
POLLS = 300


@dataclass
class Cmdlets:
    """One session of PowerShell: the headers that its cmdlets send, and how they wait."""

    web: httpx.Client
    seen: list[str] = field(default_factory=list)

    def send(self, cmdlet: str, method: str, url: str, body: Any = None) -> httpx.Response:
        """One request, with the name of its cmdlet."""
        headers = {
            "CommandName": cmdlet,
            "FullCommandName": f"{cmdlet}_Expanded",
            "ParameterSetName": "__AllParameterSets",
            "x-ms-unique-id": str(len(self.seen) + 1),
            "x-ms-client-request-id": str(uuid.uuid4()),
            "User-Agent": "AzurePowershell/v13.4.0 PSVersion/v7.4.7 Az.ImageBuilder/0.4.2",
        }
        self.seen.append(f"{method} {url}")
        params = ASKED if url.startswith("/") else None
        return self.web.request(method, url, params=params, json=body, headers=headers)

    def ended(self, cmdlet: str, method: str, url: str, body: Any = None) -> tuple[str, httpx.Response]:
        """The state in which an operation ends, and the answer that the cmdlet prints."""
        answer = first = self.send(cmdlet, method, url, body)
        poll = final = ""
        state = "Succeeded"
        for _ in range(POLLS):
            if answer.status_code not in {201, 202} and not (method == "PUT" and answer.status_code == 200):
                assert answer.status_code in {200, 204}, answer.text
                break
            poll = answer.headers.get("Azure-AsyncOperation") or answer.headers.get("Location") or poll or url
            final = final or answer.headers.get("Location", "")
            time.sleep(0.1)
            answer = self.send(cmdlet, "GET", poll)
            assert answer.status_code in {200, 202, 204}, answer.text
            if answer.status_code == 200:
                state = state_of(answer)
                if state.lower() in {"succeeded", "failed", "canceled"}:
                    break
                answer.status_code = 202  # goes on
        else:
            raise AssertionError(f"{poll} does not end")
        if state == "Succeeded" and poll and (method == "PUT" or final):
            answer = self.send(cmdlet, "GET", url if method == "PUT" else final)
            assert answer.status_code in {200, 204}, f"{first.headers}\n{answer.text}"
        return state, answer


def state_of(answer: httpx.Response) -> str:
    """The state in an answer, where the generated client looks for it."""
    body = answer.json()
    return str(body.get("properties", {}).get("provisioningState") or body.get("status") or "Succeeded")


@pytest.fixture
def cmdlets(login: Login) -> Iterator[Cmdlets]:
    """A session that has logged in as a service principal, and a group with an identity that may do all in it."""
    secret = {"client_id": login.app_id, "client_secret": login.secret, "grant_type": "client_credentials"}
    with httpx.Client(base_url=login.url, verify=False) as web:  # noqa: S501
        asked = {**secret, "scope": f"{login.url}//.default"}
        token = web.post(f"/{login.tenant}/oauth2/v2.0/token", data=asked).json()["access_token"]
        web.headers["Authorization"] = f"Bearer {token}"
        yield Cmdlets(web)


@pytest.fixture
def identity(cmdlets: Cmdlets) -> str:
    """The id of an identity that may do all in the group."""
    web = cmdlets.web
    web.put(GROUP, params={"api-version": "2024-11-01"}, json={"location": "eastus"}).raise_for_status()
    found = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"
    made = web.put(found, params={"api-version": "2023-01-31"}, json={"location": "eastus"})
    contributor = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
    role = {
        "roleDefinitionId": f"{contributor}/b24988ac-6180-42a0-ab88-20f7382dd24c",
        "principalId": made.json()["properties"]["principalId"],
        "principalType": "ServicePrincipal",
    }
    name = uuid.uuid5(uuid.NAMESPACE_URL, found)
    url = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{name}"
    given = web.put(url, params={"api-version": "2022-04-01"}, json={"properties": role})
    assert given.status_code in {200, 201, 409}, given.text
    return found


@pytest.fixture
def definition(cmdlets: Cmdlets, identity: str) -> str:
    """The id of an image definition."""
    asked = {"api-version": "2023-07-03"}
    cmdlets.web.put(GALLERY, params=asked, json={"location": "eastus"}).raise_for_status()
    found = f"{GALLERY}/images/web"
    properties = {
        "osType": "Linux",
        "osState": "Generalized",
        "hyperVGeneration": "V1",
        "identifier": {"publisher": "you", "offer": "web", "sku": "web"},
    }
    body = {"location": "eastus", "properties": properties}
    cmdlets.web.put(found, params=asked, json=body).raise_for_status()
    return found


def template(identity: str, definition: str, *commands: str) -> dict[str, Any]:
    """The body that `New-AzImageBuilderTemplate` makes of its objects."""
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    target = {
        "type": "SharedImage",
        "runOutputName": "runoutput-01",
        "artifactTags": {"tag": "dis-share"},
        "galleryImageId": definition,
        "replicationRegions": ["eastus2"],
        "excludeFromLatest": False,
    }
    return {
        "location": "eastus",
        "properties": {
            "source": source,
            "customize": [{"type": "Shell", "name": "step", "inline": list(commands)}],
            "distribute": [target],
        },
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity.replace("Groups", "groups"): {}}},
    }


def test_connecting_an_account_finds_tenant_and_subscriptions(cmdlets: Cmdlets, login: Login, identity: str) -> None:
    described = cmdlets.web.get("/metadata/endpoints", params={"api-version": "1.0"}).json()
    assert described["authentication"]["loginEndpoint"]
    assert described["graphEndpoint"]
    for path, version in (("/tenants", "2021-01-01"), ("/subscriptions", "2016-06-01")):
        found = cmdlets.web.get(path, params={"api-version": version})
        assert found.status_code == 200, found.text
        assert login.tenant in {item["tenantId"] for item in found.json()["value"]}


def test_a_template_is_made_started_read_updated_and_removed(cmdlets: Cmdlets, identity: str, definition: str) -> None:
    url = f"{TEMPLATES}/life"
    made, template_made = cmdlets.ended(
        "New-AzImageBuilderTemplate", "PUT", url, template(identity, definition, "true")
    )
    assert made == "Succeeded"
    body = template_made.json()
    assert body["type"].lower() == "microsoft.virtualmachineimages/imagetemplates"
    assert body["properties"]["customize"][0]["type"] == "Shell"
    assert body["properties"]["distribute"][0]["type"] == "SharedImage"
    assert isinstance(body["properties"]["buildTimeoutInMinutes"], int)
    assert next(iter(body["identity"]["userAssignedIdentities"].values()))["principalId"]

    started, _ = cmdlets.ended("Start-AzImageBuilderTemplate", "POST", f"{url}/run")
    assert started == "Succeeded"
    status = cmdlets.send("Get-AzImageBuilderTemplate", "GET", url).json()["properties"]["lastRunStatus"]
    assert status["runState"] == "Succeeded"
    assert status["startTime"] < status["endTime"]
    outputs = cmdlets.send("Get-AzImageBuilderTemplateRunOutput", "GET", f"{url}/runOutputs").json()["value"]
    assert [item["name"] for item in outputs] == ["runoutput-01"]
    output = cmdlets.send("Get-AzImageBuilderTemplateRunOutput", "GET", f"{url}/runOutputs/runoutput-01").json()
    assert output["properties"]["artifactId"].lower().startswith(definition.lower())

    state, _ = cmdlets.ended("Update-AzImageBuilderTemplate", "PATCH", url, {"tags": {"123": "abc"}})
    assert state == "Succeeded"
    assert cmdlets.send("Get-AzImageBuilderTemplate", "GET", url).json()["tags"] == {"123": "abc"}
    for listed in (TEMPLATES, f"/subscriptions/{SUBSCRIPTION}{TEMPLATES.removeprefix(GROUP)}"):
        names = [item["name"] for item in cmdlets.send("Get-AzImageBuilderTemplate", "GET", listed).json()["value"]]
        assert "life" in names

    removed, _ = cmdlets.ended("Remove-AzImageBuilderTemplate", "DELETE", url)
    assert removed == "Succeeded"
    gone = cmdlets.send("Get-AzImageBuilderTemplate", "GET", url)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "ResourceNotFound")
    assert cmdlets.send("Remove-AzImageBuilderTemplate", "DELETE", url).status_code == 204


def test_a_run_started_without_waiting_is_stopped(cmdlets: Cmdlets, identity: str, definition: str) -> None:
    url = f"{TEMPLATES}/stopped"
    cmdlets.ended("New-AzImageBuilderTemplate", "PUT", url, template(identity, definition, "wait"))
    started = cmdlets.send("Start-AzImageBuilderTemplate", "POST", f"{url}/run")  # -NoWait prints one of the two
    assert started.status_code == 202
    assert started.headers["Azure-AsyncOperation"]
    assert started.headers["Location"]
    stopped, _ = cmdlets.ended("Stop-AzImageBuilderTemplate", "POST", f"{url}/cancel")
    assert stopped == "Succeeded"
    end = cmdlets.send("Get-AzImageBuilderTemplate", "GET", url).json()["properties"]["lastRunStatus"]
    assert end["runState"] in {"Canceling", "Canceled"}
    for _ in range(POLLS):
        answer = cmdlets.send("Start-AzImageBuilderTemplate", "GET", started.headers["Azure-AsyncOperation"])
        if answer.json()["status"] != "InProgress":
            break
        time.sleep(0.1)
    assert answer.json()["status"] == "Canceled"
    assert cmdlets.send("Start-AzImageBuilderTemplate", "GET", started.headers["Location"]).status_code == 409
    again = cmdlets.send("Stop-AzImageBuilderTemplate", "POST", f"{url}/cancel")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "OperationNotAllowed")
    assert cmdlets.ended("Remove-AzImageBuilderTemplate", "DELETE", url)[0] == "Succeeded"


def test_a_trigger_is_made_read_and_removed(cmdlets: Cmdlets, identity: str, definition: str) -> None:
    url = f"{TEMPLATES}/triggered"
    cmdlets.ended("New-AzImageBuilderTemplate", "PUT", url, template(identity, definition, "true"))
    trigger = f"{url}/triggers/source"
    body = {"properties": {"kind": "SourceImage"}}
    made, answer = cmdlets.ended("New-AzImageBuilderTrigger", "PUT", trigger, body)
    assert (made, answer.json()["properties"]["kind"]) == ("Succeeded", "SourceImage")
    assert answer.json()["properties"]["status"]["code"] == "Healthy"
    listed = cmdlets.send("Get-AzImageBuilderTrigger", "GET", f"{url}/triggers").json()["value"]
    assert [item["name"] for item in listed] == ["source"]
    assert cmdlets.ended("Remove-AzImageBuilderTrigger", "DELETE", trigger)[0] == "Succeeded"
    assert cmdlets.send("Get-AzImageBuilderTrigger", "GET", trigger).status_code == 404
    assert cmdlets.ended("Remove-AzImageBuilderTemplate", "DELETE", url)[0] == "Succeeded"
