"""Where the two VMs stand, and what of a user's network keeps a build from working."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

import pytest

from vmkiln.azure_names import CONTAINER_GROUP
from vmkiln.errors import InputError
from vmkiln.host.network.network_namespace import firewall, ip_batch
from vmkiln.staging.security_rule import DEFAULT_RULES, Direction, SecurityRule
from vmkiln.staging.topology import (
    UserSubnets,
    own_block,
    subnet_problems,
    user_subnets_of,
)
from vmkiln.staging.user_network import UserSubnet, UserVirtualNetwork
from vmkiln.staging.virtual_network import VirtualNetwork, allowances_text, decide, resources_of, topology_text
from vmkiln.template.vm_profile import VirtualNetworkConfig

HOST = [IPv4Interface("192.0.2.2/24")]
NETWORK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v"
BUILD, ACI = f"{NETWORK}/subnets/build", f"{NETWORK}/subnets/aci"
OWN = VirtualNetworkConfig()
ENDPOINT = VirtualNetworkConfig.model_validate({"subnetId": BUILD})
BOTH = VirtualNetworkConfig.model_validate({"subnetId": BUILD, "containerInstanceSubnetId": ACI})


def a_network(space: str = "10.1.0.0/16", *, build: Any = None, aci: Any = None) -> dict[str, UserVirtualNetwork]:
    """The network by its id; `build` and `aci` replace members of the subnets."""
    first = UserSubnet(BUILD, IPv4Network("10.1.0.0/24"), has_private_link_service_policies=False)
    second = UserSubnet(ACI, IPv4Network("10.1.1.0/24"), delegations=(CONTAINER_GROUP,))
    subnets = (replace(first, **(build or {})), replace(second, **(aci or {})))
    return {NETWORK.lower(): UserVirtualNetwork(NETWORK, (IPv4Network(space),), subnets)}


def a_rule(direction: Direction, *, port: int, source: str = "*", allow: bool = False) -> tuple[SecurityRule, ...]:
    """One rule before Azure's own."""
    every = ((0, 65535),)
    mine = SecurityRule("mine", 100, direction, allow, "tcp", (source,), every, ("*",), ((port, port),))
    return (mine, *DEFAULT_RULES)


def placed(config: VirtualNetworkConfig, space: str = "10.1.0.0/16") -> VirtualNetwork:
    user_subnets = user_subnets_of(config, a_network(space), service_port=22)
    return decide(HOST, is_windows=False, user_subnets=user_subnets)


@pytest.mark.parametrize(
    ("config", "networks", "words"),
    [
        (ENDPOINT, {}, "vnetConfig.subnetId: the virtual network of"),
        (ENDPOINT, {NETWORK.lower(): UserVirtualNetwork(NETWORK, (), ())}, "vnetConfig.subnetId: there is no subnet"),
        (BOTH, a_network(build={"prefix": IPv4Network("10.1.0.0/30")}), "subnetId: `build` (10.1.0.0/30) has 0"),
        (BOTH, a_network(aci={"prefix": IPv4Network("10.1.1.0/31")}), "containerInstanceSubnetId: `aci` (10.1.1.0/31)"),
        (ENDPOINT, a_network(build={"prefix": IPv4Network("10.1.0.0/29")}), "has 3 addresses to give"),
        (BOTH, a_network(aci={"delegations": ()}), "containerInstanceSubnetId: `aci` is not delegated to Microsoft.Co"),
        (BOTH, a_network(build={"delegations": ("Microsoft.Web/x",)}), "subnetId: `build` is delegated to Microsoft."),
        (BOTH, a_network(aci={"prefix": IPv4Network("10.1.0.0/25")}), "containerInstanceSubnetId: 10.1.0.0/25 over"),
        (ENDPOINT, a_network(build={"has_private_link_service_policies": True}), "privateLinkServiceNetworkPolicies"),
        (ENDPOINT, a_network("168.63.0.0/16"), "has 168.63.129.16/32, which no network may use"),
        (ENDPOINT, a_network("0.0.0.0/0"), "leaves no room"),
        (BOTH, a_network(build={"rules": a_rule(Direction.INBOUND, port=22)}),
         "subnetId: the network security group of `build` denies TCP port 22 from 10.1.1.4 to 10.1.0.4 "
         "(rule Inbound 100 mine)"),
        (BOTH, a_network(aci={"rules": a_rule(Direction.OUTBOUND, port=22)}),
         "containerInstanceSubnetId: the network security group of `aci` denies TCP port 22"),
        (ENDPOINT, a_network(build={"rules": a_rule(Direction.INBOUND, port=60001, source="AzureLoadBalancer")}),
         "subnetId: the network security group of `build` denies TCP port 60001 from AzureLoadBalancer to 10.1.0.6"),
        (ENDPOINT, a_network(build={"rules": a_rule(Direction.INBOUND, port=22, source="10.1.0.6")}),
         "denies TCP port 22 from 10.1.0.6 to 10.1.0.7"),
    ],
)  # fmt: skip
def test_what_keeps_a_build_from_working_is_named_with_its_field(
    config: VirtualNetworkConfig, networks: dict[str, UserVirtualNetwork], words: str
) -> None:
    problems = subnet_problems(config, networks, service_port=22)
    assert any(words in text for text in problems), problems
    assert all(text.startswith("properties.vmProfile.vnetConfig.") for text in problems)


