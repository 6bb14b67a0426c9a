"""Rules that users bring for packets, as values: which rule decides a connection, and the same as nftables text; pure.

The first rule that matches decides; a list that matches nothing decides nothing. A rule of a user can only take away:
in the firewall an allowed packet goes back to our own rules (`return`), which have the last word.
Source: nft(8).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

PORT_PROTOCOLS = ("tcp", "udp")
MOST_COMMENT_LETTERS = 100  # nft takes 128 bytes
EVERYWHERE = IPv4Network("0.0.0.0/0")
EVERY_PORT = (0, 65535)


@dataclass(frozen=True)
class PacketRule:
    """One rule. `protocol` is tcp, udp, icmp, esp, ah or '' for any; port ranges are (first, last), both included."""

    name: str
    is_allowed: bool
    protocol: str = ""
    sources: tuple[IPv4Network, ...] = (EVERYWHERE,)
    source_ports: tuple[tuple[int, int], ...] = (EVERY_PORT,)
    destinations: tuple[IPv4Network, ...] = (EVERYWHERE,)
    destination_ports: tuple[tuple[int, int], ...] = (EVERY_PORT,)


@dataclass(frozen=True)
class Connection:
    """The first packet of a connection. Ports are 0 for protocols that have none."""

    protocol: str
    source: IPv4Address
    destination: IPv4Address
    destination_port: int = 0
    source_port: int = 50000


def deciding_rule(rules: Iterable[PacketRule], connection: Connection) -> PacketRule | None:
    """The first rule that matches, or none."""
    return next((rule for rule in rules if _matches(rule, connection)), None)


def is_allowed(rules: Iterable[PacketRule], connection: Connection) -> bool:
    """Whether the rules let a connection through; what no rule matches passes."""
    rule = deciding_rule(rules, connection)
    return rule is None or rule.is_allowed


def _matches(rule: PacketRule, connection: Connection) -> bool:
    has_ports = _has_port_match(rule)
    return (
        rule.protocol in {"", connection.protocol}
        and (not has_ports or connection.protocol in PORT_PROTOCOLS)
        and any(connection.source in network for network in rule.sources)
        and any(connection.destination in network for network in rule.destinations)
        and (not has_ports or _is_in(connection.source_port, rule.source_ports))
        and (not has_ports or _is_in(connection.destination_port, rule.destination_ports))
    )


def _is_in(port: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= port <= last for first, last in ranges)


def _has_port_match(rule: PacketRule) -> bool:
    """Whether ports matter; for protocols without ports they never do."""
    is_limited = EVERY_PORT not in rule.source_ports or EVERY_PORT not in rule.destination_ports
    return is_limited and rule.protocol in {"", *PORT_PROTOCOLS}


def rule_text(rule: PacketRule) -> str:
    """The rule as one line of an nft chain; a rule without sources, destinations or ports matches nothing: ''."""
    if not (rule.sources and rule.destinations and rule.source_ports and rule.destination_ports):
        return ""
    parts = []
    if rule.protocol:
        parts.append(f"meta l4proto {rule.protocol}")
    elif _has_port_match(rule):
        parts.append("meta l4proto { tcp, udp }")
    parts += _address_match("saddr", rule.sources) + _address_match("daddr", rule.destinations)
    if _has_port_match(rule):
        parts += _port_match("sport", rule.source_ports) + _port_match("dport", rule.destination_ports)
    verdict = "return" if rule.is_allowed else "drop"
    return " ".join([*parts, "counter", verdict, f'comment "{safe_comment(rule.name)}"'])


def chain_text(name: str, rules: Sequence[PacketRule]) -> str:
    """A chain to jump to; '' for no rules."""
    lines = "".join(f"    {text}\n" for rule in rules if (text := rule_text(rule)))
    return f"  chain {name} {{\n{lines}  }}\n" if rules else ""


def safe_comment(text: str) -> str:
    """A name that cannot end the comment it stands in."""
    return re.sub(r"[^\w .,:/()*+-]", "_", text, flags=re.ASCII)[:MOST_COMMENT_LETTERS]


def _address_match(side: str, networks: Iterable[IPv4Network]) -> list[str]:
    collapsed = list(collapse_addresses(networks))
    if EVERYWHERE in collapsed:
        return []
    return [f"ip {side} {{ {', '.join(str(item) for item in collapsed)} }}"]


def _port_match(side: str, ranges: Iterable[tuple[int, int]]) -> list[str]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    if EVERY_PORT in merged:
        return []
    return [f"th {side} {{ {', '.join(str(a) if a == b else f'{a}-{b}' for a, b in merged)} }}"]
