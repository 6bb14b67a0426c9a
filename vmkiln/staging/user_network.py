"""A virtual network of a user's own, as a run knows it: address space, subnets, the rules of their security groups.

Read from the ARM bodies of virtualNetworks and networkSecurityGroups; pure. A subnet without a network security group
has no rules and lets everything pass; with one, Azure's default rules end its list.
Sources: the ARM reference of Microsoft.Network; Azure's documentation of network security groups and service tags.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Any

from vmkiln.errors import InputError
from vmkiln.host.packet_rule import EVERYWHERE, PacketRule

VIRTUAL_NETWORK = "Microsoft.Network/virtualNetworks"
SECURITY_GROUP = "Microsoft.Network/networkSecurityGroups"
LOAD_BALANCER = IPv4Network("168.63.129.16/32")  # the address that Azure's load balancer probes from
IN_VIRTUAL_NETWORK, FROM_LOAD_BALANCER, INTERNET = "virtualnetwork", "azureloadbalancer", "internet"
PROTOCOLS = {"*": "", "tcp": "tcp", "udp": "udp", "icmp": "icmp", "esp": "esp", "ah": "ah"}


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


@dataclass(frozen=True)
class UserSubnet:
    """One subnet; `rules` are in the order of their priority, both directions together."""

    subnet_id: str
    prefix: IPv4Network
    rules: tuple[SecurityRule, ...] = ()
    delegations: tuple[str, ...] = ()
    has_private_link_service_policies: bool = True

    @property
    def name(self) -> str:
        """The last part of its id."""
        return self.subnet_id.rpartition("/")[2]


@dataclass(frozen=True)
class UserVirtualNetwork:
    """A virtual network with its subnets; IPv4 only."""

    vnet_id: str
    address_space: tuple[IPv4Network, ...]
    subnets: tuple[UserSubnet, ...]

    def subnet(self, subnet_id: str) -> UserSubnet | None:
        """The subnet of this id, whatever the case."""
        return next((item for item in self.subnets if item.subnet_id.lower() == subnet_id.lower()), None)


def _default(name: str, priority: int, direction: Direction, *, allow: bool, source: str, target: str) -> SecurityRule:
    every = ((0, 65535),)
    return SecurityRule(name, priority, direction, allow, "", (source,), every, (target,), every)


INBOUND, OUTBOUND = Direction.INBOUND, Direction.OUTBOUND
DEFAULT_RULES = (
    _default("AllowVnetInBound", 65000, INBOUND, allow=True, source="VirtualNetwork", target="VirtualNetwork"),
    _default("AllowAzureLoadBalancerInBound", 65001, INBOUND, allow=True, source="AzureLoadBalancer", target="*"),
    _default("DenyAllInBound", 65500, INBOUND, allow=False, source="*", target="*"),
    _default("AllowVnetOutBound", 65000, OUTBOUND, allow=True, source="VirtualNetwork", target="VirtualNetwork"),
    _default("AllowInternetOutBound", 65001, OUTBOUND, allow=True, source="*", target="Internet"),
    _default("DenyAllOutBound", 65500, OUTBOUND, allow=False, source="*", target="*"),
)


def packet_rules(network: UserVirtualNetwork, subnet: UserSubnet, direction: Direction) -> tuple[PacketRule, ...]:
    """The subnet's rules of one direction, with addresses in the place of tags; none without a security group."""
    return tuple(
        PacketRule(
            name=f"{rule.direction} {rule.priority} {rule.name}",
            is_allowed=rule.is_allowed,
            protocol=rule.protocol,
            sources=_networks(network, rule, rule.sources),
            source_ports=rule.source_ports,
            destinations=_networks(network, rule, rule.destinations),
            destination_ports=rule.destination_ports,
        )
        for rule in sorted(subnet.rules, key=lambda item: item.priority)
        if rule.direction is direction
    )


