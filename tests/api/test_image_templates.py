"""Image templates over the API: their life, and what is refused in Azure's own words."""

import uuid
from typing import Any

import pytest
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    code_of,
    ended_run,
    provisioned,
    wait_for,
)

from vmkiln.template.api_version import API_VERSIONS

STABLE = [version for version in API_VERSIONS if not version.endswith("-preview")]


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def operation_end(service: InProcess, url: str) -> dict[str, Any]:
    return dict(
        wait_for(lambda: (found := service.get(url, api_version=None).json())["status"] != "InProgress" and found)
    )


@pytest.mark.parametrize("api_version", STABLE)
def test_a_template_is_created_read_listed_and_deleted(live: InProcess, api_version: str) -> None:
    response = live.put(TEMPLATE, a_template(), api_version=api_version)
    assert response.status_code == 201
    assert response.json()["properties"]["provisioningState"] == "Creating"
    assert int(response.headers["Retry-After"]) >= 1
    end = operation_end(live, response.headers["Azure-AsyncOperation"])
    assert end["status"] == "Succeeded"
    found = live.get(TEMPLATE, api_version=api_version).json()
    assert found["id"].lower() == TEMPLATE.lower()
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["exactStagingResourceGroup"].rpartition("/")[2].startswith("IT_rg1_web_")
    assert "lastRunStatus" not in found["properties"]
    for path in (GROUP, f"/subscriptions/{SUBSCRIPTION}"):
        listed = live.get(f"{path}/providers/Microsoft.VirtualMachineImages/imageTemplates", api_version=api_version)
        assert [item["name"] for item in listed.json()["value"]] == ["web"]
    deleted = live.request("DELETE", TEMPLATE, api_version=api_version)
    assert deleted.status_code == 202
    wait_for(lambda: live.get(deleted.headers["Location"], api_version=None).status_code == 204)
    assert live.get(TEMPLATE).status_code == 404
    assert live.request("DELETE", TEMPLATE).status_code == 204
    assert not live.service.store.staging.list_groups()


