"""The described network: what is forbidden, what the firewall says, what pasta is told."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.host.network.host_watch import parse_addresses
from vmkiln.host.network.network_namespace import (
    Allowance,
    Egress,
    Network,
    Segment,
    firewall,
    forbidden_networks,
    ip_batch,
    pasta_arguments,
)
from vmkiln.host.network.network_setup import counters
from vmkiln.host.network.special_addresses import FORBIDDEN_NETWORKS

DNS = (IPv4Address("10.0.2.53"), IPv4Address("10.0.2.54"))


def a_network(allowances: tuple[Allowance, ...] = ()) -> Network:
    return Network(
        near=Segment("near", "tap-near", IPv4Interface("10.0.0.1/24"), IPv4Address("10.0.0.4"), "02:00:00:00:00:04"),
        far=Segment("far", "tap-far", IPv4Interface("10.0.1.1/24"), IPv4Address("10.0.1.4"), "02:00:00:00:01:04"),
        egress=Egress(IPv4Interface("10.0.2.2/24"), IPv4Address("10.0.2.1"), *DNS),
        service_port=22,
        forbidden=forbidden_networks([IPv4Interface("203.0.113.9/24")]),
        allowances=allowances,
    )


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "168.63.129.16", "10.1.2.3", "172.31.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0",
     "224.0.0.1", "255.255.255.255"],
)  # fmt: skip
def test_special_addresses_are_forbidden(address: str) -> None:
    assert any(IPv4Address(address) in network for network in forbidden_networks([]))


@given(st.lists(st.builds(lambda ip, n: IPv4Interface((ip, n)), st.ip_addresses(v=4), st.integers(1, 32))))
def test_every_address_and_link_of_the_host_is_forbidden(addresses: list[IPv4Interface]) -> None:
    forbidden = forbidden_networks(addresses)
    for interface in addresses:
        assert any(interface.network.subnet_of(network) for network in forbidden)
    for special in FORBIDDEN_NETWORKS:
        assert any(special.subnet_of(network) for network in forbidden)
    for one in forbidden:  # nft refuses overlapping intervals in a set
        assert not any(one != other and one.overlaps(other) for other in forbidden)


def test_every_chain_that_filters_drops_by_default() -> None:
    text = firewall(a_network(), resolver=7, proxy=8)
    for chain in ("input", "output", "forward"):
        assert f"type filter hook {chain} priority 0; policy drop;" in text


def test_an_allowance_stands_before_the_forbidden_ranges() -> None:
    text = firewall(a_network((Allowance(IPv4Network("10.9.9.9/32"), 443),)), resolver=7, proxy=8)
    assert text.index("10.9.9.9/32 tcp dport 443") < text.index("@forbidden")


def test_taps_belong_to_the_unprivileged_guest_process() -> None:
    assert "tuntap add dev tap-far mode tap user 0" in ip_batch(a_network())


def test_pasta_forwards_nothing_inbound_and_hides_the_gateway() -> None:
    arguments = pasta_arguments(a_network().egress, program="/usr/bin/pasta", network_path="/run/n")
    for option in ("--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"):
        assert arguments[arguments.index(option) + 1] == "none"
    assert "--no-map-gw" in arguments


def test_addresses_are_read_with_their_prefix() -> None:
    text = '[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},{"family":"inet6"}]}]'
    assert parse_addresses(text) == (IPv4Interface("127.0.0.1/8"),)


def test_counters_are_read_by_comment() -> None:
    rule = '{"rule":{"chain":"forward","comment":"names","expr":[{"counter":{"packets":3,"bytes":9}}]}}'
    assert counters('{"nftables":[{"metainfo":{}},' + rule + "," + rule + "]}") == {"names": 6}
