"""A rule of a network security group: read from its ARM body, with every mistake in it; and Azure's default rules.

The service that stores a rule and the build that uses it read it by this one module, so every stored rule can be built
with. Pure.
Sources: the ARM reference of Microsoft.Network; Azure's documentation of network security groups and service tags; the
error codes are the ones that Azure's Resource Manager answers with.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from vmkiln.azure_names import ProvisioningState
from vmkiln.errors import CodedMistake, Mistake

MOST_PORT = 65535
PRIORITIES = range(100, 4097)
EVERY_PORT = ((0, MOST_PORT),)
EVERYTHING = "*"
PROTOCOLS = {"*": "", "tcp": "tcp", "udp": "udp", "icmp": "icmp", "esp": "esp", "ah": "ah"}
MOST_VALUES = 4000  # Azure's limit of addresses, and of ports, in one rule
WRONG_VALUE, MISSING = "InvalidRequestFormat", "SecurityRuleParametersMissing"
WRONG_PORT, WRONG_ADDRESS = "SecurityRuleInvalidPortRange", "SecurityRuleInvalidAddressPrefix"
WRONG_PRIORITY, CONFLICT = "SecurityRuleInvalidPriority", "SecurityRuleConflict"
UNSUPPORTED = "SecurityRuleParameterContainsUnsupportedValue"
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9]+(\.[A-Za-z0-9]+)?")
_NO_TAGS = {"any", "all", "none"}  # what people write for `*`, and Azure refuses


class Direction(StrEnum):
    """Which way a rule looks."""

    INBOUND = "Inbound"
    OUTBOUND = "Outbound"


@dataclass(frozen=True)
class SecurityRule:
    """One rule of a network security group. Addresses are CIDR texts, `*` or service tags; a range is first, last."""

    name: str
    priority: int
    direction: Direction
    is_allowed: bool
    protocol: str
    sources: tuple[str, ...]
    source_ports: tuple[tuple[int, int], ...]
    destinations: tuple[str, ...]
    destination_ports: tuple[tuple[int, int], ...]


def _default(name: str, priority: int, direction: Direction, *, allow: bool, source: str, target: str) -> SecurityRule:
    return SecurityRule(name, priority, direction, allow, "", (source,), EVERY_PORT, (target,), EVERY_PORT)


INBOUND, OUTBOUND = Direction.INBOUND, Direction.OUTBOUND
DEFAULT_RULES = (
    _default("AllowVnetInBound", 65000, INBOUND, allow=True, source="VirtualNetwork", target="VirtualNetwork"),
    _default("AllowAzureLoadBalancerInBound", 65001, INBOUND, allow=True, source="AzureLoadBalancer", target="*"),
    _default("DenyAllInBound", 65500, INBOUND, allow=False, source="*", target="*"),
    _default("AllowVnetOutBound", 65000, OUTBOUND, allow=True, source="VirtualNetwork", target="VirtualNetwork"),
    _default("AllowInternetOutBound", 65001, OUTBOUND, allow=True, source="*", target="Internet"),
    _default("DenyAllOutBound", 65500, OUTBOUND, allow=False, source="*", target="*"),
)


def default_rule_body(rule: SecurityRule) -> dict[str, Any]:
    """The `properties` of one of Azure's default rules, as Azure shows them."""
    return {
        "priority": rule.priority,
        "direction": str(rule.direction),
        "access": "Allow" if rule.is_allowed else "Deny",
        "protocol": EVERYTHING,
        "sourceAddressPrefix": rule.sources[0],
        "destinationAddressPrefix": rule.destinations[0],
        "sourcePortRange": EVERYTHING,
        "destinationPortRange": EVERYTHING,
        "provisioningState": ProvisioningState.SUCCEEDED,
    }


def read_rule(name: str, properties: Any, path: str) -> tuple[SecurityRule | None, list[Mistake]]:
    """A rule from its ARM `properties`, and every mistake in them; no rule when there is one. `path` is theirs."""
    if not isinstance(properties, Mapping):
        return None, [CodedMistake(path, "must be an object", code=WRONG_VALUE)]
    mistakes: list[Mistake] = []

    def one_of(member: str, allowed: Mapping[str, Any]) -> Any:
        given = properties.get(member)
        if not isinstance(given, str) or given.lower() not in allowed:
            shown = ", ".join(allowed)
            mistakes.append(CodedMistake(f"{path}.{member}", "is not allowed", f"allowed are {shown}", WRONG_VALUE))
            return None
        return allowed[given.lower()]

    direction = one_of("direction", {"inbound": INBOUND, "outbound": OUTBOUND})
    is_allowed = one_of("access", {"allow": True, "deny": False})
    protocol = one_of("protocol", PROTOCOLS)
    priority = properties.get("priority")
    if isinstance(priority, bool) or not isinstance(priority, int) or priority not in PRIORITIES:
        text = f"must be a whole number from {PRIORITIES.start} to {PRIORITIES.stop - 1}"
        mistakes.append(CodedMistake(f"{path}.priority", text, code=WRONG_PRIORITY))
    sources, source_ports = _end(properties, "source", path, mistakes)
    destinations, destination_ports = _end(properties, "destination", path, mistakes)
    if mistakes or not isinstance(priority, int):
        return None, mistakes
    rule = SecurityRule(
        name, priority, direction, is_allowed, protocol, sources, source_ports, destinations, destination_ports
    )
    return rule, []


