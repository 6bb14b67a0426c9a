"""Teeth: whichever guard of the network is taken away, something becomes visible that was not.

A guard that stands behind another one is tried with that other one open. One that could be taken away without any
difference does not belong into the firewall, so a new guard without a trial here is an error.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import frames
import pytest
from guards import all_guards, without
from test_flow_bounds import BOUNDS
from test_near_flow_bounds import NEAR_BOUNDS
from test_network_isolation import (
    BUILD,
    BUILD_MAC,
    CONTAINER,
    CONTAINER_MAC,
    FALSE_MAC,
    GATEWAY,
    NAMES,
    PUBLIC,
    router_mac,
    sockets_of_the_host,
)
from world_client import Probe, World, world

__all__ = ["world"]  # the fixture

RUN = "one"
HOST = ["198.51.100.2/24", "203.0.113.99/32"]
Observe = Callable[[World], str]


def reach(start: str, protocol: str, target: str, port: int = 0) -> Observe:
    """How a probe ends."""
    return lambda world: world.probe([Probe(f"{start} {RUN}", protocol, target, port)], seconds=2).popitem()[1]


def stray(start: str, mac: str, packet: bytes, *, end: str, marks: Probe) -> Observe:
    """What of a single frame arrives at a node, before a mark sent after it on the same way."""

    def observe(world: World) -> str:
        world.forget_traffic()
        frame = frames.ethernet(router_mac(world, RUN, start), mac, packet)
        world.node(f"{start} {RUN}", "send", interface="eth0", frame=frame)
        world.probe([marks], seconds=2)
        return " ".join(text for text in world.arrived(end) if text.endswith(":4444"))

    return observe


def stray_out(mac: str, source: str) -> Observe:
    packet = frames.udp(source, PUBLIC, ports=(4444, 4444))
    return stray("build", mac, packet, end="internet", marks=Probe(f"build {RUN}", "tcp", PUBLIC, 80))


def stray_in(mac: str, source: str, *, flag: str = "S") -> Observe:
    """Segments with one flag, to the ssh port of the build VM, that arrive there."""
    packet = frames.tcp(source, BUILD, ports=(4444, 22), flags={"S": 2, "R": 4}[flag])

    def observe(world: World) -> str:
        world.forget_traffic()
        frame = frames.ethernet(router_mac(world, RUN, "container"), mac, packet)
        world.node(f"container {RUN}", "send", interface="eth0", frame=frame)
        world.probe([Probe(f"container {RUN}", "udp", BUILD, 80)], seconds=2)  # refused, in turn
        return " ".join(text for text in world.arrived(f"build {RUN}") if text.startswith(f"tcp {flag} "))

    return observe


def leaves(probe: Probe) -> Observe:
    """The source addresses with which a probe's packets leave on the egress leg."""

    def observe(world: World) -> str:
        with_ear(world)
        world.node(f"router {RUN}", "traffic")
        world.probe([probe], seconds=2)
        said = world.node(f"router {RUN}", "traffic")["said"]
        return " ".join(sorted({match.group(1) for text in said if (match := re.search(r"(\S+) > " + PUBLIC, text))}))

    return observe


def leaves_as(packet: bytes) -> Observe:
    """What of a single packet goes out on the egress leg, of other protocols than the mark that follows it."""

    def observe(world: World) -> str:
        with_ear(world)
        world.node(f"router {RUN}", "traffic")
        frame = frames.ethernet(router_mac(world, RUN, "build"), BUILD_MAC, packet)
        world.node(f"build {RUN}", "send", interface="eth0", frame=frame)
        world.probe([Probe(f"build {RUN}", "tcp", PUBLIC, 80)])
        said = world.node(f"router {RUN}", "traffic")["said"]
        return " ".join(text for text in said if not text.startswith("tcp "))

    return observe


def with_ear(world: World) -> None:
    world.ask("node_inside", name=RUN)
    world.node(f"router {RUN}", "watch", interface="egress")


def escaped(protocol: str, target: str, port: int) -> Observe:
    """A probe from inside the router's own network namespace."""

    def observe(world: World) -> str:
        world.ask("node_inside", name=RUN)
        return reach("router", protocol, target, port)(world)

    return observe