def test_a_run_ends_with_its_output(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template())
    response = live.request("POST", f"{TEMPLATE}/run")
    assert (response.status_code, response.content) == (202, b"")
    assert operation_end(live, response.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    status = ended_run(live, TEMPLATE)
    assert (status["runState"], status["message"]) == ("Succeeded", "")
    outputs = live.get(f"{TEMPLATE}/runOutputs").json()["value"]
    assert [(item["name"], item["properties"]["provisioningState"]) for item in outputs] == [("out", "Succeeded")]
    assert live.get(f"{TEMPLATE}/runOutputs/OUT").json() == outputs[0]
    assert live.get(f"{TEMPLATE}/runOutputs/other").status_code == 404


def test_a_failed_run_says_why_and_where_its_log_is(live: InProcess) -> None:
    found = provisioned(live, TEMPLATE, a_template("fail"))
    response = live.request("POST", f"{TEMPLATE}/run")
    end = operation_end(live, response.headers["Azure-AsyncOperation"])
    assert (end["status"], end["error"]["code"]) == ("Failed", "PackerBuildFailed")
    status = ended_run(live, TEMPLATE)
    assert status["runState"] == "Failed"
    assert found["properties"]["exactStagingResourceGroup"] in status["message"]
    assert "customization.log" in status["message"]


def test_a_run_is_cancelled_and_what_its_state_forbids_is_refused(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template("wait"))
    assert code_of(live.request("POST", f"{TEMPLATE}/cancel")) == "OperationNotAllowed"
    assert live.request("POST", f"{TEMPLATE}/run").status_code == 202
    wait_for(lambda: live.get(TEMPLATE).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    status = live.get(TEMPLATE).json()["properties"]["lastRunStatus"]
    assert (status["runState"], status["endTime"]) == ("Running", "0001-01-01T00:00:00Z")
    again = live.request("POST", f"{TEMPLATE}/Run")
    assert (again.status_code, code_of(again)) == (409, "OperationNotAllowed")
    refused = live.request("DELETE", TEMPLATE)
    assert refused.json()["error"]["message"] == (
        "Operation Microsoft.VirtualMachineImages/imageTemplates/delete is not allowed in provisioning state: "
        "provisioned or run state: running."
    )
    cancelled = live.request("POST", f"{TEMPLATE}/cancel")
    assert (cancelled.status_code, cancelled.content) == (204, b"")
    assert ended_run(live, TEMPLATE)["runState"] == "Canceled"
    assert live.request("DELETE", TEMPLATE).status_code == 202


def test_a_run_that_waits_is_cancelled_too(service: InProcess) -> None:
    add_group(service)
    kept = service.put(TEMPLATE, a_template()).json()
    service.service.store.resources.change(
        kept["id"],
        lambda row: row.__class__(**{**vars(row), "properties": {**row.properties, "provisioningState": "Succeeded"}}),
    )
    assert service.request("POST", f"{TEMPLATE}/run").status_code == 202
    status = service.get(TEMPLATE).json()["properties"]["lastRunStatus"]
    assert (status["runState"], status["runSubState"]) == ("Running", "Queued")
    assert service.request("POST", f"{TEMPLATE}/cancel").status_code == 204
    assert service.get(TEMPLATE).json()["properties"]["lastRunStatus"]["runState"] == "Canceled"
    assert service.request("POST", f"{TEMPLATE}/run").status_code == 202


def test_auto_run_starts_a_build_with_the_template(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template(autoRun={"state": "Enabled"}))
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded"


def test_another_template_of_the_same_name_is_a_conflict(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template())
    response = live.put(TEMPLATE, a_template("other"))
    assert (response.status_code, code_of(response)) == (409, "Conflict")
    assert response.json()["error"]["message"] == "Update/Upgrade of image templates is currently not supported"


def test_the_whole_resource_as_it_was_read_may_be_put_again_with_other_tags(live: InProcess) -> None:
    found = provisioned(live, TEMPLATE, a_template())
    response = live.put(TEMPLATE, {**found, "tags": {"team": "db"}})
    assert response.status_code == 200
    after = live.get(TEMPLATE).json()
    assert after["tags"] == {"team": "db"}
    assert after["properties"] == found["properties"]


def test_every_mistake_is_named_in_azures_words(service: InProcess) -> None:
    add_group(service)
    body = a_template()
    del body["properties"]["source"]
    body["properties"]["vmboot"] = {}
    body["properties"]["buildTimeoutInMinutes"] = 5
    response = service.put(TEMPLATE, body)
    assert (response.status_code, code_of(response)) == (400, "ValidationFailed")
    text = response.json()["error"]["message"]
    assert "Validation failed: 'ImageTemplate.properties': Missing field source" in text
    assert 'unknown field "vmboot"' in text
    assert "v2025_10_01.ImageTemplate" in text
    assert "buildTimeoutInMinutes" in text
    assert len(response.json()["error"]["details"]) == 3
    older = service.put(TEMPLATE, body, api_version="2023-07-01").json()["error"]["message"]
    assert "vmboot" not in older


def test_errors_of_the_first_version_are_not_wrapped(service: InProcess) -> None:
    add_group(service)
    body = service.put(TEMPLATE, {"location": "westus2"}, api_version="2020-02-14").json()
    assert body["code"] == "ValidationFailed"
    assert "error" not in body


def test_a_flattened_or_empty_template_is_refused(service: InProcess) -> None:
    add_group(service)
    response = service.put(TEMPLATE, {"location": "westus2", "identity": {"type": "None"}, "properties": {}})
    assert response.status_code == 400
    assert "Missing field source" in response.text
    assert "Missing field distribute" in response.text


def test_a_template_needs_its_resource_group(service: InProcess) -> None:
    response = service.put(TEMPLATE, a_template())
    assert (response.status_code, code_of(response)) == (404, "ResourceGroupNotFound")


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ü"])
def test_names_outside_the_pattern_are_refused(service: InProcess, name: str) -> None:
    add_group(service)
    response = service.put(TEMPLATE.replace("/web", f"/{name}"), a_template())
    assert (response.status_code, code_of(response)) == (400, "InvalidResourceName")


def test_what_a_template_distributes_to_must_be_there(live: InProcess) -> None:
    gallery = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/none"
    target = {"type": "SharedImage", "runOutputName": "out", "galleryImageId": gallery}
    found = provisioned(live, TEMPLATE, a_template(distribute=[target]))
    assert found["properties"]["provisioningState"] == "Failed"
    assert found["properties"]["provisioningError"]["provisioningErrorCode"] == "BadSharedImageDistribute"
    assert code_of(live.request("POST", f"{TEMPLATE}/run")) == "OperationNotAllowed"
    assert code_of(live.put(TEMPLATE, a_template(distribute=[target]))) == "Conflict"
    assert live.request("DELETE", TEMPLATE).status_code == 202


def test_tags_identity_targets_and_profile_may_be_changed_and_nothing_else(live: InProcess) -> None:
    found = provisioned(live, TEMPLATE, a_template())
    target = found["properties"]["distribute"][0]
    change = {
        "tags": {"a": "b"},
        "properties": {
            "distribute": [{**target, "location": "eastus"}, {"type": "VHD", "runOutputName": "vhd"}],
            "vmProfile": {"vmSize": "Standard_D2s_v3"},
        },
    }
    response = live.request("PATCH", TEMPLATE, change)
    assert (response.status_code, response.content) == (202, b"")
    assert operation_end(live, response.headers["Azure-AsyncOperation"])["status"] == "Succeeded"
    after = live.get(TEMPLATE).json()["properties"]
    assert [item["runOutputName"] for item in after["distribute"]] == ["out", "vhd"]
    assert after["vmProfile"] == {"vmSize": "Standard_D2s_v3"}
    assert after["provisioningState"] == "Succeeded"
    assert after["exactStagingResourceGroup"] == found["properties"]["exactStagingResourceGroup"]
    lost = live.request("PATCH", TEMPLATE, {"properties": {"distribute": [target]}})
    assert "Distribute target with Runoutput name vhd not found in the update request" in lost.text
    assert live.request("PATCH", TEMPLATE, {"properties": {"customize": []}}).status_code == 400
    assert live.request("PATCH", TEMPLATE, {"location": "eastus"}).status_code == 400
    old = live.request("PATCH", TEMPLATE, {"properties": {"vmProfile": {}}}, api_version="2023-07-01")
    assert old.status_code == 400


def test_identities_are_merged_without_regard_to_case(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template())
    one = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/One"
    for identity in (one, f"{one}2"):
        assert live.put(identity, {"location": "westus2"}).status_code == 201

    def change(assigned: dict[str, Any]) -> dict[str, Any]:
        body = {"identity": {"type": "UserAssigned", "userAssignedIdentities": assigned}}
        assert live.request("PATCH", TEMPLATE, body).status_code == 202
        return dict(live.get(TEMPLATE).json()["identity"])

    assert uuid.UUID(change({one: {}})["userAssignedIdentities"][one]["principalId"])
    assert list(change({one.lower(): {}})["userAssignedIdentities"]) == [one]
    both = {"identity": {"type": "UserAssigned", "userAssignedIdentities": {f"{one}2": {}}}}
    refused = live.request("PATCH", TEMPLATE, both)
    assert (refused.status_code, code_of(refused)) == (400, "ValidationFailed")
    assert "at most one" in refused.text
    swapped = change({one: None, f"{one}2": {}})
    assert list(swapped["userAssignedIdentities"]) == [f"{one}2"]
    assert change({f"{one}2".upper(): None}) == {"type": "None"}


def test_managed_resource_tags_stand_on_what_the_service_makes(live: InProcess) -> None:
    found = provisioned(live, TEMPLATE, a_template(managedResourceTags={"team": "db"}))
    group = live.get(found["properties"]["exactStagingResourceGroup"], api_version="2024-11-01").json()
    assert group["tags"] == {
        "team": "db",
        "createdBy": "AzureVMImageBuilder",
        "imageTemplateName": "web",
        "imageTemplateResourceGroupName": "rg1",
    }
    accounts = live.get(f"{group['id']}/providers/Microsoft.Storage/storageAccounts").json()["value"]
    assert [item["tags"].get("team") for item in accounts] == ["db"]


def test_etags_guard_against_lost_updates(live: InProcess) -> None:
    provisioned(live, TEMPLATE, a_template())
    etag = live.get(TEMPLATE).headers["ETag"]
    assert live.request("PATCH", TEMPLATE, {"tags": {}}, headers={"If-Match": etag}).status_code == 202
    stale = live.request("PATCH", TEMPLATE, {"tags": {"x": "y"}}, headers={"If-Match": etag})
    assert (stale.status_code, code_of(stale)) == (412, "PreconditionFailed")
    new = live.request("PUT", TEMPLATE, a_template(), headers={"If-None-Match": "*"})
    assert new.status_code == 412


def test_a_list_comes_in_pages(service: InProcess) -> None:
    add_group(service)
    for number in range(205):
        response = service.put(TEMPLATE.replace("/web", f"/t{number:03}"), a_template())
        assert response.status_code == 201
    url: str | None = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates"
    names, pages = [], 0
    while url:
        page = service.get(url).json()
        names += [item["name"] for item in page["value"]]
        url, pages = page.get("nextLink"), pages + 1
    assert (len(names), len(set(names)), pages) == (205, 205, 3)


def test_a_role_in_one_group_shows_what_is_in_that_group(service: InProcess) -> None:
    add_group(service)
    add_group(service, name="rg2")
    for number in range(102):
        service.put(TEMPLATE.replace("/web", f"/hidden{number:03}"), a_template())
    service.put(TEMPLATE.replace("/rg1/", "/rg2/"), a_template())
    service.access.roles["part"] = [("Reader", GROUP.replace("rg1", "rg2"))]
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.VirtualMachineImages/imageTemplates"
    found = service.get(path, token="part").json()
    assert [item["id"].split("/")[4] for item in found["value"]] == ["rg2"]
    assert "nextLink" not in found
    assert service.get(path, token="stranger").status_code == 403


@pytest.mark.parametrize(
    ("method", "suffix", "token", "status"),
    [
        ("GET", "", "reader", 200),
        ("PUT", "", "reader", 403),
        ("PATCH", "", "reader", 403),
        ("DELETE", "", "reader", 403),
        ("POST", "/run", "reader", 403),
        ("GET", "", "stranger", 403),
        ("POST", "/run", "stranger", 403),
        ("POST", "/run", "contributor", 202),
    ],
)
def test_roles_decide_who_may(live: InProcess, method: str, suffix: str, token: str, status: int) -> None:
    provisioned(live, TEMPLATE, a_template())
    body = a_template() if method == "PUT" else {} if method == "PATCH" else None
    response = live.request(method, TEMPLATE + suffix, body, token=token)
    assert response.status_code == status
    if status == 403:
        absent = live.request(method, TEMPLATE.replace("/web", "/none") + suffix, body, token=token)
        assert absent.status_code == 403
        assert absent.json()["error"]["code"] == response.json()["error"]["code"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("source", {"type": "ManagedImage", "imageId": "{}/providers/Microsoft.Compute/images/secret"}),
        (
            "source",
            {
                "type": "SharedImageVersion",
                "imageVersionId": "{}/providers/Microsoft.Compute/galleries/g/images/d/versions/latest",
            },
        ),
        (
            "distribute",
            [
                {
                    "type": "SharedImage",
                    "runOutputName": "o",
                    "galleryImageId": "{}/providers/Microsoft.Compute/galleries/g/images/d",
                }
            ],
        ),
        ("stagingResourceGroup", "{}"),
        ("vmProfile", {"vnetConfig": {"subnetId": "{}/providers/Microsoft.Network/virtualNetworks/v/subnets/s"}}),
    ],
)
def test_a_body_cannot_name_what_its_sender_may_not_use(service: InProcess, member: str, value: Any) -> None:
    add_group(service)
    other = f"/subscriptions/{OTHER_SUBSCRIPTION}/resourceGroups/theirs"

    def filled(item: Any) -> Any:
        if isinstance(item, dict):
            return {name: filled(inner) for name, inner in item.items()}
        if isinstance(item, list):
            return [filled(inner) for inner in item]
        return item.format(other)

    response = service.put(TEMPLATE, a_template(**{member: filled(value)}))
    assert (response.status_code, code_of(response)) == (403, "LinkedAuthorizationFailed")


def test_a_brought_staging_group_stays_and_gets_its_tags_back(live: InProcess) -> None:
    add_group(live, name="mine")
    mine = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/mine"
    found = provisioned(live, TEMPLATE, a_template(stagingResourceGroup=mine))
    assert found["properties"]["provisioningState"] == "Succeeded"
    assert found["properties"]["exactStagingResourceGroup"] == mine
    row = live.service.store.resources.get(mine)
    assert row is not None
    assert row.tags["imageTemplateName"] == "web"
    other = provisioned(live, TEMPLATE.replace("/web", "/second"), a_template(stagingResourceGroup=mine))
    assert other["properties"]["provisioningError"]["provisioningErrorCode"] == "BadStagingResourceGroup"
    assert live.request("DELETE", TEMPLATE).status_code == 202
    wait_for(lambda: live.get(TEMPLATE).status_code == 404)
    row = live.service.store.resources.get(mine)
    assert row is not None
    assert not row.tags


@pytest.mark.parametrize("where", ["identity", "profile"])
def test_an_identity_that_is_not_there_is_refused(live: InProcess, where: str) -> None:
    missing = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/typo"
    body = a_template(**({"vmProfile": {"userAssignedIdentities": [missing]}} if where == "profile" else {}))
    if where == "identity":
        body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {missing: {}}}
    refused = live.put(TEMPLATE, body)
    assert (refused.status_code, code_of(refused)) == (400, "FailedIdentityOperation")
    assert "userAssignedIdentities/typo" in refused.text
    assert live.get(TEMPLATE).status_code == 404


def test_the_type_of_an_identity_is_user_assigned_or_none(live: InProcess) -> None:
    refused = live.put(TEMPLATE, {**a_template(), "identity": {"type": "SystemAssigned"}})
    assert (refused.status_code, code_of(refused)) == (400, "ValidationFailed")
    assert "UserAssigned" in refused.text
