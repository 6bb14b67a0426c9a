"""The firewall's rules for the way out: of a run whose guest may reach anything, and of one that is locked; pure.

An open run's guest is routed. A locked run's guest is not routed at all: with a list, its TCP connections are turned
to the name proxy in this namespace, whose id alone may open connections outside; without one, nothing leaves. So
whatever becomes of the proxy, nothing passes beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from vmkiln.host.egress.egress_policy import EgressMode, EgressPolicy
from vmkiln.host.network.flow_bounds import FlowBounds, leaving_rules
from vmkiln.host.network.packet_rule import EVERY_PORT, EVERYWHERE, PacketRule

EGRESS_INTERFACE = "egress"
PROXY_PORT = 3128
MOST_REFUSED = 4096  # destinations that are on record; what goes to others is counted by the rule alone
REFUSED_SET = f"""  set refused {{
    type ipv4_addr . ipv4_addr . inet_proto . inet_service
    size {MOST_REFUSED}
    flags dynamic
    counter
  }}
"""
_NOTED = "add @refused { ip saddr . ip daddr . meta l4proto . th dport }"


@dataclass(frozen=True)
class GuardedEgress:
    """What the rules are about: the far guest's bridge, the policy, who answers names outside, the id of the proxy.

    `allowances` are forbidden networks that are allowed all the same, each with a TCP port (0: any).
    """

    bridge: str
    policy: EgressPolicy
    upstream_dns: IPv4Address
    proxy: int
    allowances: tuple[tuple[IPv4Network, int], ...] = ()

    @property
    def is_proxied(self) -> bool:
        """Whether there is a name proxy."""
        return self.policy.mode is EgressMode.ALLOW_LIST


def refused(way: GuardedEgress, asks_outbound: str) -> str:
    """The rules in the chain `forward` for what the far guest may not reach, whether it is open already or not.

    A locked guest is not routed at all.
    """
    if not way.policy.is_open:
        return ""
    leaving = f'iifname "{way.bridge}" oifname "{EGRESS_INTERFACE}"'
    allowances = "".join(
        f'    {leaving} ip daddr {network} {_port_match(port)} counter accept comment "allowed by setting"\n'
        for network, port in way.allowances
    )
    return (
        f"{asks_outbound}{allowances}"
        f"    {leaving} ip daddr @forbidden meta l4proto {{ tcp, udp }} {_NOTED}\n"
        f'    {leaving} ip daddr @forbidden counter reject with icmpx type admin-prohibited comment "host, private and link-local"\n'  # noqa: E501 (one rule, one line)
    )


def routed(way: GuardedEgress, bounds: FlowBounds) -> str:
    """The rules in the chain `forward` for what the far guest opens outside; none when it is locked."""
    if not way.policy.is_open:
        return ""
    leaving = f'iifname "{way.bridge}" oifname "{EGRESS_INTERFACE}"'
    return (
        noted_closed(bounds, leaving)
        + leaving_rules(bounds, way.bridge, EGRESS_INTERFACE)
        + f'    {leaving} icmp type != echo-request counter drop comment "control messages but echo requests"\n'
        + f'    {leaving} meta l4proto {{ tcp, udp, icmp }} counter accept comment "far guest to the Internet"\n'
    )


def noted_closed(bounds: FlowBounds, leaving: str) -> str:
    """The rule that puts on record what goes to closed ports; none when none is closed."""
    ports = ", ".join(str(port) for port in bounds.closed_ports)
    return f"    {leaving} tcp dport {{ {ports} }} {_NOTED}\n" if ports else ""


def turned(way: GuardedEgress) -> str:
    """The chain that turns the far guest's connections to the name proxy."""
    if not way.is_proxied:
        return ""
    guest = f'iifname "{way.bridge}"'
    allowances = "".join(
        f"    {guest} ip daddr {network} {_port_match(port)} counter redirect to :{PROXY_PORT} "
        'comment "to the name proxy, allowed by setting"\n'
        for network, port in way.allowances
    )
    return (
        "  chain turning {\n    type nat hook prerouting priority -100; policy accept;\n"
        f"{allowances}"
        f'    {guest} ip daddr != @forbidden meta l4proto tcp counter redirect to :{PROXY_PORT} comment "to the name proxy"\n'  # noqa: E501 (one rule, one line)
        "  }\n"
    )


def into_the_proxy(way: GuardedEgress) -> str:
    """The rules in the chain `input`: what was turned, and the answers of servers."""
    if not way.is_proxied:
        return ""
    return (
        f'    iifname "{way.bridge}" tcp dport {PROXY_PORT} ct status dnat counter accept comment "turned to the name proxy"\n'  # noqa: E501 (one rule, one line)
        f'    iifname "{EGRESS_INTERFACE}" meta l4proto tcp ct state established counter accept comment "answers to the name proxy"\n'  # noqa: E501 (one rule, one line)
    )


def out_of_the_proxy(way: GuardedEgress, asks_proxied: str) -> str:
    """The rules in the chain `output`: the proxy's answers to the guest, its questions and its connections.

    A closed socket's last packets have no owner any more, so only what opens a connection is asked for its id.
    """
    if not way.is_proxied:
        return ""
    opening = f'oifname "{EGRESS_INTERFACE}" meta skuid {way.proxy}'
    allowances = "".join(
        f'    {opening} ct state new ip daddr {network} {_port_match(port)} counter accept comment "of the name proxy, allowed by setting"\n'  # noqa: E501 (one rule, one line)
        for network, port in way.allowances
    )
    return (
        f'    oifname "{way.bridge}" tcp sport {PROXY_PORT} ct state established counter accept comment "answers of the name proxy"\n'  # noqa: E501 (one rule, one line)
        f'    oifname "{EGRESS_INTERFACE}" meta l4proto tcp ct state established counter accept comment "talk of the name proxy"\n'  # noqa: E501 (one rule, one line)
        f'    {opening} ip daddr {way.upstream_dns} udp dport 53 counter accept comment "questions of the name proxy"\n'
        f"{asks_proxied}{allowances}"
        f'    {opening} ip daddr @forbidden counter reject with icmpx type admin-prohibited comment "host, private and link-local, of the name proxy"\n'  # noqa: E501 (one rule, one line)
        f'    {opening} meta l4proto tcp ct state new counter accept comment "name proxy to the Internet"\n'
    )


def proxied(rules: Sequence[PacketRule], guest: IPv4Address) -> tuple[PacketRule, ...]:
    """A user's rules for what the guest opens outside, as they hold for the proxy that opens it in its place.

    The guest's source port is not known there: a rule that asks for one denies whatever it is, and allows nothing.
    """
    found = []
    for rule in rules:
        if not any(guest in network for network in rule.sources):
            continue
        if rule.is_allowed and EVERY_PORT not in rule.source_ports:
            continue
        ports = (EVERY_PORT,) if rule.source_ports else ()
        found.append(replace(rule, sources=(EVERYWHERE,), source_ports=ports))
    return tuple(found)


def _port_match(port: int) -> str:
    return f"tcp dport {port}" if port else "meta l4proto tcp"
