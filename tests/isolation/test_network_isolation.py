"""What the guests of a run can reach and who can reach them, tried from every side in a world of our own.

Every "cannot" stands beside a "can": the same target is first reached from where it should be.
"""

import re
from collections.abc import Iterable
from itertools import product

import frames
import pytest
from world import (
    HOST_ADDRESSES,
    HOST_IPV6,
    HOST_LOOPBACK,
    INTERNET,
    INTERNET_IPV6,
    RESOLVER,
    TCP_PORTS,
    UDP_PORTS,
)
from world_client import SILENCE_SECONDS, Probe, World, world

from vmkiln.host.egress.resolver_program import UPSTREAM_SOCKETS

__all__ = ["world"]  # the fixture

PUBLIC = "203.0.113.10"
CONTAINER, BUILD = "10.0.0.4", "10.0.1.4"
CONTAINER_MAC, BUILD_MAC = "02:00:0a:00:00:04", "02:00:0a:00:01:04"
NAMES, UPSTREAM = "10.0.2.53", "10.0.2.54"  # the resolver of the run, and what it asks
GATEWAY = "10.0.2.1"  # of the egress leg: for pasta this is the host's loopback, unless told otherwise
ROUTER = ["10.0.0.1", "10.0.1.1", "10.0.2.2"]
PRIVATE = [address for address in INTERNET if address not in {PUBLIC, RESOLVER}]
NOWHERE = {"unreachable", "silent"}
GUESTS = [f"{kind} {run}" for kind, run in product(("build", "container"), ("one", "two"))]


def tries(starts: Iterable[str], targets: Iterable[str]) -> list[Probe]:
    """Every protocol and port from every start to every target."""
    probes = []
    for start, target in product(starts, targets):
        probes += [Probe(start, "tcp", target, port) for port in TCP_PORTS]
        probes += [Probe(start, "udp", target, port) for port in UDP_PORTS]
        probes.append(Probe(start, "icmp", target))
    return probes


def router_mac(world: World, run: str, link: str) -> str:
    found = re.search(r"link/ether (\S+)", world.inside(run, "ip", "link", "show", link))
    assert found is not None
    return found.group(1)


def asked_for(packets: Iterable[str]) -> list[str]:
    """Of packets that arrived: those that open something, without answers to what the node itself began."""
    return [text for text in packets if re.match(r"tcp S |udp |icmp 8/|icmp 5/|ipv6 |protocol ", text)]


def test_every_target_is_alive_where_it_should_be(world: World) -> None:
    """The controls: whatever the guests must not reach is there, and answers those who may."""
    host = [*HOST_ADDRESSES, *HOST_LOOPBACK, HOST_IPV6]
    results = world.probe(tries(["host"], [*host, *INTERNET, *INTERNET_IPV6]))
    for probe, result in results.items():
        name = "host" if probe.target in host else "internet"
        assert result == ("open" if probe.protocol == "icmp" else f"open {name}"), probe
    from_lan = world.probe(tries(["internet"], ["198.51.100.2", "198.51.100.3", HOST_IPV6]))
    assert {result.removesuffix(" host") for result in from_lan.values()} == {"open"}


def test_build_vm_reaches_the_internet(world: World) -> None:
    results = world.probe(tries(["build one", "build two"], [PUBLIC]))
    assert {result for probe, result in results.items() if probe.protocol == "icmp"} == {"open"}
    assert {result for probe, result in results.items() if probe.protocol != "icmp"} == {"open internet"}


def test_build_vm_gets_names_from_the_resolver_of_the_host(world: World) -> None:
    world.forget_traffic()
    assert world.probe([probe := Probe("build one", "names", NAMES, 53)]) == {probe: "open internet"}
    asked = [text for text in asked_for(world.arrived("internet")) if text.endswith(":53")]
    assert asked == [f"udp 198.51.100.2 > {RESOLVER}:53"]


def test_names_are_answered_when_the_resolver_of_the_host_is_on_its_loopback(world: World) -> None:
    world.ask("open_run", name="local", resolver="127.0.0.53")
    try:
        assert world.probe([probe := Probe("build local", "names", NAMES, 53)]) == {probe: "open host"}
    finally:
        world.ask("close_run", name="local")


def test_the_resolvers_address_opens_nothing_but_names(world: World) -> None:
    """Neither the run's own resolver's, nor the one that it asks, which is pasta's; nor what is no question."""
    world.forget_traffic()
    probes = [probe for probe in tries(["build one"], [NAMES, UPSTREAM]) if (probe.port, probe.target) != (53, NAMES)]
    probes += [Probe("build one", "names", UPSTREAM, 53), Probe("build one", "udp", NAMES, 53)]
    assert set(world.probe(probes, seconds=SILENCE_SECONDS).values()) <= NOWHERE
    assert asked_for(world.arrived("internet")) == []


