"""The network of a build as a picture: who stands in which subnet, what the firewall let through and refused; pure.

What stands now is in the picture, what is gone below it: a validation VM takes the build VM's place and address.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN_REFUSED = 20
SHOWN_GONE = 10
ALLOWED = "allowed"
TO_THE_VM = ("near-guest-to-far-guest",)
OUTWARD = ("far-guest-to-the-Internet", "name-proxy-to-the-Internet", "allowed-by-setting")


@dataclass(frozen=True)
class Guest:
    """Who stands, or stood, in a subnet; times as the API writes them, '' when not known."""

    name: str
    address: str
    is_gone: bool
    began: str = ""
    ended: str = ""


@dataclass(frozen=True)
class Subnet:
    """A subnet, and what stands in it now."""

    name: str
    prefix: str
    inside: tuple[Guest, ...]


@dataclass(frozen=True)
class Rule:
    """A rule of the firewall, its verdict, and the packets and bytes it has counted."""

    name: str
    access: str
    description: str
    packets: int
    size_bytes: int


@dataclass(frozen=True)
class Refusal:
    """What a VM tried and was refused; `verdict` says by what."""

    time: str
    vm: str
    step: str
    target: str
    protocol: str
    packets: int
    verdict: str


@dataclass(frozen=True)
class NetworkPicture:
    """A build's network: who is where, whether a private endpoint joins the subnets, what was counted and refused.

    `counted` are rules that translate addresses, or count what their chain's policy refuses. `gone` are those that
    stand there no more, the newest first, and `more_gone` how many more there were.
    """

    subnets: tuple[Subnet, ...]
    has_private_endpoint: bool
    rules: tuple[Rule, ...]
    counted: tuple[Rule, ...]
    refused: tuple[Refusal, ...]
    gone: tuple[Guest, ...]
    more_gone: int = 0

    @property
    def into_the_vm(self) -> Rule | None:
        """What went from the container group to the VM, as one rule; none when nothing was counted."""
        return _sum(self.rules, TO_THE_VM)

    @property
    def outward(self) -> Rule | None:
        """What the VM opened outside, as one rule."""
        return _sum(self.rules, OUTWARD)

    @property
    def denied_packets(self) -> int:
        """The packets that rules refused."""
        return sum(rule.packets for rule in (*self.rules, *self.counted) if rule.access == "Deny")


def _sum(rules: Iterable[Rule], names: Collection[str]) -> Rule | None:
    found = [rule for rule in rules if rule.name in names]
    if not found:
        return None
    first = found[0]
    return Rule(
        first.name, first.access, "", sum(rule.packets for rule in found), sum(rule.size_bytes for rule in found)
    )


def _of_type(resources: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [item for item in resources if str(item.get("type", "")).lower().endswith(kind.lower())]


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("name", ""))


def network_picture(
    resources: Sequence[Mapping[str, Any]],
    *,
    present: Collection[str] = (),
    flows: Sequence[Mapping[str, Any]] = (),
) -> NetworkPicture | None:
    """The picture of the resources of a staging resource group, those of ended runs too.

    `present` are the ids, in lower case, of what is there now; `flows` is the flow log of the last run. None when no
    build's network is among them.
    """
    networks = _of_type(resources, "/virtualNetworks")
    if not networks:
        return None
    containers = [_container(item, present) for item in _of_type(resources, "/containerGroups")]
    began = {
        _name(item): str(item["properties"].get("timeCreated") or "")
        for item in _of_type(resources, "/virtualMachines")
    }
    machines = [_machine(item, present, began) for item in _of_type(resources, "/networkInterfaces")]
    subnets = tuple(
        Subnet(
            name=_name(subnet),
            prefix=str(subnet["properties"].get("addressPrefix", "")),
            inside=tuple(
                guest for guest in (containers if "container" in _name(subnet) else machines) if not guest.is_gone
            ),
        )
        for network in networks[-1:]
        for subnet in network["properties"].get("subnets", [])
    )
    groups = _of_type(resources, "/networkSecurityGroups")
    gone = sorted(
        (guest for guest in (*containers, *machines) if guest.is_gone), key=lambda guest: guest.began, reverse=True
    )
    refused = [_refusal(flow) for flow in flows if flow["verdict"] != ALLOWED]
    return NetworkPicture(
        subnets=subnets,
        has_private_endpoint=bool(_of_type(resources, "/privateEndpoints")),
        rules=tuple(_rule(rule) for group in groups for rule in group["properties"].get("securityRules", [])),
        counted=tuple(_rule(rule) for group in groups for rule in group["properties"].get("otherRules", [])),
        refused=tuple(refused[-SHOWN_REFUSED:]),
        gone=tuple(gone[:SHOWN_GONE]),
        more_gone=max(0, len(gone) - SHOWN_GONE),
    )


def last_run_of(resources: Sequence[Mapping[str, Any]]) -> str:
    """The id of the run whose VM was made last; '' when there was none."""
    machines = [item["properties"] for item in _of_type(resources, "/virtualMachines")]
    if not machines:
        return ""
    return str(max(machines, key=lambda item: str(item.get("timeCreated") or "")).get("vmId") or "")


def _container(item: Mapping[str, Any], present: Collection[str]) -> Guest:
    properties = item["properties"]
    states = [
        container["properties"].get("instanceView", {}).get("currentState", {})
        for container in properties.get("containers") or []
    ]
    state = states[0] if states else {}
    is_gone = str(item.get("id", "")).lower() not in present
    return Guest(_name(item), "", is_gone, str(state.get("startTime") or ""), str(state.get("finishTime") or ""))


def _machine(item: Mapping[str, Any], present: Collection[str], began: Mapping[str, str]) -> Guest:
    name = _name(item).removesuffix("-nic")
    is_gone = str(item.get("id", "")).lower() not in present
    return Guest(name, _address(item), is_gone, began.get(name, ""))


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


def _refusal(flow: Mapping[str, Any]) -> Refusal:
    port = f":{flow['port']}" if flow["port"] and flow["protocol"] != "dns" else ""
    place = flow["name"] if flow["protocol"] == "dns" else f"{flow['address']}{port}"
    target = f"{flow['name']} ({place})" if flow["name"] and flow["name"] != place else place
    return Refusal(
        time=str(flow["time"]),
        vm=str(flow["vm"]),
        step=str(flow["step"]),
        target=target,
        protocol=str(flow["protocol"]),
        packets=int(flow["packets_out"]),
        verdict=str(flow["verdict"]),
    )
