"""Where the two VMs of a build stand: in a network of the run's own, or in subnets of a user's; pure.

Source: docs/reference/image-template.md#vm-profile; docs/reference/isolated-builds.md#topologies, #networks-of-users.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from vmkiln.azure_names import CONTAINER_GROUP
from vmkiln.errors import InputError
from vmkiln.host.network.packet_rule import Connection, deciding_rule
from vmkiln.host.network.special_addresses import FORBIDDEN_NETWORKS
from vmkiln.staging.security_rule import INBOUND, OUTBOUND, Direction
from vmkiln.staging.user_network import LOAD_BALANCER, UserSubnet, UserVirtualNetwork, packet_rules
from vmkiln.template.vm_profile import VirtualNetworkConfig

RESERVED = 5  # Azure keeps the first four addresses of a subnet and the last
PRIVATE_LINK_PORTS = {22: 60001, 5986: 60000}
# what of the forbidden ranges Azure lets users have
PRIVATE_RANGES = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "192.0.0.0/24", "198.18.0.0/15")
# one of these holds the run's own subnets and its leg out: the first that the user's network leaves free
OWN_BLOCKS = tuple(
    IPv4Network(text)
    for text in ("10.0.0.0/22", "172.31.252.0/22", "192.168.252.0/22", "100.127.252.0/22", "198.19.252.0/22")
)
FIELD = "properties.vmProfile.vnetConfig"


class Topology(StrEnum):
    """OWN: a network of the run's own. PRIVATE_ENDPOINT: the build VM in a user's subnet, the container group behind
    a private endpoint. USER_SUBNETS: both in subnets of the user's."""

    OWN = "own"
    PRIVATE_ENDPOINT = "private-endpoint"
    USER_SUBNETS = "user-subnets"


@dataclass(frozen=True)
class UserSubnets:
    """The user's network with the subnet of the build VM, and the container group's unless that has a private endpoint.

    The four addresses of a private endpoint's other side are taken as Azure would: load balancer, NAT address of the
    private link service, proxy, build VM.
    """

    network: UserVirtualNetwork
    build_vm_subnet: UserSubnet
    container_group_subnet: UserSubnet | None = None

    @property
    def build_vm(self) -> IPv4Address:
        """The build VM's address."""
        return self.build_vm_subnet.prefix[4 if self.container_group_subnet else 7]

    @property
    def proxy(self) -> IPv4Address:
        """Whom the build VM sees connecting, when there is a private endpoint."""
        return self.build_vm_subnet.prefix[6]


def network_id_of(subnet_id: str) -> str:
    """The id, in lower case, of the virtual network that a subnet belongs to."""
    return subnet_id.lower().rpartition("/subnets/")[0]


def user_subnets_of(
    config: VirtualNetworkConfig, virtual_networks: Mapping[str, UserVirtualNetwork], *, service_port: int
) -> UserSubnets | None:
    """The user's subnets that a template names; None when it names none.

    Raises: `InputError` with everything that would keep a build from working in them.
    """
    problems = subnet_problems(config, virtual_networks, service_port=service_port)
    if problems:
        raise InputError("; ".join(problems))
    return _user_subnets(config, virtual_networks)


def subnet_problems(
    config: VirtualNetworkConfig, virtual_networks: Mapping[str, UserVirtualNetwork], *, service_port: int
) -> tuple[str, ...]:
    """Why a build would not work in the subnets that a template names; each names its field."""
    if not config.subnet_id:
        return ()
    missing = tuple(_missing(config, virtual_networks))
    user_subnets = _user_subnets(config, virtual_networks)
    if missing or user_subnets is None:
        return missing
    return tuple(_unfit(user_subnets, service_port))


def _user_subnets(
    config: VirtualNetworkConfig, virtual_networks: Mapping[str, UserVirtualNetwork]
) -> UserSubnets | None:
    network = virtual_networks.get(network_id_of(config.subnet_id or ""))
    subnet = network.subnet(config.subnet_id or "") if network else None
    if network is None or subnet is None:
        return None
    return UserSubnets(network, subnet, network.subnet(config.container_instance_subnet_id or ""))


def _missing(config: VirtualNetworkConfig, virtual_networks: Mapping[str, UserVirtualNetwork]) -> Iterator[str]:
    for field, subnet_id in (
        ("subnetId", config.subnet_id),
        ("containerInstanceSubnetId", config.container_instance_subnet_id),
    ):
        if not subnet_id:
            continue
        network = virtual_networks.get(network_id_of(subnet_id))
        if network is None:
            yield f"{FIELD}.{field}: the virtual network of `{subnet_id}` is not known here"
        elif network.subnet(subnet_id) is None:
            names = ", ".join(item.name for item in network.subnets) or "none"
            yield f"{FIELD}.{field}: there is no subnet `{subnet_id}`; the virtual network's subnets: {names}"


