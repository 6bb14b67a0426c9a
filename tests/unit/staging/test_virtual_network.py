"""The virtual network in Azure's words."""

from ipaddress import IPv4Interface

from vmkiln.host.network.network_namespace import firewall
from vmkiln.staging.virtual_network import allowances_text, decide

HOST = [IPv4Interface("192.0.2.2/24")]


def test_the_container_group_reaches_ssh_on_the_build_vm() -> None:
    network = decide(HOST, is_windows=False)
    assert network.service_port == 22
    assert "ip daddr 10.0.1.4 tcp dport 22" in firewall(network.network, resolver=7, proxy=8)


def test_a_windows_build_vm_is_reached_over_winrm() -> None:
    assert "tcp dport 5986" in firewall(decide(HOST, is_windows=True).network, resolver=7, proxy=8)


def test_only_the_firewall_of_a_windows_run_knows_of_addresses_to_give() -> None:
    linux, windows = (decide(HOST, is_windows=is_windows) for is_windows in (False, True))
    assert "dport 67" not in firewall(linux.network, resolver=7, proxy=8, addresses=9)
    assert not any("DHCP" in text for text in allowances_text(linux))
    assert "udp sport 67 udp dport 68 meta skuid 9 counter accept" in firewall(
        windows.network, resolver=7, proxy=8, addresses=9
    )
    assert any("its address: DHCP at 10.0.1.1" in text for text in allowances_text(windows))


def test_the_subnets_are_different_links() -> None:
    network = decide(HOST, is_windows=False)
    assert network.container_group_subnet.prefix != network.build_vm_subnet.prefix
    assert network.network.near.bridge != network.network.far.bridge


def test_the_hosts_own_link_is_forbidden_and_said_so() -> None:
    (way_out,) = (text for text in allowances_text(decide(HOST, is_windows=False)) if "-> Internet" in text)
    assert "192.0.2.0/24" in way_out.partition("any, except ")[2]
