"""How much of the host one run may take: its guest opens hundreds of flows, the bound holds, the neighbour goes on."""

from collections.abc import Iterator

import pytest
from guards import without
from test_network_isolation import NAMES, PUBLIC
from world_client import Probe, World, world

__all__ = ["world"]  # the fixture

RUN = "greedy"
TIGHT = {"per_second": 20, "at_once": 60, "udp_at_once": 30}
BURST = 5 * TIGHT["per_second"]
FLOOD = 400
AT_THE_SAME_TIME = 4  # packets on as many CPUs may each be taken for the last one that is allowed
# guards that are tried here: which others are open then, and how many flows of a flood there are at most and without
BOUNDS: dict[str, tuple[tuple[str, ...], int, int]] = {
    "too many UDP flows at once": ((), TIGHT["udp_at_once"], TIGHT["at_once"]),
    "too many flows at once": (("too many UDP flows at once",), TIGHT["at_once"], FLOOD - 1),
    "too many new flows": (("too many UDP flows at once", "too many flows at once"), FLOOD * 2 // 3, FLOOD),
    "sysctl net/netfilter/nf_conntrack_udp_timeout": ((), 0, 0),
    "sysctl net/netfilter/nf_conntrack_udp_timeout_stream": ((), 0, 0),
}


@pytest.fixture
def firewall(world: World) -> Iterator[str]:
    """The firewall's text of a run with tight bounds."""
    yield world.ask("open_run", name=RUN, bounds=TIGHT)["firewall"]
    world.ask("close_run", name=RUN)


MANY = {"per_second": 3000, "at_once": 3000, "udp_at_once": 3000}


def udp_sockets(world: World) -> int:
    """How many sockets by UDP the host has."""
    return len(world.ask("on_host", arguments=["ss", "-Hanu"]).splitlines())


def test_a_guest_that_opens_hundreds_takes_what_is_its_own(world: World, firewall: str) -> None:
    before = udp_sockets(world)
    ends = world.node(f"build {RUN}", "flood", target=PUBLIC, port=80, count=FLOOD)
    assert 0 < ends["open internet"] <= TIGHT["udp_at_once"] + AT_THE_SAME_TIME
    assert udp_sockets(world) - before <= TIGHT["udp_at_once"] + 10  # and what its resolver asked by
    neighbours = [Probe("build two", how, PUBLIC, 80) for how in ("tcp", "udp")]
    assert set(world.probe(neighbours).values()) == {"open internet"}
    assert "too many UDP flows at once" in firewall


@pytest.mark.parametrize("guard", [name for name, (_, most, _) in BOUNDS.items() if most])
def test_each_bound_is_missed_when_it_is_gone(world: World, firewall: str, guard: str) -> None:
    opened, most, unbounded = BOUNDS[guard]
    if guard == "too many new flows":  # on a slow machine a flood takes its time
        firewall = firewall.replace(f"rate over {TIGHT['per_second']}/second", "rate over 1/second")
    world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + without(firewall, opened))
    ends = world.node(f"build {RUN}", "flood", target=PUBLIC, port=80, count=FLOOD)
    assert ends["open internet"] <= most + AT_THE_SAME_TIME
    world.ask("close_run", name=RUN)
    world.ask("open_run", name=RUN, bounds=TIGHT)
    world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + without(firewall, (*opened, guard)))
    ends = world.node(f"build {RUN}", "flood", target=PUBLIC, port=80, count=FLOOD)
    assert most + AT_THE_SAME_TIME < ends["open internet"] <= unbounded


def test_datagrams_are_remembered_as_long_as_their_sockets_are(world: World, firewall: str) -> None:
    """Else a guest would get the next ones while the host still has the last: its flows would be forgotten first."""
    assert world.probe([probe := Probe(f"build {RUN}", "udp", PUBLIC, 80)]) == {probe: "open internet"}
    names = [f"net.netfilter.nf_conntrack_udp_timeout{end}" for end in ("", "_stream")]
    entries = world.inside(RUN, "sysctl", "-n", *names)
    assert entries.split() == ["180", "180"]
    assert firewall


def test_questions_for_names_fill_no_table_of_the_kernels(world: World, firewall: str) -> None:
    def remembered() -> int:
        return int(world.inside(RUN, "sysctl", "-n", "net.netfilter.nf_conntrack_count"))

    before = remembered()
    ends = world.node(f"build {RUN}", "flood", target=NAMES, port=53, count=FLOOD)
    assert ends["open internet"] > FLOOD // 2
    assert remembered() - before <= 16
    loose = "\n".join(line for line in firewall.splitlines() if not line.endswith("notrack"))
    world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + loose)
    world.node(f"build {RUN}", "flood", target=NAMES, port=53, count=FLOOD)
    assert remembered() - before > 16


def test_bytes_beyond_the_rate_are_dropped_and_the_rest_arrives(world: World) -> None:
    world.ask("open_run", name="slow", bounds={"kbytes_per_second": 1, **MANY})
    ends = world.node("build slow", "flood", target=PUBLIC, port=80, count=1000, size=1200)  # too many on any machine
    dropped = {item["comment"]: item["packets"] for item in world.ask("rules", name="slow")}
    world.ask("close_run", name="slow")
    assert ends["open internet"] > 0
    assert dropped["too many bytes out"] + dropped["too many bytes in"] > 0
