"""Rules of a network security group, put one by one as `az network nsg rule` does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, code_of, provisioned, wait_for

from vmkiln.api.network.virtual_networks import rule_mistakes
from vmkiln.staging.security_rule import Direction
from vmkiln.staging.user_network import packet_rules, virtual_networks_of

RULES = f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/rules"
VERSION = "2024-05-01"


def rule(priority: int, access: str = "Allow") -> dict[str, Any]:
    values = {"priority": priority, "direction": "Inbound", "access": access, "protocol": "Tcp"}
    ports = {"sourcePortRange": "*", "destinationPortRange": "22"}
    return {"properties": {**values, **ports, "sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}}


def test_a_rule_is_put_changed_listed_and_deleted(service: InProcess) -> None:
    add_group(service)
    missing = service.put(f"{RULES}/securityRules/one", rule(100), api_version=VERSION)
    assert (missing.status_code, code_of(missing)) == (404, "ParentResourceNotFound")
    service.put(RULES, {"location": "westus2"}, api_version=VERSION)
    made = service.put(f"{RULES}/securityRules/one", rule(100), api_version=VERSION)
    assert (made.status_code, made.json()["id"]) == (201, f"{RULES}/securityRules/one")
    assert service.put(f"{RULES}/securityRules/ONE", rule(110, "Deny"), api_version=VERSION).status_code == 200
    assert service.get(f"{RULES}/securityRules/one").json()["properties"]["access"] == "Deny"
    assert service.put(f"{RULES}/securityRules/two", rule(120), api_version=VERSION).status_code == 201
    listed = service.get(f"{RULES}/securityRules").json()["value"]
    assert listed == service.get(RULES).json()["properties"]["securityRules"]
    assert [item["properties"]["priority"] for item in listed] == [110, 120]
    taken = service.put(f"{RULES}/securityRules/three", rule(120), api_version=VERSION)
    assert (taken.status_code, code_of(taken)) == (400, "SecurityRuleConflict")
    assert len(service.get(f"{RULES}/securityRules").json()["value"]) == 2
    assert service.request("DELETE", f"{RULES}/securityRules/one").status_code == 200
    assert service.request("DELETE", f"{RULES}/securityRules/one").status_code == 204
    assert service.get(f"{RULES}/securityRules/one").status_code == 404


def test_the_rules_of_a_build_are_read_and_not_changed(living: InProcess) -> None:
    add_group(living)
    found = provisioned(living, TEMPLATE, a_template("wait"))
    living.request("POST", f"{TEMPLATE}/run")
    group = f"{found['properties']['exactStagingResourceGroup']}/providers/Microsoft.Network/networkSecurityGroups/nsg"
    wait_for(lambda: living.get(f"{group}/securityRules").status_code == 200)
    changed = living.put(f"{group}/securityRules/one", rule(100))
    assert (changed.status_code, code_of(changed)) == (409, "OperationNotAllowed")
    living.request("POST", f"{TEMPLATE}/cancel")


@pytest.mark.parametrize(
    ("change", "code", "target"),
    [
        ({"destinationPortRange": "99999"}, "SecurityRuleInvalidPortRange", "destinationPortRange"),
        ({"destinationPortRange": "80-22"}, "SecurityRuleInvalidPortRange", "destinationPortRange"),
        ({"sourcePortRange": "636, 389"}, "SecurityRuleInvalidPortRange", "sourcePortRange"),
        (
            {"sourcePortRange": "", "sourcePortRanges": ["22", "x"]},
            "SecurityRuleInvalidPortRange",
            "sourcePortRanges[1]",
        ),
        ({"sourceAddressPrefix": "not an address"}, "SecurityRuleInvalidAddressPrefix", "sourceAddressPrefix"),
        ({"sourceAddressPrefix": "10.0.0.0/34"}, "SecurityRuleInvalidAddressPrefix", "sourceAddressPrefix"),
        ({"destinationAddressPrefix": "any"}, "SecurityRuleInvalidAddressPrefix", "destinationAddressPrefix"),
        (
            {"sourceAddressPrefix": None, "sourceAddressPrefixes": ["10.0.0.0/8", "*"]},
            "SecurityRuleParameterContainsUnsupportedValue",
            "sourceAddressPrefixes[1]",
        ),
        ({"sourceAddressPrefix": None}, "SecurityRuleParametersMissing", "sourceAddressPrefix"),
        ({"destinationPortRange": None}, "SecurityRuleParametersMissing", "destinationPortRange"),
        ({"priority": 99}, "SecurityRuleInvalidPriority", "priority"),
        ({"priority": True}, "SecurityRuleInvalidPriority", "priority"),
        ({"protocol": "Carrier pigeon"}, "InvalidRequestFormat", "protocol"),
        ({"access": ["Allow"]}, "InvalidRequestFormat", "access"),
        ({"sourceAddressPrefixes": "10.0.0.0/8"}, "InvalidRequestFormat", "sourceAddressPrefixes"),
        (
            {"sourceAddressPrefix": None, "sourceApplicationSecurityGroups": [{"name": "web"}]},
            "InvalidRequestFormat",
            "sourceApplicationSecurityGroups[0].id",
        ),
    ],
)
def test_a_rule_that_no_build_could_follow_is_refused(
    service: InProcess, change: dict[str, Any], code: str, target: str
) -> None:
    add_group(service)
    wrong = rule(100)["properties"] | change
    with_it = {"location": "westus2", "properties": {"securityRules": [{"name": "one", "properties": wrong}]}}
    whole = service.put(RULES, with_it, api_version=VERSION)
    assert (whole.status_code, code_of(whole)) == (400, code)
    assert whole.json()["error"]["target"] == f"properties.securityRules[0].properties.{target}"
    service.put(RULES, {"location": "westus2"}, api_version=VERSION)
    single = service.put(f"{RULES}/securityRules/one", {"properties": wrong}, api_version=VERSION)
    assert (single.status_code, code_of(single)) == (400, code)
    assert service.get(f"{RULES}/securityRules").json()["value"] == []


def test_every_mistake_of_every_rule_has_its_own_code(service: InProcess) -> None:
    add_group(service)
    names = [("one", {"priority": 1}), ("two", {"destinationPortRange": "x", "sourceAddressPrefix": "10..0.0/8"})]
    rules = [{"name": name, "properties": rule(100)["properties"] | change} for name, change in names]
    answer = service.put(RULES, {"location": "westus2", "properties": {"securityRules": rules}}, api_version=VERSION)
    assert [detail["code"] for detail in answer.json()["error"]["details"]] == [
        "SecurityRuleInvalidPriority",
        "SecurityRuleInvalidAddressPrefix",
        "SecurityRuleInvalidPortRange",
    ]


def test_the_default_rules_are_azures(service: InProcess) -> None:
    add_group(service)
    service.put(RULES, {"location": "westus2"}, api_version=VERSION)
    found = service.get(RULES).json()["properties"]["defaultSecurityRules"]
    assert [(item["name"], item["properties"]["priority"]) for item in found] == [
        ("AllowVnetInBound", 65000),
        ("AllowAzureLoadBalancerInBound", 65001),
        ("DenyAllInBound", 65500),
        ("AllowVnetOutBound", 65000),
        ("AllowInternetOutBound", 65001),
        ("DenyAllOutBound", 65500),
    ]
    assert found[4]["properties"] == {
        "priority": 65001,
        "direction": "Outbound",
        "access": "Allow",
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "Internet",
        "sourcePortRange": "*",
        "destinationPortRange": "*",
        "provisioningState": "Succeeded",
    }


@pytest.mark.parametrize(
    ("subnet", "code"),
    [
        ({"addressPrefix": "10.9.1.0/33"}, "InvalidAddressPrefixFormat"),
        ({"addressPrefix": "10.9.1.0"}, "InvalidAddressPrefixFormat"),
        ({"addressPrefix": "10.9.1.1/24"}, "InvalidAddressPrefixFormat"),
        ({"addressPrefix": "10.8.1.0/24"}, "NetcfgInvalidSubnet"),
        ({"addressPrefix": "10.9.0.0/25"}, "NetcfgInvalidSubnet"),
        ({"addressPrefix": "10.9.1.0/24", "delegations": ["x"]}, "InvalidParameter"),
    ],
)
def test_a_network_that_no_build_could_use_is_refused(service: InProcess, subnet: dict[str, Any], code: str) -> None:
    add_group(service)
    network = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
    subnets = [{"name": "a", "properties": {"addressPrefix": "10.9.0.0/24"}}, {"name": "b", "properties": subnet}]
    properties = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": subnets}
    answer = service.put(network, {"location": "westus2", "properties": properties}, api_version=VERSION)
    assert (answer.status_code, code_of(answer)) == (400, code)


TEXTS = "*,22,1-2,2-1,99999,-,1-,10.0.0.0/8,10.0.0.1/8,fd00::/8,Internet,Storage.West,any,not an address,,Tcp,Inbound"
VALUES = st.sampled_from([*TEXTS.split(","), "/subscriptions/x", "Allow", 5, 100, 4096, True, None, [], {}])
ENDS = "AddressPrefix,AddressPrefixes,PortRange,PortRanges,ApplicationSecurityGroups"
MEMBERS = st.sampled_from(
    ["direction", "access", "protocol", "priority"]
    + [f"{end}{member}" for end in ("source", "destination") for member in ENDS.split(",")]
)


@given(st.dictionaries(MEMBERS, st.one_of(VALUES, st.lists(VALUES, max_size=3)), max_size=4))
def test_what_is_accepted_a_run_can_read(change: dict[str, Any]) -> None:
    group, network = RULES.replace("rules", "n"), f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
    rules = [{"name": "one", "properties": rule(100)["properties"] | change}]
    if list(rule_mistakes(rules)):
        return
    subnet = {"name": "s", "properties": {"addressPrefix": "10.9.0.0/24", "networkSecurityGroup": {"id": group}}}
    properties = {"addressSpace": {"addressPrefixes": ["10.9.0.0/16"]}, "subnets": [subnet]}
    bodies = [{"id": group, "properties": {"securityRules": rules}}, {"id": network, "properties": properties}]
    found = virtual_networks_of(bodies)[network.lower()]
    assert len(found.subnets[0].rules) == 7
    for direction in Direction:
        packet_rules(found, found.subnets[0], direction)
