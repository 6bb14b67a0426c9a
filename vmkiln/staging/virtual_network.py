"""The virtual network of a run: two subnets that never share a link, no public IP address, one way out.

The container group's subnet may open connections to the build VM's port 22 (5986 for Windows), and the answers come
back; the build VM may open connections to the Internet, never to the host, other runs, private or link-local ranges.
Every run has a network of its own, so all of them use the same addresses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from vmkiln.host.network_namespace import Allowance, Egress, Network, Segment, forbidden_networks

ADDRESS_SPACE = "10.0.0.0/16"
SSH_PORT = 22
WINRM_PORT = 5986


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
    dns: IPv4Address
    forbidden: tuple[IPv4Network, ...]
    allowances: tuple[Allowance, ...]

    @property
    def network(self) -> Network:
        """The same in the kernel's words."""
        return Network(
            near=_segment("container", self.container_group_subnet),
            far=_segment("build", self.build_vm_subnet),
            egress=Egress(IPv4Interface("10.0.2.2/24"), IPv4Address("10.0.2.1"), self.dns),
            service_port=self.service_port,
            forbidden=self.forbidden,
            allowances=self.allowances,
        )


def _segment(bridge: str, subnet: Subnet) -> Segment:
    router = IPv4Interface(f"{subnet.router}/{subnet.prefix.prefixlen}")
    return Segment(bridge, subnet.tap, router, subnet.address, subnet.mac)


def decide(
    host_addresses: Sequence[IPv4Interface], *, is_windows: bool, allowances: Sequence[Allowance] = ()
) -> VirtualNetwork:
    """The network for a run on a host with these addresses; pure."""
    return VirtualNetwork(
        container_group_subnet=_subnet("container-group", 0, "tap-container"),
        build_vm_subnet=_subnet("build-vm", 1, "tap-build"),
        service_port=WINRM_PORT if is_windows else SSH_PORT,
        dns=IPv4Address("10.0.2.53"),
        forbidden=forbidden_networks(host_addresses),
        allowances=tuple(allowances),
    )


def _subnet(name: str, number: int, tap: str) -> Subnet:
    prefix = IPv4Network(f"10.0.{number}.0/24")
    # Azure gives the first usable address of a subnet as .4 (the first four and the last are reserved)
    return Subnet(name, prefix, prefix[1], prefix[4], f"02:00:0a:00:{number:02x}:04", tap)


def allowances_text(network: VirtualNetwork) -> list[str]:
    """What may pass, as sentences for the plan and the portal."""
    build, container = network.build_vm_subnet, network.container_group_subnet
    sentences = [
        f"{container.name} ({container.address}) -> {build.name} ({build.address}): TCP port {network.service_port}",
        f"{build.name} -> names: DNS at {network.dns} (answered by the host's resolver)",
    ]
    sentences += [
        f"{build.name} -> {item.network}: TCP {f'port {item.port}' if item.port else 'any port'} (allowed by setting)"
        for item in network.allowances
    ]
    denied = ", ".join(str(item) for item in network.forbidden)
    sentences.append(f"{build.name} -> Internet: any, except {denied}")
    sentences.append("everything else, in every direction: dropped and counted; no public IP address; no IPv6")
    return sentences
