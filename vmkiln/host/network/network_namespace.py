"""The network of one run, described: bridges, taps, addresses and the firewall between them; pure.

Two segments that never share a link, and one leg out:

    segment "near" ── router (this namespace) ── segment "far"
                            │
                         egress (pasta, outside)

A guest on the near segment may open connections to one port of the guest on the far segment, and nothing else.
The guest on the far segment may open connections out through the egress leg, never to a forbidden range; it may not
open one to the near segment, and nothing may open one to it from outside. Everything else is dropped and counted.

Two additions for networks that a user brings: a private endpoint is an address on a third segment that stands for the
far guest's one port, and hides where a connection comes from; and a user's own rules are asked, too. Those only take
away: their chains drop or return, and never accept.
Sources: nft(8), ip-link(8), RFC 6890 (special-purpose addresses).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from vmkiln.host.egress.egress_policy import OPEN_EGRESS, EgressMode, EgressPolicy
from vmkiln.host.network import egress_rules, flow_bounds
from vmkiln.host.network.egress_rules import EGRESS_INTERFACE, GuardedEgress
from vmkiln.host.network.flow_bounds import DEFAULT_BOUNDS, FlowBounds
from vmkiln.host.network.packet_rule import PacketRule, chain_text
from vmkiln.host.network.special_addresses import FORBIDDEN_NETWORKS

SOURCE_PORTS = "32768-60999"  # the kernel's own range for ports that nobody asked for (ip_local_port_range)


@dataclass(frozen=True)
class Segment:
    """One L2 segment with exactly one guest: the bridge's name, the router's address, the guest's address and MAC."""

    bridge: str
    tap: str
    router: IPv4Interface
    guest: IPv4Address
    guest_mac: str


@dataclass(frozen=True)
class Egress:
    """The leg out: our address and the gateway on it, and the addresses that answer names.

    Guests ask `dns`, which is the run's own resolver; it asks `upstream_dns`, which pasta forwards to the host's.
    """

    address: IPv4Interface
    gateway: IPv4Address
    dns: IPv4Address
    upstream_dns: IPv4Address


@dataclass(frozen=True)
class Allowance:
    """A destination the far guest may reach although it is in a forbidden range; `port` 0 means any TCP port."""

    network: IPv4Network
    port: int = 0


@dataclass(frozen=True)
class PrivateEndpoint:
    """An address on a segment of its own that leads to the far guest's service port, and nowhere else.

    The far guest sees such a connection come from `proxy`, an address of its own segment.
    """

    bridge: str
    router: IPv4Interface
    address: IPv4Address
    proxy: IPv4Address


@dataclass(frozen=True)
class UserRules:
    """A user's own rules for what the walls let through. Those without rules let everything pass.

    `leaving` are asked for a connection to the far guest where it begins, `arriving` where it ends (there it has the
    address of the private endpoint's proxy); `outbound` for what the far guest opens to the Internet.
    """

    leaving: tuple[PacketRule, ...] = ()
    arriving: tuple[PacketRule, ...] = ()
    outbound: tuple[PacketRule, ...] = ()


NO_USER_RULES = UserRules()


@dataclass(frozen=True)
class Network:
    """The whole network of a run. `service_port` is the one TCP port the near guest may reach on the far guest.

    One that `gives_address` answers the far guest's DHCP; in any other nobody does.
    """

    near: Segment
    far: Segment
    egress: Egress
    service_port: int
    forbidden: tuple[IPv4Network, ...]
    allowances: tuple[Allowance, ...] = ()
    endpoint: PrivateEndpoint | None = None
    user_rules: UserRules = NO_USER_RULES
    egress_policy: EgressPolicy = OPEN_EGRESS
    bounds: FlowBounds = DEFAULT_BOUNDS
    gives_address: bool = False


def ip_batch(network: Network) -> str:
    """The links and addresses as `ip -batch` lines; taps belong to id 0 inside, so QEMU needs no privilege."""
    lines = ["link set dev lo up"]
    for segment in (network.near, network.far):
        lines += [
            f"link add name {segment.bridge} type bridge mcast_snooping 0",
            f"address add {segment.router} dev {segment.bridge}",
            f"tuntap add dev {segment.tap} mode tap user 0",
            f"link set dev {segment.tap} master {segment.bridge}",
            f"link set dev {segment.tap} up",
            f"link set dev {segment.bridge} up",
        ]
    lines.append(f"address add {network.egress.dns}/32 dev {network.far.bridge}")
    if endpoint := network.endpoint:
        lines += [
            f"link add name {endpoint.bridge} type bridge mcast_snooping 0",
            f"address add {endpoint.router} dev {endpoint.bridge}",
            f"address add {endpoint.address}/32 dev {endpoint.bridge}",
            f"link set dev {endpoint.bridge} up",
            f"address add {endpoint.proxy}/32 dev {network.far.bridge}",
        ]
    return "\n".join(lines) + "\n"


