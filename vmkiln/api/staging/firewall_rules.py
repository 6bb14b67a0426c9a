"""The firewall of a build as rules of a network security group, for whoever audits it with Azure's tools; pure.

The rules are those that the kernel had. What an expression says beyond Azure's members, such as a false MAC address,
is only in `description`, which is the rule as nft writes it. Rules that decide nothing are left out.
Source: the ARM reference of Microsoft.Network (networkSecurityGroups); nft(8).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vmkiln.azure_names import ProvisioningState

ANY = "*"
FIRST_PRIORITY, LAST_PRIORITY = 100, 65500
MOST_NAME_LETTERS = 80
PROTOCOLS = {"tcp": "Tcp", "udp": "Udp", "icmp": "Icmp"}
POLICIES = {"drop": "Deny", "accept": "Allow"}
_TRANSLATION = re.compile(r"\b(masquerade|snat|dnat|redirect)\b")
_VERDICT = re.compile(r"\b(accept|drop|reject|return|goto|jump)\b")
_PROTOCOL = re.compile(r"\b(tcp|udp) [ds]port\b|\b(icmp) type\b|(?:meta l4proto|ip protocol) (?P<meta>tcp|udp|icmp)\b")
_VALUE = r"(\{[^}]*\}|[^\s{]+)"


def security_rules(
    rules: Iterable[Mapping[str, Any]], *, subnets: Mapping[str, str], forbidden: Iterable[str], inside: str
) -> list[dict[str, Any]]:
    """The rules that let packets through or refuse them, in the kernel's order.

    `subnets` are the prefixes behind each bridge, `forbidden` the networks that are refused by one rule, `inside` is
    the bridge of the build VM: what leads to it is inbound.
    """
    sets = {"@forbidden": list(forbidden)}
    names: set[str] = set()
    found: list[dict[str, Any]] = []
    for rule in rules:
        text = str(rule.get("expression", ""))
        verdict = _VERDICT.search(text)
        is_known = "expression" in rule  # of an ended run there are only the counters of what let packets through
        if is_known and (verdict is None or verdict[1] in {"return", "goto", "jump"}):
            continue
        is_allowed = verdict is None or verdict[1] == "accept"
        name = _name(str(rule.get("comment") or "rule"), names)
        properties = {
            "description": text,
            "priority": FIRST_PRIORITY + len(found),
            "direction": "Inbound" if f'oifname "{inside}"' in text else "Outbound",
            "access": "Allow" if is_allowed else "Deny",
            "protocol": _protocol(text),
            "sourcePortRange": ANY,
            **_side("source", _prefixes(text, "iifname", "saddr", subnets, sets)),
            **_side("destination", _prefixes(text, "oifname", "daddr", subnets, sets)),
            **_ports(text),
            "packetCount": int(rule.get("packets") or 0),
            "byteCount": int(rule.get("bytes") or 0),
            "provisioningState": ProvisioningState.SUCCEEDED,
        }
        found.append({"name": name, "chain": str(rule.get("chain", "")), "properties": properties})
    return found


def other_rules(rules: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules that translate addresses, and those that count what is left to their chain's policy. Azure has no such.

    `access` is Translate, or Allow or Deny as the chain's policy has it.
    """
    names: set[str] = set()
    found: list[dict[str, Any]] = []
    for rule in rules:
        text, policy = str(rule.get("expression", "")), str(rule.get("policy", ""))
        if "expression" not in rule or _VERDICT.search(text):
            continue
        is_translating = _TRANSLATION.search(text) is not None
        if not is_translating and (text or policy not in POLICIES):
            continue
        properties = {
            "description": text or f"policy {policy}",
            "access": "Translate" if is_translating else POLICIES[policy],
            "packetCount": int(rule.get("packets") or 0),
            "byteCount": int(rule.get("bytes") or 0),
        }
        name = _name(str(rule.get("comment") or "rule"), names)
        found.append({"name": name, "chain": str(rule.get("chain", "")), "properties": properties})
    return found


def default_rules() -> list[dict[str, Any]]:
    """What decides about all the rest: nothing is let through."""
    return [
        {
            "name": f"DenyAll{direction.replace('bound', 'Bound')}",
            "properties": {
                "description": "policy drop",
                "priority": LAST_PRIORITY,
                "direction": direction,
                "access": "Deny",
                "protocol": ANY,
                "sourcePortRange": ANY,
                "destinationPortRange": ANY,
                "sourceAddressPrefix": ANY,
                "destinationAddressPrefix": ANY,
                "provisioningState": ProvisioningState.SUCCEEDED,
            },
        }
        for direction in ("Inbound", "Outbound")
    ]


def _name(comment: str, names: set[str]) -> str:
    """A name that Azure takes (letters, digits, `_`, `.`, `-`), and that no other rule has."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", comment).strip("-.")[:MOST_NAME_LETTERS] or "rule"
    name, number = plain, 1
    while name in names:
        number += 1
        name = f"{plain[: MOST_NAME_LETTERS - 5]}-{number}"
    names.add(name)
    return name


def _protocol(text: str) -> str:
    found = _PROTOCOL.search(text)
    return PROTOCOLS[found[1] or found[2] or found["meta"]] if found else ANY


def _values(text: str, pattern: str) -> list[str]:
    """The values behind a word of an expression; none where it is not there, or says what is not meant (`!=`)."""
    found = re.search(rf"{pattern} {_VALUE}", text)
    if found is None or found[1] == "!=":
        return []
    return [item.strip().strip('"') for item in found[1].strip("{}").split(",")]


def _prefixes(
    text: str, interface: str, address: str, subnets: Mapping[str, str], sets: Mapping[str, list[str]]
) -> list[str]:
    addresses = _values(text, rf"ip {address}")
    if addresses:
        return [prefix for item in addresses for prefix in sets.get(item, [item])]
    return [subnets[name] for name in _values(text, interface) if name in subnets]


def _side(side: str, prefixes: list[str]) -> dict[str, Any]:
    """One prefix and several have members of different names."""
    if len(prefixes) > 1:
        return {f"{side}AddressPrefixes": prefixes}
    return {f"{side}AddressPrefix": prefixes[0] if prefixes else ANY}


def _ports(text: str) -> dict[str, Any]:
    ports = _values(text, "dport")
    if len(ports) > 1:
        return {"destinationPortRanges": ports}
    return {"destinationPortRange": ports[0] if ports else ANY}
