"""Which servers may be asked: decided by who named them, from the addresses that were found."""

from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from vmkiln.errors import InputError
from vmkiln.fetching.server_rule import (
    FOR_CALLERS,
    FOR_THE_OPERATOR,
    MOST_SERVERS,
    NamedBy,
    PrivateServer,
    ServerRule,
    allowed_addresses,
    is_name_of,
    read_servers,
)

PUBLIC = ("93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::5db8:d70e")
SPECIAL = (
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.8.8.8", "168.63.129.16", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.7",
    "224.0.0.251", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:1.1.1.1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1",
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
)  # fmt: skip


def allowed(rule: ServerRule, address: str, *, port: int = 443, own: str = "", is_named: bool = True) -> bool:
    networks = [ip_network(own)] if own else []
    found = allowed_addresses(rule, "a.example", port, [ip_address(address)], own=networks, is_named=is_named)
    return list(found) == [ip_address(address)]


@pytest.mark.parametrize("address", PUBLIC)
def test_callers_may_name_servers_on_the_internet(address: str) -> None:
    assert allowed(FOR_CALLERS, address)


@pytest.mark.parametrize("address", SPECIAL)
def test_callers_may_not_name_special_addresses(address: str) -> None:
    assert not allowed(FOR_CALLERS, address)
    assert allowed(FOR_THE_OPERATOR, address)


def test_callers_may_not_name_this_machine_or_its_links() -> None:
    assert not allowed(FOR_CALLERS, "93.184.215.14", own="93.184.215.0/24")
    assert allowed(FOR_CALLERS, "93.184.215.14", own="93.184.216.0/24")
    assert not allowed(FOR_CALLERS, "64:ff9b::5db8:d70e", own="93.184.215.14/32")


@pytest.mark.parametrize("port", [22, 25, 6667])
def test_ports_of_other_protocols_are_refused(port: int) -> None:
    assert not allowed(FOR_CALLERS, "1.1.1.1", port=port)
    assert not allowed(ServerRule(NamedBy.USER), "10.0.0.1", port=port)


def test_a_users_private_server_must_be_named_by_the_template_itself() -> None:
    rule = ServerRule(NamedBy.USER)
    assert allowed(rule, "10.0.0.1")
    assert not allowed(rule, "10.0.0.1", is_named=False)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254",
        "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fe80::a9fe:a9fe", "fd00:100::100:200",
        "fd00:a9fe:a9fe::1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
    ],
)  # fmt: skip
def test_not_even_a_user_is_given_a_clouds_metadata(address: str) -> None:
    assert not allowed(ServerRule(NamedBy.USER), address)


@pytest.mark.parametrize(
    ("entry", "address", "port", "is_allowed"),
    [
        ("10.1.0.0/16", "10.1.2.3", 80, True),
        ("10.1.0.0/16", "10.2.2.3", 80, False),
        ("10.1.2.3:8080", "10.1.2.3", 8080, True),
        ("10.1.2.3:8080", "10.1.2.3", 80, False),
        ("10.1.2.3", "::ffff:10.1.2.3", 80, True),
        ("[fd00::5]:8443", "fd00::5", 8443, True),
        ("fd00::/64", "fd00::77", 443, True),
        ("a.example", "10.1.2.3", 443, True),
        ("*.example:443", "10.1.2.3", 443, True),
        ("b.example", "10.1.2.3", 443, False),
        ("a.example", "169.254.169.254", 443, False),  # a name may mean anything by tomorrow
        ("0.0.0.0/0", "169.254.169.254", 443, False),
        ("169.254.169.254", "169.254.169.254", 443, True),
    ],
)
def test_an_operator_allows_private_servers(entry: str, address: str, port: int, is_allowed: bool) -> None:
    rule = ServerRule(NamedBy.CALLER, read_servers(entry))
    assert allowed(rule, address, port=port, is_named=False) is is_allowed


def test_servers_are_read_with_commas_and_spaces() -> None:
    assert read_servers("Scripts.Corp.Example:8080, 10.0.0.0/8  *.x") == (
        PrivateServer("scripts.corp.example", port=8080),
        PrivateServer(network=IPv4Network("10.0.0.0/8")),
        PrivateServer("*.x"),
    )
    assert read_servers("") == ()


def test_every_wrong_server_is_named_at_once() -> None:
    wrong = ["http://a.example", "a.example:0", "a.example:65536", "*", "10.0.0.0/33", "300.1.1.1", "a/b", "[x]", ":80"]
    with pytest.raises(InputError) as caught:
        read_servers(", ".join([*wrong, "fine.example"]))
    assert all(f"`{word}`" in caught.value.message for word in wrong)
    assert "fine.example" not in caught.value.message
    assert caught.value.hint
    with pytest.raises(InputError, match="at most"):
        read_servers(" ".join(f"h{number}" for number in range(MOST_SERVERS + 1)))


@pytest.mark.parametrize(
    ("pattern", "host", "is_it"),
    [
        ("a.example", "A.EXAMPLE.", True),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.example", "badexample", False),
        ("a.example", "b.a.example", False),
    ],
)
def test_a_name_is_the_same_in_capitals_and_with_a_dot(pattern: str, host: str, is_it: bool) -> None:
    assert is_name_of(pattern, host) is is_it