def sysctl_values() -> dict[str, str]:
    """Kernel settings of the namespace: route IPv4, no IPv6 at all, strict reverse path; the resolver may have port 53.

    Written before any link exists, for a link takes its own settings from `default`.
    """
    return {
        "net/ipv4/ip_forward": "1",
        "net/ipv6/conf/all/disable_ipv6": "1",
        "net/ipv6/conf/default/disable_ipv6": "1",
        "net/ipv4/conf/all/rp_filter": "1",
        "net/ipv4/ip_unprivileged_port_start": "53",
        **flow_bounds.sysctl_values(),
        "net/netfilter/nf_conntrack_acct": "1",
        "net/netfilter/nf_conntrack_timestamp": "1",
    }


def firewall(network: Network, *, resolver: int, proxy: int, addresses: int = 0) -> str:
    """The rules as one `nft -f` document; each rule has a counter and a comment that says what it is for.

    `resolver`, `proxy` and `addresses` are the ids, inside, that the resolver, the name proxy and who gives the far
    guest its address run as. The first two alone may ask for names outside, over UDP only, for not every pasta forwards
    TCP to its name server's address, and one that does not would connect to whoever has that address in the host's own
    network. Source ports are made anew on the way out, for pasta binds the same port of the host for UDP: a guest must
    not choose which. What is forbidden is so for what goes on, too: the host gets addresses while a run is on
    (`host_watch`). Questions to the resolver by UDP are not remembered, for it has limits of its own.
    """
    near, far, egress = network.near, network.far, network.egress
    forbidden = ", ".join(str(item) for item in sorted(_collapsed(network.forbidden)))
    is_through_endpoint = "ct status dnat " if network.endpoint else ""
    way = GuardedEgress(
        far.bridge,
        network.egress_policy,
        egress.upstream_dns,
        proxy,
        tuple((item.network, item.port) for item in network.allowances),
    )
    outbound = network.user_rules.outbound
    asks_outbound = _jump(f'iifname "{far.bridge}" oifname "{EGRESS_INTERFACE}"', "outbound", outbound)
    asks_proxied = _jump(f'oifname "{EGRESS_INTERFACE}" meta skuid {proxy}', "proxied", outbound)
    asked, untracked, taken, given = _address_rules(network, addresses)
    return f"""table inet vmkiln {{
  set forbidden {{
    type ipv4_addr
    flags interval
    auto-merge
    elements = {{ {forbidden} }}
  }}
{egress_rules.REFUSED_SET}  chain spoofing {{
    type filter hook prerouting priority -300; policy accept;
    iifname "{near.bridge}" ether saddr != {near.guest_mac} counter drop comment "near guest with a false MAC"
    iifname "{near.bridge}" ip saddr != {near.guest} counter drop comment "near guest with a false address"
    iifname "{far.bridge}" ether saddr != {far.guest_mac} counter drop comment "far guest with a false MAC"
{asked}    iifname "{far.bridge}" ip saddr != {far.guest} counter drop comment "far guest with a false address"
    meta protocol ip6 counter drop comment "no IPv6"
    iifname "{far.bridge}" ip daddr {egress.dns} udp dport 53 notrack
  }}
  chain answers {{
    type filter hook output priority -300; policy accept;
    oifname "{far.bridge}" ip saddr {egress.dns} udp sport 53 notrack
{untracked}  }}
  chain opening {{
    type filter hook prerouting priority -150; policy accept;
{flow_bounds.opening_rules(network.bounds, near=near.bridge, far=far.bridge)}  }}
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname "{far.bridge}" ip daddr {egress.dns} meta l4proto {{ tcp, udp }} th dport 53 counter accept comment "names"
    iifname "{EGRESS_INTERFACE}" ip saddr {egress.upstream_dns} udp sport 53 ct state established counter accept comment "answers to the resolver"
{egress_rules.into_the_proxy(way)}{taken}    counter comment "to the router itself"
  }}
  chain output {{
    type filter hook output priority 0; policy drop;
    icmp type destination-unreachable counter accept comment "refusals"
    oifname "{far.bridge}" ip saddr {egress.dns} meta l4proto {{ tcp, udp }} th sport 53 ct state established,untracked counter accept comment "answers of the resolver"
    oifname "{EGRESS_INTERFACE}" ip daddr {egress.upstream_dns} udp dport 53 meta skuid {resolver} counter accept comment "questions of the resolver"
{given}{egress_rules.out_of_the_proxy(way, asks_proxied)}  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ct state invalid counter drop comment "answers to nothing"
{egress_rules.refused(way, asks_outbound)}{flow_bounds.rate_rules(network.bounds, far.bridge, EGRESS_INTERFACE)}    ct state established,related counter accept comment "replies"
    iifname "{near.bridge}" oifname "{far.bridge}" {is_through_endpoint}ip daddr {far.guest} tcp dport {network.service_port} counter accept comment "near guest to far guest"
{egress_rules.routed(way, network.bounds)}    counter reject with icmpx type admin-prohibited comment "everything else"
  }}
  chain translation {{
    type nat hook postrouting priority 100; policy accept;
    oifname "{EGRESS_INTERFACE}" meta l4proto {{ tcp, udp }} counter masquerade to :{SOURCE_PORTS} fully-random comment "ports"
    oifname "{EGRESS_INTERFACE}" counter masquerade comment "other protocols"
  }}
{egress_rules.turned(way)}{_endpoint_chains(network)}{_user_chains(network)}}}
"""  # noqa: E501 (one rule, one line)


