"""The flow log of a run against what really went over its wire: every byte is on record, as the kernel counts."""

import re
import time
from typing import Any

from test_network_isolation import BUILD, NAMES, PUBLIC
from world_client import Probe, World, world

__all__ = ["world"]  # the fixture

RUN = "seen"


def closed(world: World, probes: list[Probe], *, silenced: bool = False) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The flow log of a run that did this, and what the firewall counted on its way out, in bytes."""
    world.ask("open_run", name=RUN, has_flow_log=True)
    scales = "table inet scales {\n"
    for hook, side, name in (("postrouting", "oifname", "out"), ("prerouting", "iifname", "in")):
        priority = "300" if name == "out" else "-400"
        scales += f"chain {name} {{ type filter hook {hook} priority {priority}; policy accept;\n"
        scales += f'{side} "egress" counter comment "{name}"\n }}\n'
    world.inside(RUN, "nft", "-f", "-", stdin=scales + "}\n")
    if silenced:
        world.inside(RUN, "sysctl", "-w", "net.netfilter.nf_conntrack_acct=0")
    world.probe(probes, seconds=2)
    counted = at_rest(world)
    entries = world.ask("close_logged_run", name=RUN)
    return entries, counted


def at_rest(world: World) -> dict[str, int]:
    """What the firewall counted when nothing is on its way any more: an end of a connection may be answered late."""
    before: dict[str, int] = {}
    for _ in range(50):
        listed = world.inside(RUN, "nft", "list", "table", "inet", "scales")
        counted = {match[2]: int(match[1]) for match in re.finditer(r'bytes (\d+) comment "(\w+)"', listed)}
        if counted == before:
            return counted
        before = counted
        time.sleep(0.5)
    raise AssertionError(f"something is on its way still: {before}")


def test_every_byte_of_egress_is_on_record(world: World) -> None:
    probes = [
        Probe(f"build {RUN}", "names", NAMES, 53, name="public.example"),
        Probe(f"build {RUN}", "tcp", PUBLIC, 80),
        Probe(f"build {RUN}", "udp", PUBLIC, 80),
        Probe(f"build {RUN}", "icmp", PUBLIC),
        Probe(f"build {RUN}", "tcp", "10.77.0.1", 80),
        Probe(f"build {RUN}", "tcp", PUBLIC, 25),
        Probe(f"container {RUN}", "tcp", BUILD, 22),
    ]
    entries, counted = closed(world, probes)
    left = [entry for entry in entries if entry["verdict"] == "allowed" and entry["protocol"] != "dns"]
    outside = [entry for entry in left if entry["address"] != BUILD]
    assert counted["out"] > 0
    assert sum(entry["bytes_out"] for entry in outside) == counted["out"]
    assert sum(entry["bytes_in"] for entry in outside) == counted["in"]
    told = {(entry["vm"], entry["protocol"], entry["address"], entry["port"]) for entry in left}
    assert ("build-vm", "tcp", PUBLIC, 80) in told
    assert ("build-vm", "icmp", PUBLIC, 0) in told
    assert ("container-group", "tcp", BUILD, 22) in told
    refused = {(entry["address"], entry["port"]) for entry in entries if entry["verdict"] == "refused"}
    assert refused == {("10.77.0.1", 80), (PUBLIC, 25)}
    [asked] = [entry for entry in entries if entry["protocol"] == "dns"]
    assert (asked["vm"], asked["name"], asked["step"]) == ("build-vm", "public.example", "Customizing: a step")
    assert {entry["step"] for entry in entries} == {"Customizing: a step"}


def test_without_the_kernels_count_the_bytes_would_be_missed(world: World) -> None:
    entries, counted = closed(world, [Probe(f"build {RUN}", "tcp", PUBLIC, 80)], silenced=True)
    assert sum(entry["bytes_out"] for entry in entries) < counted["out"]


def test_a_run_ends_when_its_connections_cannot_be_seen_any_more(world: World) -> None:
    world.ask("open_run", name=RUN, has_flow_log=True)
    assert world.ask("egress_lost", name=RUN) is None
    world.ask("end_inside", name=RUN, words="flow_program")
    assert "flow-watch ended" in world.ask("egress_lost", name=RUN)
    world.ask("close_run", name=RUN)
