"""How much the container group may open to its build VM: a hostile one floods in vain, and Packer's work goes on."""

import sys

import pytest
from guards import without
from test_network_isolation import BUILD, PUBLIC
from world_client import Probe, World, world

__all__ = ["world"]  # the fixture

RUN = "near"
TIGHT = {"near_per_second": 5, "near_at_once": 40}
BURST = 5 * TIGHT["near_per_second"]
FLOOD = 300
# opens connections at once, holds them all for some seconds, and tells how many were answered
HOLDER = """
import selectors, socket, sys, time
target, port, count, seconds = sys.argv[1], *map(int, sys.argv[2:])
heard, answered, plugs = selectors.DefaultSelector(), 0, []
for _ in range(count):
    plug = socket.socket()
    plug.setblocking(False)
    plug.connect_ex((target, port))
    heard.register(plug, selectors.EVENT_READ)
    plugs.append(plug)
until = time.monotonic() + seconds
while (left := until - time.monotonic()) > 0:
    for key, _ in heard.select(left):
        answered += bool(key.fileobj.recv(99))
        heard.unregister(key.fileobj)
print(answered)
"""
HELD_SECONDS = 6
# guards that are tried here, and which others are open then; with the most flows of a flood there are
NEAR_BOUNDS: dict[str, tuple[tuple[str, ...], int]] = {
    "too many flows at once of the near guest": (("too many new flows of the near guest",), TIGHT["near_at_once"]),
    "too many new flows of the near guest": (
        ("too many flows at once of the near guest",),
        BURST + HELD_SECONDS * TIGHT["near_per_second"],
    ),
}
# packets on several CPUs may each be taken for the last one that is allowed, and on a busy machine the kernel's count
# passes over connections that it has not entered yet (nf_conncount.c)
AT_THE_SAME_TIME = 12
IN_A_ROW = 300  # more than any build has steps, files and checks


def flooded(world: World) -> int:
    """How many of the connections that the container group opens and holds are answered by its build VM."""
    arguments = [sys.executable, "-c", HOLDER, BUILD, "22", str(FLOOD), str(HELD_SECONDS)]
    return int(world.node(f"container {RUN}", "run", arguments=arguments))


@pytest.mark.parametrize("guard", NEAR_BOUNDS)
def test_each_bound_is_missed_when_it_is_gone(world: World, guard: str) -> None:
    opened, most = NEAR_BOUNDS[guard]
    found = []
    for gone in (opened, (*opened, guard)):
        firewall = world.ask("open_run", name=RUN, bounds=TIGHT)["firewall"]
        world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + without(firewall, gone))
        found.append(flooded(world))
        world.ask("close_run", name=RUN)
    assert 0 < found[0] <= most + AT_THE_SAME_TIME < found[1]


def test_a_flood_of_the_container_group_leaves_the_build_vm_its_way_out(world: World) -> None:
    """The far guest's bounds are its own, and so are those of the neighbours."""
    world.ask("open_run", name=RUN, bounds=TIGHT)
    assert flooded(world) < FLOOD
    ways = [Probe(f"build {RUN}", "tcp", PUBLIC, 80), Probe("build two", "tcp", PUBLIC, 80)]
    assert set(world.probe(ways).values()) == {"open internet"}
    dropped = {item["comment"]: item["packets"] for item in world.ask("rules", name=RUN)}
    world.ask("close_run", name=RUN)
    assert sum(dropped[guard] for guard in NEAR_BOUNDS) > 0


def test_hundreds_of_connections_in_a_row_are_let_through(world: World) -> None:
    """As a build needs them: by ssh one for each login and renewal, by WinRM one for each call; faster than both."""
    world.ask("open_run", name=RUN)
    for _ in range(IN_A_ROW):
        assert world.probe([probe := Probe(f"container {RUN}", "tcp", BUILD, 22)]) == {probe: f"open build {RUN}"}
    dropped = {item["comment"]: item["packets"] for item in world.ask("rules", name=RUN)}
    world.ask("close_run", name=RUN)
    assert [dropped[guard] for guard in NEAR_BOUNDS] == [0, 0], "nothing was sent twice either"