def _networks(network: UserVirtualNetwork, rule: SecurityRule, texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Addresses for texts. Of other services' tags no addresses are known here: such an Allow rule allows nothing,
    and such a Deny rule denies everything outside the virtual network."""
    found: list[IPv4Network] = []
    for text in texts:
        match text.lower():
            case "*":
                found.append(EVERYWHERE)
            case tag if tag == IN_VIRTUAL_NETWORK:
                found += network.address_space
            case tag if tag == FROM_LOAD_BALANCER:
                found.append(LOAD_BALANCER)
            case tag if tag == INTERNET:
                found += outside(network.address_space)
            case _ if (address := _address(text)) is not None:
                found += [address] if isinstance(address, IPv4Network) else []
            case _ if not rule.is_allowed:
                found += outside(network.address_space)
    return tuple(collapse_addresses(found))


def outside(address_space: Iterable[IPv4Network]) -> list[IPv4Network]:
    """Every address that is not in the space; pure."""
    left = [EVERYWHERE]
    for taken in address_space:
        left = [part for item in left for part in _without(item, taken)]
    return sorted(left)


def _without(network: IPv4Network, taken: IPv4Network) -> Iterator[IPv4Network]:
    if network.subnet_of(taken):
        return
    if taken.subnet_of(network):
        yield from network.address_exclude(taken)
    else:
        yield network


def _address(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def virtual_networks_of(bodies: Iterable[Mapping[str, Any]]) -> dict[str, UserVirtualNetwork]:
    """The virtual networks among ARM resource bodies, by their id in lower case.

    Each body has `id` and `properties`, or the properties flat, as az prints them.

    Raises: `InputError` with everything in them that cannot be understood.
    """
    known = [body for body in bodies if isinstance(body.get("id"), str)]
    problems: list[str] = []
    groups = {
        str(body["id"]).lower(): _rules(body, problems) for body in known if _is_a(SECURITY_GROUP, str(body["id"]))
    }
    networks = {
        str(body["id"]).lower(): _network(body, groups, problems)
        for body in known
        if _is_a(VIRTUAL_NETWORK, str(body["id"]))
    }
    if problems:
        raise InputError(f"the virtual networks cannot be read: {'; '.join(problems)}")
    return networks


def _is_a(type_: str, resource_id: str) -> bool:
    return f"/providers/{type_}/".lower() in resource_id.lower() and resource_id.count("/") == 8


def _network(
    body: Mapping[str, Any], groups: Mapping[str, tuple[SecurityRule, ...]], problems: list[str]
) -> UserVirtualNetwork:
    vnet_id, properties = str(body["id"]), _properties(body)
    space = _prefixes((properties.get("addressSpace") or {}).get("addressPrefixes"))
    subnets = []
    for item in properties.get("subnets") or ():
        subnet_id, inner = f"{vnet_id}/subnets/{item.get('name')}", _properties(item)
        prefixes = _prefixes(inner.get("addressPrefixes") or [inner.get("addressPrefix")])
        group_id = str((inner.get("networkSecurityGroup") or {}).get("id") or "")
        if not prefixes:
            problems.append(f"`{subnet_id}` has no IPv4 addressPrefix")
            continue
        if group_id and group_id.lower() not in groups:
            problems.append(f"`{subnet_id}` has the network security group `{group_id}`, which is not among them")
        subnets.append(
            UserSubnet(
                subnet_id=subnet_id,
                prefix=prefixes[0],
                rules=groups.get(group_id.lower(), ()),
                delegations=tuple(
                    str(_properties(delegation).get("serviceName") or "")
                    for delegation in inner.get("delegations") or ()
                ),
                has_private_link_service_policies=str(inner.get("privateLinkServiceNetworkPolicies")).lower()
                != "disabled",
            )
        )
    return UserVirtualNetwork(vnet_id, space or tuple(item.prefix for item in subnets), tuple(subnets))


def _properties(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `properties` of an ARM body; az prints them flat."""
    found = item.get("properties")
    return found if isinstance(found, Mapping) else item


def _prefixes(texts: Any) -> tuple[IPv4Network, ...]:
    found = [_address(str(text)) for text in texts or ()]
    return tuple(item for item in found if isinstance(item, IPv4Network))


def _rules(body: Mapping[str, Any], problems: list[str]) -> tuple[SecurityRule, ...]:
    own = []
    for item in _properties(body).get("securityRules") or ():
        try:
            own.append(_rule(str(item.get("name")), _properties(item)))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"`{body['id']}`, rule `{item.get('name')}`: {error}")
    return (*sorted(own, key=lambda rule: rule.priority), *DEFAULT_RULES)


def _rule(name: str, properties: Mapping[str, Any]) -> SecurityRule:
    access = str(properties["access"]).lower()
    if access not in {"allow", "deny"}:
        raise ValueError(f"access is `{access}`, and may be Allow or Deny")
    return SecurityRule(
        name=name,
        priority=int(properties["priority"]),
        direction=Direction(str(properties["direction"]).capitalize()),
        is_allowed=access == "allow",
        protocol=PROTOCOLS[str(properties["protocol"]).lower()],
        sources=_many(properties, "sourceAddressPrefix", "sourceApplicationSecurityGroups"),
        source_ports=tuple(_port_range(text) for text in _many(properties, "sourcePortRange")),
        destinations=_many(properties, "destinationAddressPrefix", "destinationApplicationSecurityGroups"),
        destination_ports=tuple(_port_range(text) for text in _many(properties, "destinationPortRange")),
    )


def _many(properties: Mapping[str, Any], one: str, groups: str = "") -> tuple[str, ...]:
    """The values of `one` and of its plural; the ids of application security groups, which no VM here is in."""
    plural = properties.get(f"{one}es" if one.endswith("x") else f"{one}s") or ()
    single = [properties[one]] if properties.get(one) else []
    members = [str(group.get("id")) for group in properties.get(groups) or ()]
    if not (single or plural or members):
        raise ValueError(f"{one} is missing")
    return tuple(str(text) for text in (*single, *plural, *members))


def _port_range(text: str) -> tuple[int, int]:
    if text == "*":
        return 0, 65535
    first, _, last = text.partition("-")
    found = int(first), int(last or first)
    if not 0 <= found[0] <= found[1] <= 65535:
        raise ValueError(f"`{text}` is not a range of ports")
    return found