def test_build_vm_reaches_nothing_private_nor_the_host(world: World) -> None:
    """Host addresses, LAN, metadata, link-local, private ranges, the run's own router, the gateway that means host."""
    world.forget_traffic()
    targets = [*HOST_ADDRESSES, *PRIVATE, *ROUTER, GATEWAY]
    probes = [probe for probe in tries(["build one"], targets) if (probe.target, probe.port) != (NAMES, 53)]
    results = world.probe(probes, seconds=SILENCE_SECONDS)
    assert {probe: result for probe, result in results.items() if result not in NOWHERE} == {}
    assert asked_for(world.arrived("internet")) == []


def test_build_vm_cannot_send_to_loopback_addresses(world: World) -> None:
    """A kernel would not put 127.0.0.1 on a wire; a hostile guest may."""
    world.forget_traffic()
    router = router_mac(world, "one", "build")
    for target in ("127.0.0.1", "127.0.0.53", "0.0.0.0", "255.255.255.255", "10.0.1.255", "224.0.0.1", "239.1.2.3"):
        for packet in (
            frames.udp(BUILD, target, ports=(4500, 4500)),
            frames.tcp(BUILD, target, ports=(4500, 80), flags=2),
            frames.icmp(BUILD, target, kind=8),
        ):
            world.node("build one", "send", interface="eth0", frame=frames.ethernet(router, BUILD_MAC, packet))
    world.probe([Probe("build one", "udp", PUBLIC, 80)])
    assert asked_for(world.arrived("internet")) == [f"udp 198.51.100.2 > {PUBLIC}:80"]
    assert [text for text in world.arrived("build one") if text.startswith(("tcp", "icmp 0/"))] == []


def test_container_group_reaches_only_ssh_on_the_build_vm_of_its_own_run(world: World) -> None:
    world.forget_traffic()
    ports = sorted({*range(1, 200), *TCP_PORTS, 443, 2222, 3389, 5985, 32768, 60999, 65535})
    for run in ("one", "two"):
        start = f"container {run}"
        probes = [Probe(start, "tcp", BUILD, port) for port in ports]
        probes += [probe for probe in tries([start], [BUILD]) if probe.protocol != "tcp"]
        opened = {probe for probe, result in world.probe(probes, seconds=3).items() if result not in NOWHERE}
        assert opened == {Probe(start, "tcp", BUILD, 22)}
        assert world.probe([Probe(start, "tcp", BUILD, 22)]).popitem()[1] == f"open build {run}"
        assert set(asked_for(world.arrived(f"build {run}"))) == {f"tcp S {CONTAINER} > {BUILD}:22"}


def test_container_group_reaches_nothing_else(world: World) -> None:
    world.forget_traffic()
    probes = tries(["container one"], [PUBLIC, RESOLVER, *PRIVATE, *HOST_ADDRESSES, *ROUTER, GATEWAY, NAMES])
    results = world.probe(probes, seconds=SILENCE_SECONDS)
    assert {probe: result for probe, result in results.items() if result not in NOWHERE} == {}
    assert asked_for(world.arrived("internet")) == []


def test_build_vm_reaches_nothing_of_the_container_group(world: World) -> None:
    """Not from the port of ssh either, and no packet that only looks like an answer."""
    world.forget_traffic()
    probes = tries(["build one"], [CONTAINER])
    assert set(world.probe(probes, seconds=SILENCE_SECONDS).values()) <= NOWHERE
    router = router_mac(world, "one", "build")
    for flags in (1, 2, 4, 16, 18, 20):
        packet = frames.tcp(BUILD, CONTAINER, ports=(22, 99), flags=flags)
        world.node("build one", "send", interface="eth0", frame=frames.ethernet(router, BUILD_MAC, packet))
    for kind in (0, 3, 5, 8, 11, 13):
        packet = frames.icmp(BUILD, CONTAINER, kind=kind)
        world.node("build one", "send", interface="eth0", frame=frames.ethernet(router, BUILD_MAC, packet))
    # the positive control, and the mark that whatever was under way has arrived
    assert world.probe([probe := Probe("container one", "tcp", BUILD, 22)]) == {probe: "open build one"}
    arrived = world.arrived("container one")
    assert any(text.startswith(f"tcp SA {BUILD} > {CONTAINER}:") for text in arrived)
    assert [text for text in arrived if not text.startswith("tcp ") or text.endswith(":99")] == []


