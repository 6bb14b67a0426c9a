"""Resource groups, subscriptions, providers and lists of resources, as az asks for them."""

from typing import Any

import pytest
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    code_of,
    ended_run,
    provisioned,
    wait_for,
)

LOWER = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/rg1"


def test_a_group_is_made_read_tagged_and_deleted(service: InProcess) -> None:
    assert service.request("HEAD", LOWER).status_code == 404
    made = service.put(LOWER, {"location": "West US 2", "tags": {"a": "b"}})
    assert (made.status_code, made.json()["location"], made.json()["id"]) == (201, "westus2", GROUP)
    assert service.request("HEAD", LOWER).status_code == 204
    assert service.put(LOWER, {"location": "westus2"}).json()["tags"] == {"a": "b"}
    assert service.request("PATCH", LOWER, {"tags": {"c": "d"}}).json()["tags"] == {"c": "d"}
    moved = service.put(LOWER, {"location": "eastus"})
    assert (moved.status_code, code_of(moved)) == (409, "InvalidResourceGroupLocation")
    deleted = service.request("DELETE", LOWER)
    assert deleted.status_code == 202
    wait_for(lambda: service.get(deleted.headers["Location"], api_version=None).status_code == 200)
    assert service.get(LOWER).status_code == 404


@pytest.mark.parametrize(
    ("name", "body", "word"),
    [
        ("rg1", {}, "location"),
        ("rg1", {"location": 5}, "location"),
        ("bad.", {"location": "local"}, "name"),
        ("bad name", {"location": "local"}, "name"),
        ("rg1", {"location": "local", "tags": ["x"]}, "tags"),
        ("rg1", {"location": "local", "tags": {"x": 1}}, "tags.x"),
        ("rg1", {"location": "local", "tags": {f"t{n}": "" for n in range(51)}}, "tags"),
    ],
)
def test_what_is_wrong_with_a_group_is_named(service: InProcess, name: str, body: dict[str, Any], word: str) -> None:
    response = service.put(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}", body)
    assert response.status_code == 400
    assert response.json()["error"]["target"] == word


