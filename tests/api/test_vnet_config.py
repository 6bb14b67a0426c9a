"""Runs in a user's virtual network, as the API keeps it: what would not work is refused at POST run, field by field."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, code_of, provisioned

from vmkiln.api.network import virtual_networks
from vmkiln.provisioning.stored_template import request_of

NETWORK = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/corp"
RULES = f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/rules"
NO_SSH = {
    "priority": 100,
    "direction": "Inbound",
    "access": "Deny",
    "protocol": "Tcp",
    "sourceAddressPrefix": "VirtualNetwork",
    "sourcePortRange": "*",
    "destinationAddressPrefix": "*",
    "destinationPortRange": "22",
}
BOTH = {
    "subnetId": f"{NETWORK}/subnets/build",
    "containerInstanceSubnetId": f"{NETWORK}/subnets/aci",
}
ENDPOINT = {"subnetId": f"{NETWORK}/subnets/build"}
DELEGATED = {
    "delegations": [{"name": "d", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}]
}


def put_network(service: InProcess, *, rules: list[dict[str, Any]], aci: dict[str, Any], **build: Any) -> None:
    """The network with its group, as clients put them."""
    group = {"location": "westus2", "properties": {"securityRules": rules}}
    assert service.put(RULES, group, api_version="2024-05-01").status_code in {200, 201}
    subnets = [
        {
            "name": "build",
            "properties": {"addressPrefix": "10.9.0.0/24", "networkSecurityGroup": {"id": RULES}, **build},
        },
        {"name": "aci", "properties": {"addressPrefix": "10.9.1.0/24", **aci}},
    ]
    properties = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": subnets}
    body = {"location": "westus2", "properties": properties}
    response = service.put(NETWORK, body, api_version="2024-05-01")
    assert response.status_code in {200, 201}, response.text


@pytest.mark.parametrize(
    ("vnet_config", "build"), [(BOTH, {}), (ENDPOINT, {"privateLinkServiceNetworkPolicies": "Disabled"})]
)
def test_a_run_in_a_users_network_is_taken_with_that_network(
    living: InProcess, vnet_config: dict[str, str], build: dict[str, Any]
) -> None:
    add_group(living)
    put_network(living, rules=[], aci=DELEGATED, **build)
    provisioned(living, TEMPLATE, a_template(vmProfile={"vnetConfig": vnet_config}))
    row = living.service.store.resources.get(TEMPLATE)
    assert row is not None
    request = request_of(living.service.settings, living.service.store, row, run_id="r")
    [network] = request.virtual_networks.values()
    assert network.vnet_id.lower() == NETWORK.lower()
    assert [len(subnet.rules) for subnet in network.subnets] == [6, 0]
    response = living.request("POST", f"{TEMPLATE}/run")
    assert response.status_code == 202, response.text


def test_a_run_that_a_users_network_hinders_is_refused_with_every_reason(living: InProcess) -> None:
    add_group(living)
    put_network(living, rules=[{"name": "no-ssh", "properties": NO_SSH}], aci={})
    provisioned(living, TEMPLATE, a_template(vmProfile={"vnetConfig": BOTH}))
    response = living.request("POST", f"{TEMPLATE}/run")
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert "vnetConfig.containerInstanceSubnetId: `aci` is not delegated to Microsoft.ContainerInstance" in message
    assert "vnetConfig.subnetId: the network security group of `build` denies TCP port 22" in message
    assert "no-ssh" in message


def test_a_run_in_a_network_that_is_gone_is_refused(living: InProcess) -> None:
    add_group(living)
    put_network(living, rules=[], aci=DELEGATED)
    provisioned(living, TEMPLATE, a_template(vmProfile={"vnetConfig": BOTH}))
    assert living.service.store.resources.delete(NETWORK)
    response = living.request("POST", f"{TEMPLATE}/run")
    assert response.status_code == 400
    assert "vnetConfig.subnetId: the virtual network of" in response.json()["error"]["message"]


def test_subnets_that_are_put_and_deleted_at_once_do_not_undo_each_other(living: InProcess) -> None:
    add_group(living)
    put_network(living, rules=[], aci=DELEGATED)

    def put(number: int) -> int:
        body = {"properties": {"addressPrefix": f"10.9.{number}.0/24"}}
        return int(living.put(f"{NETWORK}/subnets/s{number}", body, api_version="2024-05-01").status_code)

    def delete(number: int) -> int:
        path = f"{NETWORK}/subnets/s{number}"
        return int(living.request("DELETE", path, api_version="2024-05-01").status_code)

    def names() -> set[str]:
        response = living.get(f"{NETWORK}/subnets", api_version="2024-05-01")
        return {subnet["name"] for subnet in response.json()["value"]}

    numbers = range(10, 26)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(put, numbers)) == {201}
        assert names() == {"build", "aci", *(f"s{number}" for number in numbers)}
        assert set(pool.map(delete, numbers)) == {200}
    assert names() == {"build", "aci"}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_network_that_others_change_all_the_time_is_given_up_on(
    living: InProcess, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    add_group(living)
    put_network(living, rules=[], aci=DELEGATED)
    looks: list[int] = []
    monkeypatch.setattr(virtual_networks, "_is_changed", lambda *_: looks.append(1))
    body = {"properties": {"addressPrefix": "10.9.9.0/24"}} if method == "PUT" else None
    answer = living.request(method, f"{NETWORK}/subnets/build", body, api_version="2024-05-01")
    assert (answer.status_code, code_of(answer)) == (409, "AnotherOperationInProgress")
    assert len(looks) == virtual_networks.ATTEMPTS