def chosen_port(world: World) -> str:
    """Whether a guest's datagram leaves from the port that the guest chose, which older pastas open on the host."""
    with_ear(world)
    world.node(f"router {RUN}", "traffic")
    frame = frames.udp(BUILD, PUBLIC, ports=(5353, 80))
    mac = router_mac(world, RUN, "build")
    world.node(f"build {RUN}", "send", interface="eth0", frame=frames.ethernet(mac, BUILD_MAC, frame))
    world.probe([Probe(f"build {RUN}", "udp", PUBLIC, 80)])
    return "5353" if 5353 in world.node(f"router {RUN}", "traffic")["ports"] else "another"


def ipv6_echo(world: World) -> str:
    world.inside(RUN, "ip", "address", "replace", "fd00::1/64", "dev", "build", "nodad")
    return reach("build", "icmp", "fd00::1")(world)


def ipv6_links(world: World) -> str:
    """Links inside that have an IPv6 address, and global addresses."""
    words = world.inside(RUN, "ip", "-6", "-oneline", "address").split()
    links = [link for link in ("lo", *LINKS.split()) if link in words]
    return " ".join([*links, *(word for word in words if word.startswith("2001:db8:"))])


def host_port(protocol: str) -> Observe:
    """Whether pasta opens a port of the host for the inside."""

    def observe(world: World) -> str:
        sockets = sockets_of_the_host(world)
        return "listens" if any(text.startswith(protocol) and text.endswith(":9999") for text in sockets) else ""

    return observe


def inner_listeners(protocol: str) -> Observe:
    """Whether ports of the host appear inside."""

    def observe(world: World) -> str:
        lines = world.inside(RUN, "ss", "-Hltun").splitlines()
        return "listens" if any(line.startswith(protocol) and ":80 " in line for line in lines) else ""

    return observe


def lease(world: World) -> str:
    """Whether a DHCP server answers on the egress leg."""
    with_ear(world)
    found = re.search(r"link/ether (\S+)", world.inside(RUN, "ip", "link", "show", "egress"))
    assert found is not None
    mac = bytes.fromhex(found.group(1).replace(":", ""))
    head = b"\1\1\6\0" + b"\0\0\0\1" + b"\0" * 20 + mac.ljust(16, b"\0") + b"\0" * 192
    data = head + b"\x63\x82\x53\x63" + b"\x35\1\1\xff"
    packet = frames.udp("0.0.0.0", "255.255.255.255", ports=(68, 67), data=data)
    frame = frames.ethernet(frames.BROADCAST, found.group(1), packet)
    world.node(f"router {RUN}", "send", interface="egress", frame=frame)
    world.probe([Probe(f"build {RUN}", "tcp", PUBLIC, 80)])
    return " ".join(text for text in world.node(f"router {RUN}", "traffic")["seen"] if text.endswith(":68"))


@dataclass(frozen=True)
class Trial:
    """What is observed with the guard and without it; `opened` are guards taken away in both cases.

    `is_fresh`: the kernel remembers talks, so each case needs a run of its own."""

    observe: Observe
    guarded: str
    unguarded: str
    opened: tuple[str, ...] = ()
    is_fresh: bool = False
    sysctls: dict[str, str] = field(default_factory=dict)


def address(element: str, target: str, *, who: str = "internet") -> dict[str, Trial]:
    return {f"forbidden {element}": Trial(reach("build", "tcp", target, 80), "unreachable", f"open {who}")}


