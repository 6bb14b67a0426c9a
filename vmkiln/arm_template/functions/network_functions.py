"""The ARM functions on networks in CIDR notation: parseCidr, cidrSubnet, cidrHost.

Source: the "CIDR functions for ARM templates" reference. The first host of a network is the address after the
network's own, of IPv6 too, though parseCidr calls an IPv6 network's own address usable.
"""

import ipaddress
from typing import Any

from vmkiln.arm_template.budget import Arguments
from vmkiln.arm_template.values import Function, needs_int, needs_string

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(value: Any) -> Network:
    text = needs_string(value, "the network")
    if "/" not in text:
        raise ValueError(f"`{text[:80]}` is not a network in CIDR notation such as 10.1.0.0/16")
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"`{text[:80]}` is not a network in CIDR notation such as 10.1.0.0/16") from None


def _parse(arguments: Arguments) -> dict[str, Any]:
    network = _network(arguments[0])
    found: dict[str, Any] = {"network": str(network.network_address), "netmask": str(network.netmask)}
    first, last = network.network_address, network.broadcast_address
    if network.version == 4:
        found["broadcast"] = str(network.broadcast_address)
        if network.prefixlen < 31:
            first, last = first + 1, last - 1
    return {**found, "firstUsable": str(first), "lastUsable": str(last), "cidr": network.prefixlen}


def _subnet(arguments: Arguments) -> str:
    network = _network(arguments[0])
    length, index = needs_int(arguments[1], "the new CIDR"), needs_int(arguments[2], "the index")
    if not network.prefixlen <= length <= network.max_prefixlen:
        raise ValueError(f"the new CIDR must be from {network.prefixlen} to {network.max_prefixlen}, not {length}")
    if not 0 <= index < 2 ** (length - network.prefixlen):
        raise ValueError(f"{network} has {2 ** (length - network.prefixlen)} subnets of /{length} and none at {index}")
    start = network.network_address + index * 2 ** (network.max_prefixlen - length)
    return f"{start}/{length}"


def _host(arguments: Arguments) -> str:
    network, index = _network(arguments[0]), needs_int(arguments[1], "the index")
    has_ends = network.prefixlen < network.max_prefixlen - 1
    spared = 1 if has_ends else 0  # the network's own address
    last = network.num_addresses - (1 if has_ends and network.version == 4 else 0)
    if not 0 <= index < last - spared:
        raise ValueError(f"{network} has {last - spared} usable addresses and none at {index}")
    return str(network.network_address + index + spared)


NETWORK_FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "parsecidr": (1, 1, _parse),
    "cidrsubnet": (3, 3, _subnet),
    "cidrhost": (2, 2, _host),
}