def _end(
    properties: Mapping[str, Any], end: str, path: str, mistakes: list[Mistake]
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """The addresses and the ports of one end of a rule."""
    groups = f"{end}ApplicationSecurityGroups"
    addresses = [
        *_values(properties, f"{end}AddressPrefix", f"{end}AddressPrefixes", path, mistakes),
        *_group_ids(properties.get(groups), f"{path}.{groups}", mistakes),
    ]
    if not addresses:
        text = f"a rule needs {end}AddressPrefix, {end}AddressPrefixes or {groups}"
        mistakes.append(CodedMistake(f"{path}.{end}AddressPrefix", text, code=MISSING))
    for where, text, is_plural in addresses:
        mistakes += _address_mistakes(where, text, is_plural=is_plural)
    ports = []
    given = _values(properties, f"{end}PortRange", f"{end}PortRanges", path, mistakes)
    if not given:
        text = f"a rule needs {end}PortRange or {end}PortRanges"
        mistakes.append(CodedMistake(f"{path}.{end}PortRange", text, code=MISSING))
    for where, text, _ in given:
        found = port_range(text)
        if found is None:
            message = f"`{text[:60]}` is not a range of ports"
            mistakes.append(CodedMistake(where, message, f"such as 22, 8000-8080 or *; to {MOST_PORT}", WRONG_PORT))
        else:
            ports.append(found)
    return tuple(text for _, text, _ in addresses), tuple(ports)


def _values(
    properties: Mapping[str, Any], one: str, many: str, path: str, mistakes: list[Mistake]
) -> list[tuple[str, str, bool]]:
    """The values of a member and of its plural, each with its path, and whether it is of the plural."""
    found: list[tuple[str, Any, bool]] = []
    if properties.get(one) not in (None, ""):
        found.append((f"{path}.{one}", properties[one], False))
    plural = properties.get(many)
    if plural is not None and not isinstance(plural, list):
        mistakes.append(CodedMistake(f"{path}.{many}", "must be an array", code=WRONG_VALUE))
    elif plural:
        found += [(f"{path}.{many}[{index}]", item, True) for index, item in enumerate(plural)]
    if len(found) > MOST_VALUES:
        mistakes.append(CodedMistake(f"{path}.{many}", f"has more than {MOST_VALUES} values", code=WRONG_VALUE))
        return []
    known = []
    for where, item, is_plural in found:
        if isinstance(item, bool) or not isinstance(item, str | int):
            mistakes.append(CodedMistake(where, "must be a string", code=WRONG_VALUE))
        else:
            known.append((where, str(item), is_plural))
    return known


def _group_ids(groups: Any, path: str, mistakes: list[Mistake]) -> Iterator[tuple[str, str, bool]]:
    """The ids of application security groups; no VM here is in one."""
    if groups is not None and not isinstance(groups, list):
        mistakes.append(CodedMistake(path, "must be an array", code=WRONG_VALUE))
        return
    for index, group in enumerate(groups or ()):
        found = group.get("id") if isinstance(group, Mapping) else None
        if isinstance(found, str) and found.startswith("/"):
            yield f"{path}[{index}]", found, False
        else:
            mistakes.append(CodedMistake(f"{path}[{index}].id", "must be the id of a resource", code=WRONG_VALUE))


def _address_mistakes(path: str, text: str, *, is_plural: bool) -> Iterator[Mistake]:
    if text.startswith("/") or address(text) is not None:
        return
    if is_plural and (text == EVERYTHING or _is_tag(text)):
        hint = "write it as the one prefix, without a plural"
        yield CodedMistake(path, f"`{text[:60]}` is only allowed by itself", hint, UNSUPPORTED)
    elif text != EVERYTHING and not _is_tag(text):
        hint = "such as 10.1.0.0/16, *, or a service tag such as VirtualNetwork"
        yield CodedMistake(path, f"`{text[:60]}` is not an address", hint, WRONG_ADDRESS)


def _is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None and text.lower() not in _NO_TAGS


def address(text: str) -> IPv4Network | IPv6Network | None:
    """An address or a network; host bits count as none. None for anything else."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def port_range(text: str) -> tuple[int, int] | None:
    """The first and the last port of a range; none for what is no range."""
    if text == EVERYTHING:
        return EVERY_PORT[0]
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(re.fullmatch(r"[0-9]{1,5}", number) for number in numbers):
        return None
    found = int(numbers[0]), int(numbers[1])
    return found if found[0] <= found[1] <= MOST_PORT else None
