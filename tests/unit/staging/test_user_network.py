"""A user's virtual network read from ARM bodies: subnets, rules, service tags."""

from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.errors import InputError
from vmkiln.staging.security_rule import INBOUND, OUTBOUND
from vmkiln.staging.user_network import UserVirtualNetwork, outside, packet_rules, virtual_networks_of

PROVIDER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"
NETWORK, GROUP = f"{PROVIDER}/virtualNetworks/v", f"{PROVIDER}/networkSecurityGroups/n"
EVERY = {
    "priority": 100,
    "direction": "Inbound",
    "access": "Allow",
    "protocol": "*",
    "sourceAddressPrefix": "*",
    "sourcePortRange": "*",
    "destinationAddressPrefix": "*",
    "destinationPortRange": "*",
}


def a_network(*rules: dict[str, Any], **subnet: Any) -> UserVirtualNetwork:
    named = [{"name": f"r{index}", "properties": {**EVERY, **rule}} for index, rule in enumerate(rules)]
    properties = {"addressPrefix": "10.1.0.0/24", "networkSecurityGroup": {"id": GROUP.upper()}, **subnet}
    bodies = [
        {"id": GROUP, "properties": {"securityRules": named}},
        {
            "id": NETWORK,
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.1.0.0/16", "fd00::/48"]},
                "subnets": [{"name": "one", "properties": properties}],
            },
        },
    ]
    return virtual_networks_of(bodies)[NETWORK.lower()]


def test_a_network_is_found_by_its_id_in_lower_case_with_its_ipv4_ranges() -> None:
    network = a_network()
    assert network.vnet_id == NETWORK
    assert network.address_space == (IPv4Network("10.1.0.0/16"),)
    found = network.subnet(f"{NETWORK}/SUBNETS/One")
    assert found is not None
    assert (found.name, found.prefix) == ("one", IPv4Network("10.1.0.0/24"))


def test_prefixes_delegations_and_policies_of_a_subnet_are_read() -> None:
    delegation = {"properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}
    [subnet] = a_network(
        addressPrefix=None,
        addressPrefixes=["fd00::/64", "10.1.2.0/25"],
        delegations=[delegation],
        privateLinkServiceNetworkPolicies="Disabled",
    ).subnets
    assert subnet.prefix == IPv4Network("10.1.2.0/25")
    assert subnet.delegations == ("Microsoft.ContainerInstance/containerGroups",)
    assert not subnet.has_private_link_service_policies
    assert a_network().subnets[0].has_private_link_service_policies


def test_bodies_that_az_prints_flat_are_the_same() -> None:
    rule = {"name": "r0", **EVERY, "access": "Deny"}
    flat = [
        {"id": GROUP, "securityRules": [rule]},
        {
            "id": NETWORK,
            "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
            "subnets": [{"name": "one", "addressPrefix": "10.1.0.0/24", "networkSecurityGroup": {"id": GROUP},
                         "delegations": [{"serviceName": "S"}]}],
        },
    ]  # fmt: skip
    assert (
        virtual_networks_of(flat)[NETWORK.lower()].subnets
        == a_network({"access": "Deny"}, delegations=[{"properties": {"serviceName": "S"}}]).subnets
    )


def test_rules_come_by_direction_and_priority_with_azures_defaults_last() -> None:
    network = a_network({"priority": 300}, {"priority": 200, "access": "deny"}, {"direction": "outbound"})
    inbound = [rule.name for rule in packet_rules(network, network.subnets[0], INBOUND)]
    assert inbound == [
        "Inbound 200 r1",
        "Inbound 300 r0",
        "Inbound 65000 AllowVnetInBound",
        "Inbound 65001 AllowAzureLoadBalancerInBound",
        "Inbound 65500 DenyAllInBound",
    ]
    outbound = [rule.name for rule in packet_rules(network, network.subnets[0], OUTBOUND)]
    assert outbound == [
        "Outbound 100 r2",
        "Outbound 65000 AllowVnetOutBound",
        "Outbound 65001 AllowInternetOutBound",
        "Outbound 65500 DenyAllOutBound",
    ]


def test_a_subnet_without_a_group_has_no_rules() -> None:
    network = a_network(networkSecurityGroup=None)
    assert packet_rules(network, network.subnets[0], INBOUND) == ()


@pytest.mark.parametrize(
    ("given", "access", "expected"),
    [
        ("*", "Allow", ["0.0.0.0/0"]),
        ("VirtualNetwork", "Allow", ["10.1.0.0/16"]),
        ("virtualnetwork", "Deny", ["10.1.0.0/16"]),
        ("AzureLoadBalancer", "Allow", ["168.63.129.16/32"]),
        ("10.2.3.4", "Allow", ["10.2.3.4/32"]),
        ("10.2.3.4/24", "Allow", ["10.2.3.0/24"]),
        ("fd00::/8", "Allow", []),
        ("Storage.WestEurope", "Allow", []),
    ],
)
def test_addresses_and_tags_become_networks(given: str, access: str, expected: list[str]) -> None:
    network = a_network({"sourceAddressPrefix": given, "access": access})
    rule = packet_rules(network, network.subnets[0], INBOUND)[0]
    assert [str(item) for item in rule.sources] == expected


def test_denying_a_service_whose_addresses_are_unknown_denies_the_internet() -> None:
    network = a_network(
        {"destinationAddressPrefix": "Storage", "access": "Deny"}, {"destinationAddressPrefix": "Internet"}
    )
    denied, internet, *_ = packet_rules(network, network.subnets[0], INBOUND)
    assert denied.destinations == internet.destinations
    assert not any(item.overlaps(IPv4Network("10.1.0.0/16")) for item in denied.destinations)


@given(st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/24", "0.0.0.0/0", "20.0.0.0/6"])))
def test_the_internet_is_exactly_what_is_outside(texts: list[str]) -> None:
    space = [IPv4Network(text) for text in texts]
    left = outside(space)
    assert not any(one.overlaps(other) for one in left for other in space)
    covered = sum(item.num_addresses for item in left)
    widest = [item for item in set(space) if not any(item != other and item.subnet_of(other) for other in set(space))]
    assert covered + sum(item.num_addresses for item in widest) == 2**32


def test_everything_that_cannot_be_read_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        a_network({"access": "Maybe"}, {"destinationPortRange": "70000"}, {"sourceAddressPrefix": None})
    for words in (
        "`r0`: properties.access: is not allowed",
        "`r1`: properties.destinationPortRange: `70000` is not a range",
        "`r2`: properties.sourceAddressPrefix: a rule needs sourceAddressPrefix",
    ):
        assert words in caught.value.message


def test_a_group_that_is_not_given_is_named() -> None:
    with pytest.raises(InputError, match="networkSecurityGroups/other"):
        a_network(networkSecurityGroup={"id": f"{PROVIDER}/networkSecurityGroups/other"})
