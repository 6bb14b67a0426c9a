"""What a name means, and what this machine's own addresses and links are."""

from ipaddress import ip_address, ip_network

import pytest

from vmkiln.fetching.looked_up import ipv4_links, ipv6_links, local_addresses, looked_up, own_networks

ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
"""
ROUTE_IPV6 = """\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 eth0
20010000000000000000000000000000 03 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 tun0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 1 0 3 eth0
26060000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 1 0 1 lo
"""  # noqa: E501 (as the kernel writes it)
LOCAL = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 93.184.215.0/24 2 0 2
        |-- 93.184.215.14
           /32 host LOCAL
        |-- 93.184.215.255
           /32 link BROADCAST
"""


def test_a_link_is_a_network_without_a_gateway() -> None:
    assert list(ipv4_links(ROUTE)) == [ip_network("192.0.2.0/24")]
    assert list(ipv6_links(ROUTE_IPV6)) == [ip_network("fd00::/64"), ip_network("2606::2/128")]


def test_what_the_kernel_takes_for_its_own_is_found() -> None:
    assert list(local_addresses(LOCAL)) == [ip_network("93.184.215.14/32")]


def test_this_machines_own_addresses_are_among_its_networks() -> None:
    assert ip_network("127.0.0.0/8") in own_networks()


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0x7f.1"])
def test_odd_spellings_of_an_address_are_the_address(host: str) -> None:
    found = looked_up(host, 80)
    assert found.addresses == (ip_address("127.0.0.1"),)
    assert found.is_literal


def test_a_name_is_no_literal() -> None:
    assert not looked_up("localhost", 80).is_literal