def test_a_group_goes_with_all_that_is_in_it_but_not_while_a_build_runs(living: InProcess) -> None:
    living.put(LOWER, {"location": "westus2"})
    provisioned(living, TEMPLATE, a_template("wait"))
    living.request("POST", f"{TEMPLATE}/run")
    refused = living.request("DELETE", LOWER)
    assert (refused.status_code, code_of(refused)) == (409, "ResourceGroupDeletionBlocked")
    wait_for(lambda: living.get(TEMPLATE).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    living.request("POST", f"{TEMPLATE}/cancel")
    ended_run(living, TEMPLATE)
    staging = living.get(TEMPLATE).json()["properties"]["exactStagingResourceGroup"]
    assert code_of(living.request("DELETE", staging)) == "ResourceGroupDeletionBlocked"
    assert living.request("DELETE", LOWER).status_code == 202
    wait_for(lambda: living.get(LOWER).status_code == 404)
    assert living.get(staging).status_code == 404
    assert not living.service.store.staging.list_groups()


def names(service: InProcess, query: str, path: str = f"/subscriptions/{SUBSCRIPTION}/resources") -> list[str]:
    return [item["name"] for item in service.get(f"{path}?{query}").json()["value"]]


def test_resources_are_listed_as_the_filter_says(service: InProcess) -> None:
    for group in ("rg1", "rg2"):
        service.put(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}", {"location": "westus2"})
    service.put(TEMPLATE, a_template())
    service.put(TEMPLATE.replace("rg1", "rg2").replace("/web", "/db"), {**a_template(), "tags": {"team": "db"}})
    assert names(service, "$top=5") == ["web", "db"]
    assert names(service, "$filter=resourceGroup eq 'RG2'") == ["db"]
    assert names(service, "$filter=resourceType eq 'Microsoft.VirtualMachineImages/imageTemplates'") == ["web", "db"]
    assert names(service, "$filter=resourceType eq 'Microsoft.Compute/images'") == []
    assert names(service, "$filter=tagName eq 'team' and tagValue eq 'db'") == ["db"]
    assert names(service, "$filter=name eq 'web' or name eq 'db'") == ["web", "db"]
    assert names(service, "$filter=substringof('eb', name)") == ["web"]
    assert names(service, "", GROUP + "/resources") == ["web"]
    assert names(service, "$filter=(name EQ 'web') AND (tagName eq 'team' or (name eq 'db' or name eq 'web'))") == [
        "web"
    ]
    assert names(service, "$filter=(tagName eq 'team' and (tagValue eq 'db'))") == ["db"]
    for odd in ("(name eq 'web'", "name eq 'web')", "name eq 'a' and", f"{'(' * 20}name eq 'a'{')' * 20}"):
        assert service.get(f"/subscriptions/{SUBSCRIPTION}/resources?$filter={odd}").status_code == 400
    wrong = service.get(f"/subscriptions/{SUBSCRIPTION}/resources?$filter=nonsense")
    assert (wrong.status_code, code_of(wrong)) == (400, "InvalidFilterInQueryString")
    expanded = service.get(f"/subscriptions/{SUBSCRIPTION}/resources?$expand=createdTime,provisioningState").json()
    assert {"createdTime", "provisioningState"} <= set(expanded["value"][0])


def test_resources_are_listed_by_the_subscription_that_the_filter_names(service: InProcess) -> None:
    service.put(f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1", {"location": "westus2"})
    service.put(TEMPLATE, a_template())
    asked = f"$filter=(subscriptionId eq '{SUBSCRIPTION}') and (name eq 'web')"
    assert names(service, asked, "/resources") == ["web"]
    refused = service.get(f"/resources?{asked}", token="stranger")
    assert refused.status_code == 403
    assert code_of(service.get("/resources?$filter=name eq 'web'")) == "InvalidFilterInQueryString"


def test_each_caller_sees_their_own_subscriptions(service: InProcess) -> None:
    def seen(token: str) -> list[str]:
        return [item["subscriptionId"] for item in service.get("/subscriptions", token=token).json()["value"]]

    assert seen("reader") == [SUBSCRIPTION]
    assert seen("stranger") == [OTHER_SUBSCRIPTION]
    service.put(LOWER, {"location": "local"})
    assert SUBSCRIPTION in seen("root")
    assert service.get(f"/subscriptions/{SUBSCRIPTION}", token="stranger").status_code == 404
    assert service.get(f"/subscriptions/{SUBSCRIPTION}").json()["state"] == "Enabled"
    locations = service.get(f"/subscriptions/{SUBSCRIPTION}/locations").json()["value"]
    assert {"name": "westus2", "displayName": "West US 2"}.items() <= next(
        item for item in locations if item["name"] == "westus2"
    ).items()


def test_groups_of_others_are_refused_alike_whether_they_exist_or_not(service: InProcess) -> None:
    service.put(LOWER, {"location": "local"})
    there = service.get(LOWER, token="stranger")
    absent = service.get(LOWER.replace("rg1", "rg9"), token="stranger")
    assert (there.status_code, absent.status_code) == (403, 403)
    assert there.json()["error"]["message"].replace("rg1", "rg9") == absent.json()["error"]["message"]


def test_providers_tell_which_types_and_versions_are_served(service: InProcess) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/providers"
    found = service.get(f"{path}/microsoft.virtualmachineimages").json()
    types = {item["resourceType"]: item["apiVersions"] for item in found["resourceTypes"]}
    assert types["imageTemplates"][0] == "2025-10-01"
    assert found["registrationState"] == "Registered"
    assert service.request("POST", f"{path}/Microsoft.VirtualMachineImages/register").status_code == 200
    assert code_of(service.get(f"{path}/Microsoft.Nothing")) == "InvalidResourceNamespace"
    assert len(service.get(path).json()["value"]) >= 1
