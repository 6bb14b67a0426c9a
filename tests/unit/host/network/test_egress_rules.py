"""The firewall's way out in each mode, and a user's rules as they hold for the name proxy."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from vmkiln.host.egress.policy_text import checked_policy
from vmkiln.host.network.egress_rules import proxied
from vmkiln.host.network.network_namespace import Allowance, firewall
from vmkiln.host.network.packet_rule import EVERY_PORT, EVERYWHERE, PacketRule
from vmkiln.staging.virtual_network import allowances_text, decide

HOST = (IPv4Interface("192.0.2.1/24"),)
GUEST = IPv4Address("10.0.1.4")
ALLOWANCE = Allowance(IPv4Network("10.9.0.0/16"), 443)


def text_of(egress: str, *, allowances: tuple[Allowance, ...] = ()) -> str:
    policy = checked_policy([egress], where="x")
    network = decide(HOST, is_windows=False, allowances=allowances, egress_policy=policy)
    return firewall(network.network, resolver=7, proxy=8)


def test_only_an_open_runs_guest_is_routed_outside() -> None:
    routed = 'iifname "build" oifname "egress" meta l4proto { tcp, udp, icmp } counter accept'
    assert routed in text_of("open")
    assert routed not in text_of("a.example")
    assert routed not in text_of("none")
    assert "10.9.0.0/16" not in text_of("none", allowances=(ALLOWANCE,))


def test_what_goes_to_a_closed_port_is_on_record_before_it_is_refused() -> None:
    lines = [line for line in text_of("open").splitlines() if "tcp dport { 25 }" in line]
    assert ["add @refused" in line for line in lines] == [True, False], lines
    assert "reject" in lines[1]


def test_only_the_proxy_may_open_connections_outside() -> None:
    text = text_of("a.example", allowances=(ALLOWANCE,))
    opening = [line for line in text.splitlines() if 'oifname "egress"' in line and "tcp" in line and "accept" in line]
    assert len(opening) == 3
    assert all("meta skuid 8" in line or "ct state established" in line for line in opening)
    assert "redirect" not in text_of("open") + text_of("none")


def test_an_allowed_network_stands_before_the_forbidden_ranges() -> None:
    text = text_of("a.example", allowances=(ALLOWANCE,))
    at = [
        text.index(comment) for comment in ("of the name proxy, allowed", "private and link-local, of the name proxy")
    ]
    assert at == sorted(at)
    assert "ip daddr 10.9.0.0/16 tcp dport 443 counter redirect to :3128" in text


def a_rule(name: str, *, allow: bool, source: str = "0.0.0.0/0", port: tuple[int, int] = EVERY_PORT) -> PacketRule:
    return PacketRule(name, allow, sources=(IPv4Network(source),), source_ports=(port,))


def test_a_users_rules_hold_for_the_proxy_as_for_its_guest() -> None:
    rules = [
        a_rule("of the guest", allow=True, source="10.0.1.0/24"),
        a_rule("of another", allow=False, source="10.0.9.0/24"),
        a_rule("of some ports, allowing", allow=True, port=(1, 9)),
        a_rule("of some ports, denying", allow=False, port=(1, 9)),
        PacketRule("nothing", is_allowed=False, source_ports=()),
    ]
    found = proxied(rules, GUEST)
    assert [rule.name for rule in found] == ["of the guest", "of some ports, denying", "nothing"]
    assert {rule.sources for rule in found} == {(EVERYWHERE,)}
    assert [rule.source_ports for rule in found] == [(EVERY_PORT,), (EVERY_PORT,), ()]


@pytest.mark.parametrize(
    ("egress", "sentence"),
    [
        ("open", "Internet: any, except"),
        ("a.example", "Internet: TCP by the name proxy, never to"),
        ("none", "Internet: nothing"),
    ],
)
def test_the_plan_says_what_leaves(egress: str, sentence: str) -> None:
    policy = checked_policy([egress], where="x")
    text = "\n".join(allowances_text(decide(HOST, is_windows=False, egress_policy=policy)))
    assert sentence in text
    assert f"egress policy: {policy.mode}" in text
