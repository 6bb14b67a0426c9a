"""What the host gets while a run is on is refused to the run's guests: addresses, networks, routes."""

import time
from collections.abc import Iterator

import pytest
from world_client import SILENCE_SECONDS, Probe, World, world

__all__ = ["world"]  # the fixture

# where the Internet had somebody before the host did
ADDRESS, ON_LINK, ROUTED = "192.0.2.5", "192.0.2.70", "192.0.2.130"
LATE = {
    "an address": (ADDRESS, ["ip", "address", "add", "192.0.2.5/32", "dev", "lo"], "open host"),
    "a network of neighbours": (ON_LINK, ["ip", "address", "add", "192.0.2.65/26", "dev", "lan0"], "open internet"),
    "a route without a gateway": (ROUTED, ["ip", "route", "add", "192.0.2.128/26", "dev", "lan0"], "open internet"),
}


@pytest.fixture(scope="module")
def runs(world: World) -> Iterator[World]:
    """The world with a run that does not watch its host, and somebody at each address."""
    for address in (ADDRESS, ON_LINK, ROUTED):
        world.node("internet", "run", arguments=["ip", "address", "add", f"{address}/32", "dev", "lo"])
        world.node("internet", "listen", address=address, tcp=[80], udp=[80])
    back = ["ip", "route", "add", "192.0.2.65/32", "via", "198.51.100.2"]  # whom the host speaks as there
    world.node("internet", "run", arguments=back)
    world.ask("open_run", name="blind", is_blind=True)
    yield world
    world.ask("close_run", name="blind")


@pytest.mark.parametrize("what", LATE)
def test_what_the_host_gets_late_is_refused_to_a_run_that_is_on(runs: World, what: str) -> None:
    """The twin does not watch, and reaches who must not be reached."""
    target, change, unguarded = LATE[what]
    probes = [Probe(f"build {name}", "tcp", target, 80) for name in ("one", "two", "blind")]
    assert set(runs.probe(probes).values()) == {"open internet"}
    runs.ask("on_host", arguments=change)
    if unguarded == "open host":
        runs.node("host", "listen", address=target, tcp=[80], udp=[80])
    deadline = time.monotonic() + 10
    while target.rpartition(".")[0] not in runs.inside("one", "nft", "list", "set", "inet", "vmkiln", "forbidden"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for probe in probes[:2]:
        while (found := runs.probe([probe], seconds=SILENCE_SECONDS)[probe]) != "unreachable":
            assert time.monotonic() < deadline, found
    assert runs.probe(probes[2:]) == {probes[2]: unguarded}


def test_a_talk_that_was_open_ends_when_the_host_gets_its_address(runs: World) -> None:
    """Else a guest that knows what is to come opens it before."""
    target = "192.0.2.200"
    runs.node("internet", "run", arguments=["ip", "address", "add", f"{target}/32", "dev", "lo"])
    runs.node("internet", "listen", address=target, tcp=[80], udp=[80])
    talk = Probe("build one", "udp", target, 80, source="10.0.1.4")
    assert runs.probe([talk]) == {talk: "open internet"}
    counted = {item["comment"]: item["packets"] for item in runs.ask("rules", name="one")}
    runs.ask("on_host", arguments=["ip", "address", "add", f"{target}/32", "dev", "lo"])
    deadline = time.monotonic() + 10
    while runs.probe([talk], seconds=SILENCE_SECONDS)[talk] != "unreachable":
        assert time.monotonic() < deadline
    after = {item["comment"]: item["packets"] for item in runs.ask("rules", name="one")}
    assert after["host, private and link-local"] > counted["host, private and link-local"]
