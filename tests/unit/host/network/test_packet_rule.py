"""Rules of users for packets: which decides, and what nft is told."""

import re
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.host.network.packet_rule import (
    EVERY_PORT,
    EVERYWHERE,
    Connection,
    PacketRule,
    chain_text,
    deciding_rule,
    is_allowed,
    rule_text,
    safe_comment,
)

SSH = Connection("tcp", IPv4Address("10.1.0.4"), IPv4Address("10.1.1.4"), 22)
TEN = IPv4Network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (PacketRule("all", True), 'counter return comment "all"'),
        (PacketRule("none", False), 'counter drop comment "none"'),
        (PacketRule("ssh", True, "tcp", destination_ports=((22, 22),)),
         'meta l4proto tcp th dport { 22 } counter return comment "ssh"'),
        (PacketRule("any protocol with ports", True, destination_ports=((80, 90),)),
         'meta l4proto { tcp, udp } th dport { 80-90 } counter return comment "any protocol with ports"'),
        (PacketRule("ping", False, "icmp", destination_ports=((1, 2),)),
         'meta l4proto icmp counter drop comment "ping"'),
        (PacketRule("addresses", True, sources=(TEN, IPv4Network("10.1.0.0/16")), destinations=(EVERYWHERE, TEN)),
         'ip saddr { 10.0.0.0/8 } counter return comment "addresses"'),
        (PacketRule("ports that touch", True, "udp", source_ports=((5, 9), (1, 4), (20, 20))),
         'meta l4proto udp th sport { 1-9, 20 } counter return comment "ports that touch"'),
        (PacketRule("no address that we know", True, sources=()), ""),
    ],
    ids=lambda value: value.name if isinstance(value, PacketRule) else None,
)  # fmt: skip
def test_a_rule_is_one_line_of_nft(rule: PacketRule, text: str) -> None:
    assert rule_text(rule) == text


def test_the_first_rule_that_matches_decides() -> None:
    web = PacketRule("web", True, "tcp", destination_ports=((80, 80),))
    no_ssh = PacketRule("no ssh", False, "tcp", destination_ports=((20, 25),))
    everything = PacketRule("everything", True)
    assert deciding_rule([web, no_ssh, everything], SSH) is no_ssh
    assert deciding_rule([web, everything, no_ssh], SSH) is everything
    assert not is_allowed([web, no_ssh, everything], SSH)


def test_what_no_rule_matches_passes() -> None:
    assert deciding_rule([], SSH) is None
    assert is_allowed([PacketRule("udp only", False, "udp")], SSH)


@pytest.mark.parametrize(
    "rule",
    [
        PacketRule("other source", False, sources=(IPv4Network("10.1.1.0/24"),)),
        PacketRule("other destination", False, destinations=(IPv4Network("10.1.0.0/24"),)),
        PacketRule("other port", False, destination_ports=((23, 65535),)),
        PacketRule("other source port", False, source_ports=((0, 1023),)),
        PacketRule("other protocol", False, "icmp"),
        PacketRule("nobody", False, sources=()),
    ],
    ids=lambda rule: rule.name,
)
def test_every_member_of_a_rule_must_match(rule: PacketRule) -> None:
    assert deciding_rule([rule], SSH) is None


ports = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(lambda pair: (min(pair), max(pair)))
networks = st.builds(
    lambda address, length: IPv4Network((int(address), length), strict=False), st.ip_addresses(v=4), st.integers(0, 32)
)
rules = st.builds(
    PacketRule,
    name=st.text(max_size=200),
    is_allowed=st.booleans(),
    protocol=st.sampled_from(["", "tcp", "udp", "icmp", "esp", "ah"]),
    sources=st.lists(networks, max_size=4).map(tuple),
    source_ports=st.lists(ports, max_size=4).map(tuple),
    destinations=st.lists(networks, max_size=4).map(tuple),
    destination_ports=st.lists(ports, min_size=1, max_size=4).map(tuple) | st.just((EVERY_PORT,)),
)


@given(st.lists(rules, max_size=6))
def test_a_users_chain_never_accepts_and_no_name_ends_its_comment(given_rules: list[PacketRule]) -> None:
    for line in chain_text("user", given_rules).splitlines()[1:-1]:
        code, _, comment = line.strip().partition(" comment ")
        assert re.search(r"counter (return|drop)$", code)
        assert "accept" not in code
        assert re.fullmatch(r'"[^"\\$@\n]*"', comment)
        assert len(comment.encode()) <= 128


@pytest.mark.parametrize("name", ['x" accept comment "', "a\n accept", "ä{}", "$(x)", "back\\slash"])
def test_a_hostile_name_stays_a_comment(name: str) -> None:
    assert not set(safe_comment(name)) & set('"\n\\{}$@')
