"""A template's staging resource group can be looked at while a build lives, and after."""

import json

import pytest
from in_process import TEMPLATE, InProcess, a_template, add_group, code_of, ended_run, provisioned, wait_for

from vmkiln.host.network.network_rules import FILE_NAME


@pytest.fixture
def staging(living: InProcess) -> str:
    """The id of the staging group of a template whose build goes on until it is cancelled."""
    add_group(living)
    found = provisioned(living, TEMPLATE, a_template("echo one", "wait"))
    living.request("POST", f"{TEMPLATE}/run")
    wait_for(lambda: living.get(TEMPLATE).json()["properties"]["lastRunStatus"].get("runSubState") == "Customizing")
    return str(found["properties"]["exactStagingResourceGroup"])


def test_a_build_is_seen_as_resources_while_it_lives_and_after(living: InProcess, staging: str) -> None:
    types = {item["type"] for item in living.get(f"{staging}/resources").json()["value"]}
    assert {"Microsoft.ContainerInstance/containerGroups", "Microsoft.Compute/virtualMachines"} <= types
    subscription, _, name = staging.partition("/resourceGroups/")
    named = living.get(f"{subscription}/resources?$filter=resourceGroup eq '{name}'").json()["value"]
    assert {item["type"] for item in named} == types
    path = f"{staging}/providers/Microsoft.ContainerInstance/containerGroups"
    groups = living.get(path).json()["value"]
    assert len(groups) == 1
    group = groups[0]
    container = group["properties"]["containers"][0]
    assert container["properties"]["instanceView"]["currentState"]["state"] == "Running"
    assert "ipAddress" not in group["properties"]
    logs = f"{group['id']}/containers/{container['name']}/logs"
    wait_for(lambda: "echo one" in living.get(logs).json()["content"])
    assert living.get(f"{logs}?tail=1").json()["content"].count("\n") == 1
    machine = living.get(f"{staging}/providers/Microsoft.Compute/virtualMachines").json()["value"][0]
    assert machine["properties"]["instanceView"]["statuses"][0]["code"] == "PowerState/running"
    interface = living.get(f"{staging}/providers/Microsoft.Network/networkInterfaces").json()["value"][0]
    assert "publicIPAddress" not in str(interface)
    network = f"{staging}/providers/Microsoft.Network/virtualNetworks"
    assert living.get(network).json()["value"][0]["properties"]["subnets"]
    assert living.get(f"{network}/vnet").json()["name"] == "vnet"
    rules = living.get(f"{staging}/providers/Microsoft.Network/networkSecurityGroups/nsg").json()["properties"]
    assert isinstance(rules["securityRules"], list)
    living.request("POST", f"{TEMPLATE}/cancel")
    ended_run(living, TEMPLATE)
    left = [item["type"] for item in living.get(f"{staging}/resources").json()["value"]]
    assert left == ["Microsoft.Storage/storageAccounts"]
    after = living.get(group["id"]).json()["properties"]
    assert after["containers"][0]["properties"]["instanceView"]["currentState"]["state"] == "Terminated"
    assert "echo one" in living.get(logs).json()["content"]


def test_a_builds_resources_are_only_read(living: InProcess, staging: str) -> None:
    path = f"{staging}/providers/Microsoft.ContainerInstance/containerGroups"
    group = living.get(path).json()["value"][0]["id"]
    for method, suffix in (("DELETE", ""), ("PUT", ""), ("POST", "/stop"), ("POST", "/containers/packer/exec")):
        response = living.request(method, group + suffix, {} if method == "PUT" else None)
        assert (response.status_code, code_of(response)) == (409, "OperationNotAllowed")
    for action in ("exec", "attach"):
        told = living.request("POST", f"{group}/containers/packer/{action}", {"command": "sh"}).json()["error"][
            "message"
        ]
        assert "az container logs --follow" in told
        assert living.request("POST", f"{path}/none/containers/packer/{action}").status_code == 404
    assert living.get(group, token="stranger").status_code == 403
    assert living.get(f"{path}/none").status_code == 404
    assert living.get(f"{group}/containers/packer/logs?tail=x").status_code == 400
    subscription = staging.partition("/resourceGroups")[0]
    every = living.get(f"{subscription}/providers/Microsoft.ContainerInstance/containerGroups").json()["value"]
    assert [item["id"] for item in every] == [group]


def test_the_rules_in_force_are_told_with_their_packets(living: InProcess, staging: str) -> None:
    run_id = living.service.store.runs.of_template(TEMPLATE)[0].run_id
    directory = living.service.settings.staging / staging.rpartition("/")[2]
    rule = {
        "chain": "forward",
        "comment": "far guest to the Internet",
        "expression": "accept",
        "packets": 7,
        "bytes": 420,
    }
    path = f"{staging}/providers/Microsoft.Network/networkSecurityGroups/nsg"
    (directory / FILE_NAME).write_text(json.dumps({"run_id": "another", "rules": [rule]}))
    assert living.get(path).json()["properties"]["securityRules"] == []
    (directory / FILE_NAME).write_text(json.dumps({"run_id": run_id, "rules": [rule]}))
    told = living.get(path).json()["properties"]["securityRules"]
    assert [(item["name"], item["properties"]["packetCount"]) for item in told] == [("far-guest-to-the-Internet", 7)]
    living.request("POST", f"{TEMPLATE}/cancel")


def test_the_log_lies_where_a_failed_runs_message_says(living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("echo one", "fail"))
    living.request("POST", f"{TEMPLATE}/run")
    message = ended_run(living, TEMPLATE)["message"]
    log = message.partition("are at location ")[2].partition(" ")[0].rstrip(".")
    found = living.get(log)
    assert found.status_code == 200
    assert "PACKER OUT echo one" in found.text
    assert found.headers["content-type"].startswith("text/plain")
    assert living.get(log, token="stranger").status_code == 403
    assert living.get(log.replace("customization", "other")).status_code == 404
    account = log.partition("/blobServices")[0]
    assert living.get(account).json()["properties"]["allowSharedKeyAccess"] is False
    listed = living.get(account.rpartition("/")[0]).json()["value"]
    assert [item["id"] for item in listed] == [account]
    containers = living.get(f"{account}/blobServices/default/containers").json()["value"]
    assert [item["name"] for item in containers] == ["packerlogs"]
    blobs = living.get(f"{account}/blobServices/default/containers/packerlogs").json()["value"]
    assert blobs[0]["name"].endswith("/customization.log")
    assert code_of(living.request("POST", f"{account}/listKeys")) == "KeyBasedAuthenticationNotPermitted"
    assert code_of(living.request("DELETE", account)) == "OperationNotAllowed"