def test_all_of_it_is_named_at_once() -> None:
    networks = a_network(
        build={"prefix": IPv4Network("10.1.0.0/30"), "delegations": ("Microsoft.Web/x",)}, aci={"delegations": ()}
    )
    with pytest.raises(InputError) as caught:
        user_subnets_of(BOTH, networks, service_port=22)
    for words in ("has 0 addresses", "Microsoft.Web/x", "is not delegated"):
        assert words in caught.value.message


@pytest.mark.parametrize("config", [OWN, ENDPOINT, BOTH])
def test_what_is_right_has_no_problems(config: VirtualNetworkConfig) -> None:
    rules = {"rules": a_rule(Direction.INBOUND, port=22, allow=True)}
    assert subnet_problems(config, a_network(build=rules), service_port=22) == ()


def test_a_windows_build_vm_needs_other_ports() -> None:
    networks = a_network(build={"rules": a_rule(Direction.INBOUND, port=5986)})
    assert subnet_problems(BOTH, networks, service_port=22) == ()
    assert "port 5986" in subnet_problems(BOTH, networks, service_port=5986)[0]


@pytest.mark.parametrize("space", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"])
def test_what_the_run_needs_for_itself_is_never_in_the_users_network(space: str) -> None:
    subnet = UserSubnet(BUILD, next(IPv4Network(space).subnets(new_prefix=24)))
    block = own_block(UserSubnets(UserVirtualNetwork(NETWORK, (IPv4Network(space),), (subnet,)), subnet))
    assert not block.overlaps(IPv4Network(space))


def test_without_a_users_network_the_addresses_are_those_of_every_run() -> None:
    network = decide(HOST, is_windows=False)
    assert str(network.build_vm_subnet.address) == "10.0.1.4"
    assert network.target == network.build_vm_subnet.address
    assert [name for _, name, _ in resources_of(network)] == ["vnet", "nsg"]


def test_in_the_users_subnets_both_have_the_first_free_address() -> None:
    network = placed(BOTH)
    assert network.build_vm_subnet.address == network.target == IPv4Address("10.1.0.4")
    assert network.container_group_subnet.address == IPv4Address("10.1.1.4")
    assert network.endpoint is None
    assert resources_of(network) == []


def test_behind_a_private_endpoint_the_container_group_sees_only_that() -> None:
    network = placed(ENDPOINT)
    assert network.build_vm_subnet.address == IPv4Address("10.1.0.7")
    assert network.endpoint is not None
    assert network.target == network.endpoint.address == IPv4Address("10.0.1.4")
    text = firewall(network.network, resolver=7, proxy=8)
    assert "ip daddr 10.0.1.4 tcp dport 22 counter dnat ip to 10.1.0.7:22" in text
    assert "snat ip to 10.1.0.6" in text
    assert "ct status dnat ip daddr 10.1.0.7 tcp dport 22 counter accept" in text
    assert "address add 10.1.0.6/32 dev build" in ip_batch(network.network)
    kinds = {kind.rpartition("/")[2] for kind, _, _ in resources_of(network)}
    assert kinds == {
        "virtualNetworks",
        "networkSecurityGroups",
        "privateEndpoints",
        "privateLinkServices",
        "loadBalancers",
        "networkInterfaces",
    }


@pytest.mark.parametrize("config", [ENDPOINT, BOTH])
def test_no_public_address_is_ever_made(config: VirtualNetworkConfig) -> None:
    assert not any("public" in kind.lower() for kind, _, _ in resources_of(placed(config)))


def test_the_rest_of_the_users_network_is_forbidden_even_if_public() -> None:
    build = UserSubnet(BUILD, IPv4Network("20.1.0.0/24"), has_private_link_service_policies=False)
    user = UserVirtualNetwork(NETWORK, (IPv4Network("20.1.0.0/16"),), (build,))
    network = decide(HOST, is_windows=False, user_subnets=UserSubnets(user, build))
    assert IPv4Network("20.1.0.0/16") in network.forbidden


@pytest.mark.parametrize("config", [ENDPOINT, BOTH])
def test_the_walls_stand_whatever_the_user_allows(config: VirtualNetworkConfig) -> None:
    """Every rule of ours is there unchanged; the user's only stand before them."""
    everything = a_rule(Direction.OUTBOUND, port=80, allow=True)
    user_subnets = user_subnets_of(config, a_network(build={"rules": everything}), service_port=22)
    network = decide(HOST, is_windows=False, user_subnets=user_subnets)
    ours = firewall(replace(network, user_rules=decide(HOST, is_windows=False).user_rules).network, resolver=7, proxy=8)
    rules = [line for line in ours.splitlines() if line.strip() != "}"]
    with_theirs = [line for line in firewall(network.network, resolver=7, proxy=8).splitlines() if line.strip() != "}"]
    assert [line for line in with_theirs if line in rules] == rules
    added = [line for line in with_theirs if line not in rules]
    assert added
    assert not any("accept" in line for line in added if "policy accept" not in line)


def test_the_plan_says_where_they_stand_and_which_rules_are_asked() -> None:
    assert "your subnet build (10.1.0.0/24)" in topology_text(placed(ENDPOINT))
    assert "private endpoint (10.0.1.4)" in allowances_text(placed(ENDPOINT))[0]
    networks = a_network(build={"rules": a_rule(Direction.INBOUND, port=22, allow=True)})
    network = decide(HOST, is_windows=False, user_subnets=user_subnets_of(BOTH, networks, service_port=22))
    assert "Inbound 100 mine (allow); Inbound 65000 AllowVnetInBound (allow)" in "\n".join(allowances_text(network))
    assert "no network is made" in topology_text(network)