def test_no_packet_of_one_run_reaches_another(world: World) -> None:
    world.forget_traffic()
    targets = [BUILD, CONTAINER, *ROUTER, GATEWAY, *HOST_ADDRESSES]
    world.probe(tries(["build one", "container one"], targets), seconds=SILENCE_SECONDS)
    assert world.probe([probe := Probe("build one", "udp", PUBLIC, 80)]) == {probe: "open internet"}
    assert world.arrived("build two") == []
    assert world.arrived("container two") == []


def test_neither_the_host_nor_its_neighbours_reach_a_guest(world: World) -> None:
    world.forget_traffic()
    for start in ("host", "internet"):  # the host forwards, and the neighbour has a route over it
        targets = [BUILD, CONTAINER, *ROUTER]
        assert set(world.probe(tries([start], targets), seconds=SILENCE_SECONDS).values()) <= NOWHERE
    for name in GUESTS:
        assert world.arrived(name) == []


def test_no_socket_of_the_host_leads_to_a_guest_while_it_talks(world: World) -> None:
    """Pasta opens a port of the host for a guest's UDP: not one the guest chose, and nothing comes in by it.

    Older pastas leave it open to all, newer ones connect it to the partner of the talk.
    """
    plain = sockets_of_the_host(world, which="-Hatun")
    world.forget_traffic()
    assert world.probe([probe := Probe("build one", "udp", PUBLIC, 80, source=BUILD)]) == {probe: "open internet"}
    frame = frames.udp(BUILD, PUBLIC, ports=(5353, 80))
    router = router_mac(world, "one", "build")
    world.node("build one", "send", interface="eth0", frame=frames.ethernet(router, BUILD_MAC, frame))
    world.probe([Probe("build one", "udp", PUBLIC, 80)])
    opened = {
        text.rpartition(":")[2]
        for text in sockets_of_the_host(world, which="-Hatun") - plain
        if text.startswith("udp ")
    }
    assert opened
    assert "5353" not in opened
    assert all(32768 <= int(port) <= 60999 for port in opened)
    world.forget_traffic()
    world.probe(
        [
            Probe(start, "udp", target, int(port))
            for port in opened
            for start, target in (("host", "127.0.0.1"), ("internet", "198.51.100.2"))
        ],
        seconds=SILENCE_SECONDS,
    )
    assert world.arrived("build one") == []


def sockets_of_the_host(world: World, *, which: str = "-Hltun") -> set[str]:
    """What listens on the host, or could be sent to, as `protocol address:port`; `which` are options of ss(8)."""
    lines = str(world.ask("on_host", arguments=["ss", which])).splitlines()
    return {" ".join(line.split()[part] for part in (0, 4)) for line in lines}


def test_a_run_changes_nothing_that_listens_on_the_host(world: World) -> None:
    def listening() -> set[str]:  # a UDP socket of a talk that is still remembered listens to its partner only
        return {text for text in sockets_of_the_host(world) if not re.match(r"udp 0\.0\.0\.0:[3-6]\d{4}$", text)}

    before = listening()
    assert len(before) == (len(TCP_PORTS) + len(UDP_PORTS)) * len([*HOST_ADDRESSES, *HOST_LOOPBACK, HOST_IPV6])
    world.ask("open_run", name="three")
    assert world.probe([probe := Probe("build three", "tcp", PUBLIC, 80)]) == {probe: "open internet"}
    inside = {
        " ".join(line.split()[part] for part in (0, 4)) for line in world.inside("three", "ss", "-Hltun").splitlines()
    }
    asking = {text for text in inside if text.startswith("udp 0.0.0.0:")}
    assert inside - asking == {f"tcp {NAMES}:53", f"udp {NAMES}:53"}
    assert len(asking) == UPSTREAM_SOCKETS
    during = listening()
    world.ask("close_run", name="three")
    assert before == during == listening()