LINKS = "container tap-container build tap-build egress"
IPV6_ON = {"net/ipv6/conf/all/disable_ipv6": "0", "net/ipv6/conf/default/disable_ipv6": "0"}
PING = Probe(f"build {RUN}", "icmp", PUBLIC)
TRIALS: dict[str, Trial] = {
    "near guest with a false MAC": Trial(stray_in(FALSE_MAC, CONTAINER), "", f"tcp S {CONTAINER} > {BUILD}:22"),
    "near guest with a false address": Trial(stray_in(CONTAINER_MAC, "10.0.0.5"), "", f"tcp S 10.0.0.5 > {BUILD}:22"),
    "far guest with a false MAC": Trial(stray_out(FALSE_MAC, BUILD), "", f"udp 198.51.100.2 > {PUBLIC}:4444"),
    "far guest with a false address": Trial(stray_out(BUILD_MAC, "10.0.1.5"), "", f"udp 198.51.100.2 > {PUBLIC}:4444"),
    "no IPv6": Trial(ipv6_echo, "silent", "open", ("policy input", "policy output"), sysctls=IPV6_ON),
    "policy input": Trial(reach("build", "icmp", "10.0.1.1"), "silent", "open", ("policy output",)),
    "policy output": Trial(escaped("tcp", PUBLIC, 80), "silent", "open internet", ("policy input",)),
    "refusals": Trial(reach("build", "tcp", "192.168.77.1", 80), "unreachable", "silent"),
    "answers to nothing": Trial(stray_in(CONTAINER_MAC, CONTAINER, flag="R"), "", f"tcp R {CONTAINER} > {BUILD}:22"),
    "replies": Trial(reach("container", "tcp", BUILD, 22), f"open build {RUN}", "silent"),
    "near guest to far guest": Trial(reach("container", "tcp", BUILD, 22), f"open build {RUN}", "unreachable"),
    "names": Trial(reach("build", "names", NAMES, 53), "open internet", "silent"),
    "answers of the resolver": Trial(reach("build", "names", NAMES, 53), "open internet", "silent"),
    "questions of the resolver": Trial(reach("build", "names", NAMES, 53), "open internet", "silent"),
    "answers to the resolver": Trial(reach("build", "names", NAMES, 53), "open internet", "silent"),
    "host, private and link-local": Trial(reach("build", "udp", "10.77.0.1", 80), "unreachable", "open internet"),
    "closed ports": Trial(reach("build", "tcp", PUBLIC, 25), "unreachable", "open internet"),
    "control messages but echo requests": Trial(
        leaves_as(frames.icmp(BUILD, PUBLIC, kind=13)), "", f"icmp 13/0 10.0.2.2 > {PUBLIC}"
    ),
    "far guest to the Internet": Trial(reach("build", "tcp", PUBLIC, 80), "open internet", "unreachable"),
    "everything else": Trial(reach("container", "tcp", PUBLIC, 80), "unreachable", "silent"),
    "policy forward": Trial(reach("container", "tcp", BUILD, 80), "silent", f"open build {RUN}", ("everything else",)),
    "ports": Trial(chosen_port, "another", "5353", is_fresh=True),
    "other protocols": Trial(leaves(PING), "10.0.2.2", BUILD),
    **address("0.0.0.0/8", "0.1.2.3"),
    **address("10.0.0.0/8", "10.77.0.1"),
    **address("100.64.0.0/10", "100.64.0.9"),
    **address("168.63.129.16/32", "168.63.129.16", who="host"),
    **address("169.254.0.0/16", "169.254.169.254", who="host"),
    **address("172.16.0.0/12", "172.17.0.1", who="host"),
    **address("192.0.0.0/24", "192.0.0.9"),
    **address("192.88.99.0/24", "192.88.99.9"),
    **address("192.168.0.0/16", "192.168.77.1"),
    **address("198.18.0.0/15", "198.18.0.9"),
    **address("198.51.100.0/24", "198.51.100.3", who="host"),
    **address("203.0.113.99/32", "203.0.113.99", who="host"),
    **address("240.0.0.0/4", "240.0.0.9"),
    "sysctl net/ipv4/ip_forward": Trial(reach("build", "tcp", PUBLIC, 80), "open internet", "silent"),
    "sysctl net/ipv4/conf/all/rp_filter": Trial(
        stray_out(BUILD_MAC, "8.8.8.8"), "", f"udp 198.51.100.2 > {PUBLIC}:4444", ("far guest with a false address",)
    ),
    "sysctl net/ipv6/conf/all/disable_ipv6": Trial(ipv6_links, "", "lo"),
    "sysctl net/ipv6/conf/default/disable_ipv6": Trial(ipv6_links, "", LINKS),
    "pasta --no-map-gw": Trial(
        reach("build", "tcp", GATEWAY, 80), "open internet", "open host", ("forbidden 10.0.0.0/8",)
    ),
    "pasta --tcp-ports": Trial(host_port("tcp"), "", "listens"),
    "pasta --udp-ports": Trial(host_port("udp"), "", "listens"),
    "pasta --tcp-ns": Trial(inner_listeners("tcp"), "", "listens"),
    "pasta --udp-ns": Trial(inner_listeners("udp"), "", "listens"),
    "pasta --no-dhcp": Trial(lease, "", f"udp {GATEWAY} > 10.0.2.2:68"),
    "pasta --ipv4-only": Trial(ipv6_links, f"lo {LINKS}", f"lo {LINKS} 2001:db8:1::2/64", sysctls=IPV6_ON),
}
LOOSE_PASTA: dict[str, str | None] = {
    "--tcp-ports": "9999",
    "--udp-ports": "9999",
    "--tcp-ns": "auto",
    "--udp-ns": "auto",
}
# the kernel itself never routes these from a link; they stand in the list for who reads it
BY_THE_KERNEL = {"forbidden 127.0.0.0/8": "127.0.0.1", "forbidden 224.0.0.0/4": "239.1.2.3"}
# IPv4 only means that neither of the first two is spoken; the last takes nothing away, the resolver needs it
IMPLIED = {"pasta --no-ndp", "pasta --no-ra", "sysctl net/ipv4/ip_unprivileged_port_start"}
IMPLIED |= {f"sysctl net/netfilter/nf_conntrack_{name}" for name in ("acct", "timestamp")}  # for the flow log