def _unfit(user_subnets: UserSubnets, service_port: int) -> Iterator[str]:
    network, build, group = user_subnets.network, user_subnets.build_vm_subnet, user_subnets.container_group_subnet
    small = list(_too_small("subnetId", build, 1 if group else 4))
    small += _too_small("containerInstanceSubnetId", group, 1) if group else ()
    yield from small
    for service in build.delegations:
        yield f"{FIELD}.subnetId: `{build.name}` is delegated to {service}, so no VM can be in it"
    if group is None:
        if build.has_private_link_service_policies:
            yield (
                f"{FIELD}.subnetId: `{build.name}` has private link service network policies; set its "
                "privateLinkServiceNetworkPolicies to Disabled, or name a containerInstanceSubnetId"
            )
    else:
        if CONTAINER_GROUP.lower() not in {service.lower() for service in group.delegations}:
            yield f"{FIELD}.containerInstanceSubnetId: `{group.name}` is not delegated to {CONTAINER_GROUP}"
        if group.prefix.overlaps(build.prefix):
            yield f"{FIELD}.containerInstanceSubnetId: {group.prefix} overlaps {build.prefix} of `{build.name}`"
    taken = taken_by(user_subnets)
    allowed = [IPv4Network(text) for text in PRIVATE_RANGES]
    for special in FORBIDDEN_NETWORKS:
        if special not in allowed and any(special.overlaps(item) for item in taken):
            yield f"{FIELD}.subnetId: the address space of `{network.vnet_id}` has {special}, which no network may use"
    if not any(_is_free(block, taken) for block in OWN_BLOCKS):
        yield f"{FIELD}.subnetId: the address space of `{network.vnet_id}` leaves no room for the way out of a build"
    if not small:
        yield from _blocked(user_subnets, service_port)


def _too_small(field: str, subnet: UserSubnet, needed: int) -> Iterator[str]:
    free = subnet.prefix.num_addresses - RESERVED
    if free < needed:
        yield (
            f"{FIELD}.{field}: `{subnet.name}` ({subnet.prefix}) has {max(free, 0)} addresses to give, "
            f"and a build needs {needed}"
        )


def _blocked(user_subnets: UserSubnets, port: int) -> Iterator[str]:
    """Connections that a build needs and the user's rules do not let through."""
    network, build, group = user_subnets.network, user_subnets.build_vm_subnet, user_subnets.container_group_subnet
    if group is not None:
        to_build_vm = Connection("tcp", group.prefix[4], user_subnets.build_vm, port)
        needs = [
            ("containerInstanceSubnetId", group, OUTBOUND, to_build_vm),
            ("subnetId", build, INBOUND, to_build_vm),
        ]
    else:
        to_proxy = Connection("tcp", LOAD_BALANCER[0], user_subnets.proxy, PRIVATE_LINK_PORTS[port])
        to_build_vm = Connection("tcp", user_subnets.proxy, user_subnets.build_vm, port)
        needs = [
            ("subnetId", build, INBOUND, to_proxy),
            ("subnetId", build, OUTBOUND, to_build_vm),
            ("subnetId", build, INBOUND, to_build_vm),
        ]
    for field, subnet, direction, connection in needs:
        yield from _denied(network, field, subnet, direction, connection)


def _denied(
    network: UserVirtualNetwork, field: str, subnet: UserSubnet, direction: Direction, connection: Connection
) -> Iterator[str]:
    rule = deciding_rule(packet_rules(network, subnet, direction), connection)
    if rule is not None and not rule.is_allowed:
        source = "AzureLoadBalancer" if connection.source == LOAD_BALANCER[0] else str(connection.source)
        yield (
            f"{FIELD}.{field}: the network security group of `{subnet.name}` denies TCP port "
            f"{connection.destination_port} from {source} to {connection.destination} (rule {rule.name})"
        )


def taken_by(user_subnets: UserSubnets) -> tuple[IPv4Network, ...]:
    """Every range of the user's network."""
    return (*user_subnets.network.address_space, *(item.prefix for item in user_subnets.network.subnets))


def own_block(user_subnets: UserSubnets | None) -> IPv4Network:
    """The range that the run's own subnets and its leg out are taken from."""
    taken = taken_by(user_subnets) if user_subnets else ()
    return next(block for block in OWN_BLOCKS if _is_free(block, taken))


def _is_free(block: IPv4Network, taken: tuple[IPv4Network, ...]) -> bool:
    return not any(block.overlaps(item) for item in taken)
