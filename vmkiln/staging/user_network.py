"""A virtual network of a user's own, as a run knows it: address space, subnets, the rules of their security groups.

Read from the ARM bodies of virtualNetworks and networkSecurityGroups; pure. A subnet without a network security group
has no rules and lets everything pass; with one, Azure's default rules end its list.
Sources: the ARM reference of Microsoft.Network; Azure's documentation of network security groups and service tags.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

from vmkiln.azure_names import SECURITY_GROUP, VIRTUAL_NETWORK
from vmkiln.errors import InputError
from vmkiln.host.network.packet_rule import EVERYWHERE, PacketRule
from vmkiln.staging.security_rule import DEFAULT_RULES, Direction, SecurityRule, address, read_rule

LOAD_BALANCER = IPv4Network("168.63.129.16/32")  # the address that Azure's load balancer probes from
IN_VIRTUAL_NETWORK, FROM_LOAD_BALANCER, INTERNET = "virtualnetwork", "azureloadbalancer", "internet"


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
            case _ if (found_address := address(text)) is not None:
                found += [found_address] if isinstance(found_address, IPv4Network) else []
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


def ipv4_prefix(text: Any) -> IPv4Network | None:
    """An IPv4 network of an address space or a subnet; none for anything else, also with bits of a host."""
    try:
        return IPv4Network(text) if isinstance(text, str) and "/" in text else None
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


def _properties(item: Any) -> Mapping[str, Any]:
    """The `properties` of an ARM body; az prints them flat."""
    if not isinstance(item, Mapping):
        return {}
    found = item.get("properties")
    return found if isinstance(found, Mapping) else item


def _prefixes(texts: Any) -> tuple[IPv4Network, ...]:
    found = [ipv4_prefix(text) for text in texts or ()]
    return tuple(item for item in found if item is not None)


def _rules(body: Mapping[str, Any], problems: list[str]) -> tuple[SecurityRule, ...]:
    own = []
    for index, item in enumerate(_properties(body).get("securityRules") or ()):
        name = str(item.get("name") if isinstance(item, Mapping) else index)
        rule, mistakes = read_rule(name, _properties(item), "properties")
        own += [rule] if rule else []
        problems += [f"`{body['id']}`, rule `{name}`: {mistake}" for mistake in mistakes]
    return (*sorted(own, key=lambda rule: rule.priority), *DEFAULT_RULES)
