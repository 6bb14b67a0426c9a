"""The virtual network of a run: two subnets that never share a link, no public IP address, one way out.

The container group's subnet may open connections to the build VM's port 22 (5986 for Windows), and the answers come
back; the build VM may open connections to the Internet, never to the host, other runs, private or link-local ranges.
Every run has a network of its own, so all of them use the same addresses; a user's subnets keep the user's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from vmkiln.host.egress.egress_policy import OPEN_EGRESS, EgressMode, EgressPolicy
from vmkiln.host.egress.policy_text import policy_sentence
from vmkiln.host.network.flow_bounds import DEFAULT_BOUNDS, FlowBounds
from vmkiln.host.network.network_namespace import (
    NO_USER_RULES,
    Allowance,
    Egress,
    Network,
    PrivateEndpoint,
    Segment,
    UserRules,
    forbidden_networks,
)
from vmkiln.staging.security_rule import INBOUND, OUTBOUND
from vmkiln.staging.topology import Topology, UserSubnets, own_block, taken_by
from vmkiln.staging.user_network import packet_rules

SSH_PORT = 22
WINRM_PORT = 5986
NETWORK = "Microsoft.Network"


@dataclass(frozen=True)
class Subnet:
    """One subnet with its one network interface: addresses in dotted form, MAC, tap name inside the namespace."""

    name: str
    prefix: IPv4Network
    router: IPv4Address
    address: IPv4Address
    mac: str
    tap: str

    @property
    def address_with_prefix(self) -> str:
        """The interface's address as `a.b.c.d/n`."""
        return f"{self.address}/{self.prefix.prefixlen}"


@dataclass(frozen=True)
class VirtualNetwork:
    """Both subnets and the rules between them; `service_port` is 22 or 5986."""

    container_group_subnet: Subnet
    build_vm_subnet: Subnet
    service_port: int
    egress: Egress
    forbidden: tuple[IPv4Network, ...]
    allowances: tuple[Allowance, ...]
    topology: Topology = Topology.OWN
    endpoint: PrivateEndpoint | None = None
    user_rules: UserRules = NO_USER_RULES
    egress_policy: EgressPolicy = OPEN_EGRESS
    bounds: FlowBounds = DEFAULT_BOUNDS

    @property
    def dns(self) -> IPv4Address:
        """Who answers names."""
        return self.egress.dns

    @property
    def target(self) -> IPv4Address:
        """Where the container group finds the build VM's service port."""
        return self.endpoint.address if self.endpoint else self.build_vm_subnet.address

    @property
    def gives_address(self) -> bool:
        """Whether the build VM is given its address by DHCP: a Windows is; a Linux finds it on its seed."""
        return self.service_port == WINRM_PORT

    @property
    def network(self) -> Network:
        """The same in the kernel's words."""
        return Network(
            near=_segment("container", self.container_group_subnet),
            far=_segment("build", self.build_vm_subnet),
            egress=self.egress,
            service_port=self.service_port,
            forbidden=self.forbidden,
            allowances=self.allowances,
            endpoint=self.endpoint,
            user_rules=self.user_rules,
            egress_policy=self.egress_policy,
            bounds=self.bounds,
            gives_address=self.gives_address,
        )


def _segment(bridge: str, subnet: Subnet) -> Segment:
    router = IPv4Interface(f"{subnet.router}/{subnet.prefix.prefixlen}")
    return Segment(bridge, subnet.tap, router, subnet.address, subnet.mac)


def decide(
    host_addresses: Sequence[IPv4Interface],
    *,
    is_windows: bool,
    allowances: Sequence[Allowance] = (),
    user_subnets: UserSubnets | None = None,
    egress_policy: EgressPolicy = OPEN_EGRESS,
    bounds: FlowBounds = DEFAULT_BOUNDS,
) -> VirtualNetwork:
    """The network for a run on a host with these addresses, in the user's subnets if there are any; pure."""
    first, second, third, _ = own_block(user_subnets).subnets(new_prefix=24)
    group, build = _subnet("container-group", first, "tap-container"), _subnet("build-vm", second, "tap-build")
    topology, endpoint = Topology.OWN, None
    if user_subnets:
        subnet = user_subnets.build_vm_subnet
        build = _subnet(subnet.name, subnet.prefix, "tap-build", address=user_subnets.build_vm)
        if user_subnets.container_group_subnet:
            topology = Topology.USER_SUBNETS
            group = _subnet(
                user_subnets.container_group_subnet.name, user_subnets.container_group_subnet.prefix, "tap-container"
            )
        else:
            topology = Topology.PRIVATE_ENDPOINT
            endpoint = PrivateEndpoint("endpoint", IPv4Interface((second[1], 24)), second[4], user_subnets.proxy)
    return VirtualNetwork(
        container_group_subnet=group,
        build_vm_subnet=build,
        service_port=service_port(is_windows=is_windows),
        egress=Egress(IPv4Interface((third[2], 24)), third[1], dns=third[53], upstream_dns=third[54]),
        forbidden=forbidden_networks(host_addresses, more=taken_by(user_subnets) if user_subnets else ()),
        allowances=tuple(allowances),
        topology=topology,
        endpoint=endpoint,
        user_rules=_user_rules(user_subnets) if user_subnets else NO_USER_RULES,
        egress_policy=egress_policy,
        bounds=bounds,
    )


def service_port(*, is_windows: bool) -> int:
    """The port that Packer logs in at."""
    return WINRM_PORT if is_windows else SSH_PORT