class Walls:
    """The run under trial, opened anew only for what cannot be changed while it stands."""

    def __init__(self, world: World, *, is_windows: bool = False) -> None:
        self.world = world
        self._is_windows = is_windows
        self._is_standing = False
        self._firewall = ""

    @contextmanager
    def loosened(self, trial: Trial, guards: tuple[str, ...]) -> Iterator[None]:
        """The run with guards taken away."""
        sysctls: dict[str, str] = dict(trial.sysctls)
        pasta: dict[str, str | None] = {}
        rules = []
        for guard in guards:
            kind, _, name = guard.partition(" ")
            if kind == "sysctl":
                sysctls[name] = "0"
            elif kind == "pasta":
                pasta[name] = LOOSE_PASTA.get(name)
            else:
                rules.append(guard)
        is_special = trial.is_fresh or bool(sysctls or pasta)
        if is_special:
            self.close()
        if not self._is_standing:
            opened = self.world.ask("open_run", name=RUN, sysctls=sysctls, pasta=pasta, is_windows=self._is_windows)
            self._firewall = opened["firewall"]
            self._is_standing = True
        self.world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + without(self._firewall, rules))
        yield
        if is_special:
            self.close()

    def close(self) -> None:
        """Close the run if it stands."""
        if self._is_standing:
            self.world.ask("close_run", name=RUN)
            self._is_standing = False


@pytest.fixture(scope="module")
def walls(world: World) -> Walls:
    """The walls of one run; the other run of the world stays as it is."""
    world.ask("close_run", name=RUN)
    return Walls(world)


def test_every_guard_has_a_test() -> None:
    assert all_guards(HOST) == TRIALS.keys() | BY_THE_KERNEL.keys() | IMPLIED | BOUNDS.keys() | NEAR_BOUNDS.keys()


@pytest.mark.parametrize("guard", TRIALS)
def test_a_guard_is_missed_when_it_is_gone(walls: Walls, guard: str) -> None:
    trial = TRIALS[guard]
    with walls.loosened(trial, trial.opened):
        assert trial.observe(walls.world) == trial.guarded
    with walls.loosened(trial, (*trial.opened, guard)):
        assert trial.observe(walls.world) == trial.unguarded


@pytest.mark.parametrize("guard", BY_THE_KERNEL)
def test_the_kernel_itself_does_not_route_these(walls: Walls, guard: str) -> None:
    world = walls.world
    with walls.loosened(Trial(chosen_port, "", "", is_fresh=True), (guard,)):
        with_ear(world)
        for packet in (
            frames.udp(BUILD, BY_THE_KERNEL[guard], ports=(4444, 80)),
            frames.tcp(BUILD, BY_THE_KERNEL[guard], ports=(4444, 80), flags=2),
        ):
            frame = frames.ethernet(router_mac(world, RUN, "build"), BUILD_MAC, packet)
            world.node(f"build {RUN}", "send", interface="eth0", frame=frame)
        world.probe([Probe(f"build {RUN}", "udp", PUBLIC, 80)])
        assert world.node(f"router {RUN}", "traffic")["said"] == [f"udp 10.0.2.2 > {PUBLIC}:80"]