def test_there_is_no_ipv6_anywhere_in_a_run(world: World) -> None:
    """Neither for guests that set it up by themselves, nor after one of them plays the router."""
    world.forget_traffic()
    probes = tries(["build one", "container one"], [*INTERNET_IPV6, HOST_IPV6, "fd00::1", "::ffff:198.51.100.2"])
    for kind, mac in (("build", BUILD_MAC), ("container", CONTAINER_MAC)):
        router = router_mac(world, "one", kind)
        neighbour = ["ip", "neigh", "replace", "fd00::1", "lladdr", router, "dev", "eth0", "nud", "permanent"]
        world.node(f"{kind} one", "run", arguments=neighbour)
        offer = frames.router_advertisement("fe80::4", prefix="2001:db8:66::")
        frame = frames.ethernet("33:33:00:00:00:01", mac, offer, kind=0x86DD)
        world.node(f"{kind} one", "send", interface="eth0", frame=frame)
    assert set(world.probe(probes, seconds=SILENCE_SECONDS).values()) <= NOWHERE
    assert world.inside("one", "ip", "-6", "address") == ""
    assert world.inside("one", "ip", "-6", "route", "show", "table", "all") == ""
    for name in ("internet", *GUESTS):
        assert [text for text in world.arrived(name) if text.startswith("ipv6")] == []


FALSE_MAC = "02:00:0a:00:00:99"


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        (FALSE_MAC, BUILD),
        (CONTAINER_MAC, BUILD),
        (BUILD_MAC, "10.0.1.5"),
        (BUILD_MAC, CONTAINER),
        (BUILD_MAC, "10.0.1.1"),
        (BUILD_MAC, "10.0.2.2"),
        (BUILD_MAC, "198.51.100.2"),
        (BUILD_MAC, "127.0.0.1"),
        (BUILD_MAC, PUBLIC),
    ],
)
def test_a_build_vm_that_pretends_to_be_another_is_not_heard(world: World, mac: str, address: str) -> None:
    world.forget_traffic()
    router = router_mac(world, "one", "build")
    for source, origin in ((mac, address), (BUILD_MAC, BUILD)):
        port = 53 if (source, origin) == (BUILD_MAC, BUILD) else 4500
        packet = frames.udp(origin, PUBLIC, ports=(4500, port))
        world.node("build one", "send", interface="eth0", frame=frames.ethernet(router, source, packet))
    world.probe([Probe("build one", "udp", PUBLIC, 80)])
    heard = {text.rpartition(":")[2] for text in world.arrived("internet") if text.startswith("udp")}
    assert heard == {"53", "80"}  # the honest frame of the same make, and the mark


@pytest.mark.parametrize(
    ("mac", "address"),
    [(FALSE_MAC, CONTAINER), (BUILD_MAC, CONTAINER), (CONTAINER_MAC, "10.0.0.5"), (CONTAINER_MAC, BUILD)],
)
def test_a_container_group_that_pretends_to_be_another_is_not_heard(world: World, mac: str, address: str) -> None:
    world.forget_traffic()
    router = router_mac(world, "one", "container")
    for source, origin, port in ((mac, address, 4000), (CONTAINER_MAC, CONTAINER, 4001)):
        packet = frames.tcp(origin, BUILD, ports=(port, 22), flags=2)
        world.node("container one", "send", interface="eth0", frame=frames.ethernet(router, source, packet))
    world.probe([Probe("container one", "tcp", BUILD, 22)])
    heard = {text for text in world.arrived("build one") if text.startswith("tcp S ")}
    assert heard == {f"tcp S {CONTAINER} > {BUILD}:22"}


def test_a_program_that_escapes_into_the_runs_own_network_reaches_nothing(world: World) -> None:
    """What could be tried by a QEMU that its guest has taken over."""
    world.ask("node_inside", name="one")
    targets = ["127.0.0.1", PUBLIC, NAMES, GATEWAY, BUILD, CONTAINER, *ROUTER, *HOST_ADDRESSES]
    results = world.probe(tries(["router one"], targets), seconds=SILENCE_SECONDS)
    assert {probe: result for probe, result in results.items() if result not in NOWHERE} == {}


def test_an_allowance_opens_exactly_what_it_names(world: World) -> None:
    allowances = [("192.168.77.1/32", 80), ("10.77.0.1/32", 0)]
    world.ask("open_run", name="three", allowances=allowances)
    try:
        targets = [*PRIVATE, *HOST_ADDRESSES, *ROUTER]
        probes = [
            probe
            for probe in tries(["build three", "container three"], targets)
            if (probe.protocol, probe.target, probe.port) != ("udp", NAMES, 53)
        ]
        results = world.probe(probes, seconds=2)
        opened = {probe: result for probe, result in results.items() if result not in NOWHERE}
        named = [("192.168.77.1", 80), *(("10.77.0.1", port) for port in TCP_PORTS)]
        assert opened == {Probe("build three", "tcp", *target): "open internet" for target in named}
    finally:
        world.ask("close_run", name="three")