def _user_rules(user_subnets: UserSubnets) -> UserRules:
    network, build = user_subnets.network, user_subnets.build_vm_subnet
    # behind a private endpoint the connection to the build VM begins at the proxy, in the build VM's own subnet
    origin = user_subnets.container_group_subnet or build
    return UserRules(
        leaving=packet_rules(network, origin, OUTBOUND),
        arriving=packet_rules(network, build, INBOUND),
        outbound=packet_rules(network, build, OUTBOUND),
    )


def _subnet(name: str, prefix: IPv4Network, tap: str, *, address: IPv4Address | None = None) -> Subnet:
    # Azure gives the first usable address of a subnet as .4 (the first four and the last are reserved)
    own = address or prefix[4]
    mac = ":".join(f"{byte:02x}" for byte in (2, 0, *own.packed))
    return Subnet(name, prefix, prefix[1], own, mac, tap)


def resources_of(network: VirtualNetwork) -> list[tuple[str, str, dict[str, Any]]]:
    """What of the network is made in the staging resource group, as (type, name, detail); pure.

    Nothing when both VMs stand in the user's subnets. Source: docs/reference/isolated-builds.md#topologies.
    """
    if network.topology is Topology.USER_SUBNETS:
        return []
    group = network.container_group_subnet
    if (endpoint := network.endpoint) is None:
        subnets = {item.name: str(item.prefix) for item in (group, network.build_vm_subnet)}
        return [(f"{NETWORK}/{kind}", name, {"subnets": subnets}) for kind, name in OWN_NETWORK]
    subnets = {group.name: str(group.prefix), "private-endpoint": str(endpoint.router.network)}
    theirs = network.build_vm_subnet
    # the load balancer and the NAT of the private link service take the two addresses before the proxy's
    balancer, translation = endpoint.proxy - 2, endpoint.proxy - 1
    detail: tuple[tuple[str, str, dict[str, Any]], ...] = (
        *((kind, name, {"subnets": subnets}) for kind, name in OWN_NETWORK),
        ("loadBalancers", "aiblb", {"address": str(balancer), "subnet": theirs.name, "isInternal": True}),
        ("privateLinkServices", "aibpls", {"address": str(translation), "subnet": theirs.name}),
        ("networkInterfaces", "aibpls.nic", {"address": str(translation), "subnet": theirs.name}),
        ("privateEndpoints", "aibpe", {"address": str(endpoint.address), "port": network.service_port}),
        ("networkInterfaces", "aibpe.nic", {"address": str(endpoint.address), "subnet": "private-endpoint"}),
    )
    return [(f"{NETWORK}/{kind}", name, facts) for kind, name, facts in detail]


OWN_NETWORK = (("virtualNetworks", "vnet"), ("networkSecurityGroups", "nsg"))


def allowances_text(network: VirtualNetwork) -> list[str]:
    """What may pass, as sentences for the plan and the portal."""
    build, container = network.build_vm_subnet, network.container_group_subnet
    port = f"TCP port {network.service_port}"
    if network.endpoint:
        sentences = [
            f"{container.name} ({container.address}) -> private endpoint ({network.endpoint.address}): {port}",
            f"private endpoint -> {build.name} ({build.address}): {port}, from {network.endpoint.proxy}",
        ]
    else:
        sentences = [f"{container.name} ({container.address}) -> {build.name} ({build.address}): {port}"]
    sentences.append(f"{build.name} -> names: DNS at {network.dns} (the run's own resolver, which asks the host's)")
    if network.gives_address:
        sentences.append(f"{build.name} -> its address: DHCP at {build.router} (the run's own, for this VM alone)")
    mode = network.egress_policy.mode
    by_whom = "allowed by setting" if mode is EgressMode.OPEN else "allowed by setting, for names on the list"
    sentences += [
        f"{build.name} -> {item.network}: TCP {f'port {item.port}' if item.port else 'any port'} ({by_whom})"
        for item in network.allowances
        if mode is not EgressMode.NONE
    ]
    denied = ", ".join(str(item) for item in network.forbidden)
    match mode:
        case EgressMode.OPEN:
            sentences.append(f"{build.name} -> Internet: any, except {denied}")
        case EgressMode.ALLOW_LIST:
            sentences.append(f"{build.name} -> Internet: TCP by the name proxy, never to {denied}")
        case EgressMode.NONE:
            sentences.append(f"{build.name} -> Internet: nothing")
    sentences.append(policy_sentence(network.egress_policy))
    if ports := network.bounds.closed_ports:
        closed = ", ".join(str(port) for port in ports)
        sentences.append(
            f"{build.name} -> TCP port {closed} of anybody: closed, as the setting egress_closed_ports says"
        )
    if names := _rule_names(network.user_rules):
        sentences.append(f"of all that, only what your network security groups let through: {'; '.join(names)}")
    sentences.append("everything else, in every direction: dropped and counted; no public IP address; no IPv6")
    return sentences


def _rule_names(rules: UserRules) -> list[str]:
    """The user's rules by name, each once, in their order, with what they say."""
    parts = (*rules.leaving, *rules.arriving, *rules.outbound)
    return list(dict.fromkeys(f"{rule.name} ({'allow' if rule.is_allowed else 'deny'})" for rule in parts))


def topology_text(network: VirtualNetwork) -> str:
    """Where the two VMs stand, as a sentence."""
    build, container = network.build_vm_subnet, network.container_group_subnet
    match network.topology:
        case Topology.OWN:
            return "topology: a virtual network of the build's own, with a subnet for each of the two VMs"
        case Topology.PRIVATE_ENDPOINT:
            return (
                f"topology: the build VM in your subnet {build.name} ({build.prefix}), the container group in a "
                "virtual network of the build's own with a private endpoint between them"
            )
        case Topology.USER_SUBNETS:
            return (
                f"topology: the build VM in your subnet {build.name} ({build.prefix}), the container group in your "
                f"subnet {container.name} ({container.prefix}); no network is made"
            )