def _address_rules(network: Network, addresses: int) -> tuple[str, str, str, str]:
    """DHCP between the far guest and who gives it its address: as it has none yet, untracked, in, and out."""
    if not network.gives_address:
        return "", "", "", ""
    far = network.far.bridge
    asking = "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67"
    answer = f'oifname "{far}" udp sport 67 udp dport 68'
    own = f"ip saddr {network.far.router.ip}"
    return (
        f'    iifname "{far}" {asking} counter notrack accept comment "far guest without an address yet"\n'
        f'    iifname "{far}" {own} udp sport 67 udp dport 68 counter drop comment "copies of own answers"\n',
        f"    {answer} notrack\n",
        f'    iifname "{far}" udp sport 68 udp dport 67 counter accept comment "requests for an address"\n',
        f'    {answer} meta skuid {addresses} counter accept comment "address of the far guest"\n',
    )


def _endpoint_chains(network: Network) -> str:
    """The private endpoint: its one port becomes the far guest's, and the near guest becomes the proxy."""
    if (endpoint := network.endpoint) is None:
        return ""
    near, far, port = network.near, network.far, network.service_port
    return f"""  chain endpoint {{
    type nat hook prerouting priority -100; policy accept;
    iifname "{near.bridge}" ip daddr {endpoint.address} tcp dport {port} counter dnat ip to {far.guest}:{port} comment "private endpoint"
  }}
  chain proxy {{
    type nat hook postrouting priority 100; policy accept;
    oifname "{far.bridge}" ip daddr {far.guest} tcp dport {port} counter snat ip to {endpoint.proxy} comment "proxy"
  }}
"""  # noqa: E501 (one rule, one line)


def _user_chains(network: Network) -> str:
    """The user's own rules. Those for arriving are asked after the proxy's address is in the packet (priority 100)."""
    rules = network.user_rules
    to_far = f'oifname "{network.far.bridge}"'
    chains = [chain_text(f"user_{name}", getattr(rules, name)) for name in ("leaving", "arriving")]
    match network.egress_policy.mode:
        case EgressMode.OPEN:
            chains.append(chain_text("user_outbound", rules.outbound))
        case EgressMode.ALLOW_LIST if rules.outbound:
            of_the_guest = egress_rules.proxied(rules.outbound, network.far.guest)
            chains.append(chain_text("user_proxied", of_the_guest) or "  chain user_proxied {\n  }\n")
    jumps = _jump(to_far, "leaving", rules.leaving) + _jump(to_far, "arriving", rules.arriving)
    if jumps:
        chains.append(
            f"  chain arrival {{\n    type filter hook postrouting priority 150; policy accept;\n{jumps}  }}\n"
        )
    return "".join(chains)


def _jump(match: str, name: str, rules: Sequence[PacketRule]) -> str:
    """The rule that asks a chain of the user's about new connections; nothing when there are no rules."""
    return f'    {match} ct state new counter jump user_{name} comment "rules of the user: {name}"\n' if rules else ""


def _collapsed(networks: Sequence[IPv4Network]) -> list[IPv4Network]:
    kept: list[IPv4Network] = []
    for network in sorted(set(networks), key=lambda item: item.prefixlen):
        if not any(network.subnet_of(wider) for wider in kept):
            kept.append(network)
    return kept


def forbidden_networks(
    host_addresses: Sequence[IPv4Interface], *, more: Sequence[IPv4Network] = ()
) -> tuple[IPv4Network, ...]:
    """Every range the far guest may not reach: the special ones, each address and link of the host, and `more`."""
    own = [IPv4Network(f"{interface.ip}/32") for interface in host_addresses]
    links = [interface.network for interface in host_addresses if interface.network.prefixlen > 0]
    return tuple(sorted(_collapsed([*FORBIDDEN_NETWORKS, *own, *links, *more])))


def pasta_arguments(egress: Egress, *, program: str, network_path: str) -> list[str]:
    """pasta's arguments: attached to the namespace from outside, forwards nothing inbound in either direction.

    It is in the run's user namespace already. Source: pasta(1). `--no-map-gw` keeps the gateway's address from meaning
    the host's loopback.
    """
    return [
        program,
        "--foreground",
        "--quiet",
        "--config-net",
        "--ipv4-only",
        "--no-map-gw",
        "--no-dhcp", "--no-ndp", "--no-ra",
        "--tcp-ports", "none", "--udp-ports", "none",
        "--tcp-ns", "none", "--udp-ns", "none",
        "--ns-ifname", EGRESS_INTERFACE,
        "--address", str(egress.address.ip),
        "--netmask", str(egress.address.network.prefixlen),
        "--gateway", str(egress.gateway),
        "--dns-forward", str(egress.upstream_dns),
        "--netns-only", "--no-netns-quit",
        "--netns", network_path,
    ]  # fmt: skip
