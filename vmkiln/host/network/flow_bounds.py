"""How much of the way out one run may take, as rules; pure.

Every flow of a guest takes a socket of the host, and every flow by UDP a port of it, for as long as pasta remembers the
flow. So what opens is bounded, and what is open; beyond that, packets are dropped, and whoever sends again may have
more luck. The bounds are a run's own: its neighbours have theirs.
Sources: nft(8), "limit", "ct count"; pasta(1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from vmkiln.setting_texts.servers import ports_of
from vmkiln.settings import Settings

BURST_SECONDS = 5  # of new flows at once after a pause
BURST_PARTS = 10  # of a second's bytes
MOST_NEAR_A_SECOND = 100  # connections to the far guest that the near one opens; WinRM may open one for each call
MOST_NEAR_AT_ONCE = 256
PASTA_REMEMBERS_SECONDS = 180  # a datagram's socket on the host, since its last


@dataclass(frozen=True)
class FlowBounds:
    """What the far guest may take. `closed_ports` are TCP; `kbytes_per_second` holds each way, 0: no bound.

    Those that are `near` are of what the near guest opens to the far one: they take nothing of the host but its CPU and
    the kernel's table of connections, which all of the run share.
    """

    per_second: int = 100
    at_once: int = 1000
    udp_at_once: int = 250
    closed_ports: tuple[int, ...] = (25,)
    kbytes_per_second: int = 0
    near_per_second: int = MOST_NEAR_A_SECOND
    near_at_once: int = MOST_NEAR_AT_ONCE


DEFAULT_BOUNDS = FlowBounds()


def bounds_of(settings: Settings) -> FlowBounds:
    """What the operator set."""
    return FlowBounds(
        per_second=settings.egress_flows_a_second,
        at_once=settings.egress_flows_at_once,
        udp_at_once=settings.egress_udp_flows_at_once,
        closed_ports=ports_of(settings.egress_closed_ports),
        kbytes_per_second=settings.egress_kbytes_a_second,
    )


def opening_rules(bounds: FlowBounds, *, near: str, far: str) -> str:
    """Rules for whatever the guests on their links open, before it is remembered; a flood fills no table of the kernel.

    The near guest has its own: the container group is believed in nothing.
    """
    return _opening(far, bounds.per_second, bounds.at_once, "") + _opening(
        near, bounds.near_per_second, bounds.near_at_once, " of the near guest"
    )


def _opening(link: str, per_second: int, at_once: int, whose: str) -> str:
    new = f'    iifname "{link}" ct state new'
    burst = per_second * BURST_SECONDS
    return (
        f"{new} limit rate over {per_second}/second burst {burst} packets counter drop "
        f'comment "too many new flows{whose}"\n'
        f'{new} ct count over {at_once} counter drop comment "too many flows at once{whose}"\n'
    )


def leaving_rules(bounds: FlowBounds, link: str, egress: str) -> str:
    """Rules for flows that leave: ports that stay closed, and the ports of the host that UDP takes."""
    out = f'    iifname "{link}" oifname "{egress}" ct state new'
    ports = ", ".join(str(port) for port in bounds.closed_ports)
    closed = f'{out} tcp dport {{ {ports} }} counter reject with icmpx type admin-prohibited comment "closed ports"\n'
    return (closed if ports else "") + (
        f'{out} meta l4proto udp ct count over {bounds.udp_at_once} counter drop comment "too many UDP flows at once"\n'
    )


def rate_rules(bounds: FlowBounds, link: str, egress: str) -> str:
    """Rules for how many bytes a second go each way; none when there is no bound."""
    if not bounds.kbytes_per_second:
        return ""
    burst = max(64, bounds.kbytes_per_second // BURST_PARTS)
    over = f"limit rate over {bounds.kbytes_per_second} kbytes/second burst {burst} kbytes counter drop"
    return (
        f'    iifname "{link}" oifname "{egress}" {over} comment "too many bytes out"\n'
        f'    iifname "{egress}" oifname "{link}" {over} comment "too many bytes in"\n'
    )


def sysctl_values() -> Mapping[str, str]:
    """A datagram's flow is remembered as long as pasta remembers it, so that the bound is one of the host's ports."""
    seconds = str(PASTA_REMEMBERS_SECONDS)
    return {
        "net/netfilter/nf_conntrack_udp_timeout": seconds,
        "net/netfilter/nf_conntrack_udp_timeout_stream": seconds,
    }
