"""The network of a build as a picture: who stands in which subnet, and what the firewall let through; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Subnet:
    """A subnet, and what stands in it."""

    name: str
    prefix: str
    inside: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """A rule of the firewall, and the packets and bytes it has counted."""

    name: str
    access: str
    description: str
    packets: int
    size_bytes: int


@dataclass(frozen=True)
class NetworkPicture:
    """The subnets of a build's network, whether a private endpoint joins them, and the rules."""

    subnets: tuple[Subnet, ...]
    has_private_endpoint: bool
    rules: tuple[Rule, ...]


def _of_type(resources: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [item for item in resources if str(item.get("type", "")).lower().endswith(kind.lower())]


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("name", ""))


def network_picture(resources: Sequence[Mapping[str, Any]]) -> NetworkPicture | None:
    """The picture of the resources of a staging resource group; None when no build's network is among them."""
    networks = _of_type(resources, "/virtualNetworks")
    if not networks:
        return None
    containers = tuple(_name(item) for item in _of_type(resources, "/containerGroups"))
    machines = tuple(
        f"{_name(item).removesuffix('-nic')} {_address(item)}" for item in _of_type(resources, "/networkInterfaces")
    )
    subnets = tuple(
        Subnet(
            name=_name(subnet),
            prefix=str(subnet["properties"].get("addressPrefix", "")),
            inside=containers if "container" in _name(subnet) else machines,
        )
        for network in networks[-1:]
        for subnet in network["properties"].get("subnets", [])
    )
    rules = tuple(
        _rule(rule)
        for group in _of_type(resources, "/networkSecurityGroups")
        for rule in group["properties"].get("securityRules", [])
    )
    return NetworkPicture(subnets, bool(_of_type(resources, "/privateEndpoints")), rules)


def _address(interface: Mapping[str, Any]) -> str:
    configurations = interface["properties"].get("ipConfigurations") or [{}]
    return str(configurations[0].get("properties", {}).get("privateIPAddress", ""))


def _rule(rule: Mapping[str, Any]) -> Rule:
    properties = rule["properties"]
    return Rule(
        name=_name(rule),
        access=str(properties.get("access", "")),
        description=str(properties.get("description", "")),
        packets=int(properties.get("packetCount") or 0),
        size_bytes=int(properties.get("byteCount") or 0),
    )
