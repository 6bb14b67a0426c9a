"""What the guests reach when the build VM, or both, stand in a user's virtual network: never more than without.

Each "cannot" stands beside a "can" of the same run; where a guard stands alone it is taken away once, to be missed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import frames
import pytest
from guards import without
from test_network_isolation import NOWHERE, PUBLIC, asked_for, router_mac, tries
from user_networks import ALLOW_ALL, PRIVATE_ENDPOINT, USER_SUBNETS, bodies, rule
from world import HOST_ADDRESSES, INTERNET, RESOLVER
from world_client import SILENCE_SECONDS, Probe, World, world

__all__ = ["world"]  # the fixture

RUN = "theirs"
PRIVATE = [address for address in INTERNET if address not in {PUBLIC, RESOLVER}]
BUILD, CONTAINER = f"build {RUN}", f"container {RUN}"
TOPOLOGIES = {"private endpoint": PRIVATE_ENDPOINT, "user subnets": USER_SUBNETS}


@contextmanager
def opened(world: World, vnet_config: dict[str, str], **rules: Any) -> Iterator[dict[str, Any]]:
    """The run while the block lasts."""
    facts = world.ask("open_run", name=RUN, user={"bodies": bodies(**rules), "vnet_config": vnet_config})
    try:
        yield facts
    finally:
        world.ask("close_run", name=RUN)


@pytest.fixture(params=TOPOLOGIES)
def run(world: World, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A run in each topology, with the user's groups allowing everything."""
    allowed = {"build_rules": ALLOW_ALL, "container_rules": ALLOW_ALL}
    with opened(world, TOPOLOGIES[request.param], **allowed) as facts:
        facts["target"] = facts["endpoint"] or facts["guests"]["build"]
        yield facts


def reached(world: World, probes: list[Probe], *, seconds: float = SILENCE_SECONDS) -> dict[Probe, str]:
    """Of these probes, those that something answered."""
    return {probe: text for probe, text in world.probe(probes, seconds=seconds).items() if text not in NOWHERE}


def test_the_guests_have_addresses_that_azure_would_give(run: dict[str, Any]) -> None:
    build = {"10.0.2.4", "10.0.2.7"}  # .7 after load balancer, private link service and proxy
    assert run["guests"]["build"] in build
    assert run["guests"]["container"] == "10.0.3.4" or run["endpoint"]


def test_container_group_reaches_ssh_on_the_build_vm_and_nothing_else(world: World, run: dict[str, Any]) -> None:
    world.forget_traffic()
    guests = {*run["guests"].values(), run["target"], "10.0.2.4", "10.0.2.5", "10.0.2.6"} - {run["guests"]["container"]}
    ports = [Probe(CONTAINER, "tcp", run["target"], port) for port in (*range(1, 120), 443, 445, 5986, 60000, 60001)]
    others = [PUBLIC, RESOLVER, *PRIVATE, *HOST_ADDRESSES, "10.0.2.1", "10.0.3.1"]
    probes = list(dict.fromkeys([*ports, *tries([CONTAINER], [*guests, *others])]))
    assert reached(world, probes) == {Probe(CONTAINER, "tcp", run["target"], 22): f"open {BUILD}"}
    source = "10.0.2.6" if run["endpoint"] else run["guests"]["container"]
    assert set(asked_for(world.arrived(BUILD))) == {f"tcp S {source} > {run['guests']['build']}:22"}
    assert asked_for(world.arrived("internet")) == []


def test_build_vm_reaches_the_internet_and_nothing_private_nor_the_host(world: World, run: dict[str, Any]) -> None:
    world.forget_traffic()
    assert world.probe([probe := Probe(BUILD, "tcp", PUBLIC, 80)]) == {probe: "open internet"}
    world.forget_traffic()
    targets = [*HOST_ADDRESSES, *PRIVATE, "10.0.2.1", "10.0.2.6", "10.0.3.1", "10.0.9.9", "172.31.254.1"]
    assert reached(world, tries([BUILD], targets)) == {}
    assert asked_for(world.arrived("internet")) == []


def test_build_vm_reaches_nothing_of_the_container_group(world: World, run: dict[str, Any]) -> None:
    world.forget_traffic()
    targets = [run["guests"]["container"], *([run["endpoint"]] if run["endpoint"] else [])]
    assert reached(world, tries([BUILD], targets)) == {}
    assert world.arrived(CONTAINER) == []


def test_names_are_answered_whatever_the_users_rules_say(world: World) -> None:
    nothing = [rule("nothing", 100, "Outbound", "Deny", destinationAddressPrefix="Internet")]
    with opened(world, USER_SUBNETS, build_rules=nothing) as facts:
        names = next(
            line.split("ip daddr ")[1].split()[0] for line in facts["firewall"].splitlines() if '"names"' in line
        )
        found = world.probe([Probe(BUILD, "names", names, 53), Probe(BUILD, "tcp", PUBLIC, 80)], seconds=2)
        assert list(found.values()) == ["open internet", "silent"]


def test_a_rule_of_the_user_denies_what_it_names_and_only_that(world: World) -> None:
    rules = [
        rule("no-web", 200, "Outbound", "Deny", protocol="Tcp", destinationPortRanges=["80", "8000-8100"]),
        rule("one-web", 150, "Outbound", "Allow", destinationAddressPrefixes=[RESOLVER], destinationPortRange="80"),
    ]
    for topology in TOPOLOGIES.values():
        with opened(world, topology, build_rules=rules):
            probes = [Probe(BUILD, "tcp", PUBLIC, port) for port in (22, 80, 8080)]
            probes += [Probe(BUILD, "udp", PUBLIC, 80), Probe(BUILD, "tcp", RESOLVER, 80)]
            found = world.probe(probes, seconds=2)
            answers = ["open internet", "silent", "silent", "open internet", "open internet"]
            assert list(found.values()) == answers


def test_the_rules_of_the_user_are_asked_on_the_way_to_the_build_vm(world: World) -> None:
    """Taken away one by one: what the firewall lets through without them, it does not with them."""
    no_ssh = {"destinationPortRange": "22"}
    no_proxy = {"sourceAddressPrefix": "10.0.2.6"}
    cases: list[tuple[dict[str, str], dict[str, Any], str]] = [
        (USER_SUBNETS, {"container_rules": [rule("no", 100, "Outbound", "Deny", **no_ssh)]}, "leaving"),
        (USER_SUBNETS, {"build_rules": [rule("no", 100, "Inbound", "Deny", **no_ssh)]}, "arriving"),
        # what stands behind the endpoint sees the proxy
        (PRIVATE_ENDPOINT, {"build_rules": [rule("no", 100, "Inbound", "Deny", **no_proxy)]}, "arriving"),
    ]  # fmt: skip
    for vnet_config, rules, name in cases:
        with opened(world, vnet_config) as facts:  # such rules are refused beforehand; here they come later
            target = facts["endpoint"] or facts["guests"]["build"]
            probe = Probe(CONTAINER, "tcp", target, 22)
            assert world.probe([probe]) == {probe: f"open {BUILD}"}
            text = world.ask("firewall_for", name=RUN, user={"bodies": bodies(**rules), "vnet_config": vnet_config})
            world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + text)
            assert world.probe([probe], seconds=2) == {probe: "silent"}
            loose = without(text, [f"rules of the user: {name}"])
            world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + loose)
            assert world.probe([probe]) == {probe: f"open {BUILD}"}


@pytest.mark.parametrize(
    ("guard", "probe", "guarded", "unguarded"),
    [
        ("private endpoint", Probe(CONTAINER, "tcp", "ENDPOINT", 22), f"open {BUILD}", "silent"),
        ("near guest to far guest", Probe(CONTAINER, "tcp", "ENDPOINT", 22), f"open {BUILD}", "unreachable"),
    ],
)
def test_the_endpoint_needs_each_of_its_rules(
    world: World, guard: str, probe: Probe, guarded: str, unguarded: str
) -> None:
    with opened(world, PRIVATE_ENDPOINT) as facts:
        actual = Probe(probe.start, probe.protocol, facts["endpoint"], probe.port)
        assert world.probe([actual], seconds=2) == {actual: guarded}
        loose = without(facts["firewall"], [guard])
        world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + loose)
        assert world.probe([actual], seconds=2) == {actual: unguarded}


def test_only_the_endpoint_leads_to_the_build_vm(world: World) -> None:
    """Its own address does not, for the rule wants a connection that came by the endpoint; without that, it would."""
    with opened(world, PRIVATE_ENDPOINT) as facts:
        past = Probe(CONTAINER, "tcp", facts["guests"]["build"], 22)
        assert world.probe([past], seconds=2) == {past: "unreachable"}
        loose = facts["firewall"].replace("ct status dnat ", "")
        assert loose != facts["firewall"]
        world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + loose)
        assert world.probe([past], seconds=2) == {past: f"open {BUILD}"}


def test_the_build_vm_sees_the_proxy_and_without_it_the_container_group(world: World) -> None:
    with opened(world, PRIVATE_ENDPOINT, build_rules=ALLOW_ALL) as facts:
        probe = Probe(CONTAINER, "tcp", facts["endpoint"], 22)
        seen = []
        for text in (facts["firewall"], without(facts["firewall"], ["proxy"])):
            world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + text)
            world.forget_traffic()
            world.probe([probe], seconds=2)
            seen.append({line.split()[2] for line in world.arrived(BUILD) if line.startswith("tcp S ")})
        assert seen == [{"10.0.2.6"}, {facts["guests"]["container"]}]


def test_whoever_is_not_the_proxy_is_denied_by_azures_default_rules(world: World) -> None:
    with opened(world, PRIVATE_ENDPOINT) as facts:
        probe = Probe(CONTAINER, "tcp", facts["endpoint"], 22)
        assert world.probe([probe]) == {probe: f"open {BUILD}"}
        world.inside(RUN, "nft", "-f", "-", stdin="flush ruleset\n" + without(facts["firewall"], ["proxy"]))
        assert world.probe([probe], seconds=2) == {probe: "silent"}


def test_a_build_vm_that_pretends_to_be_the_proxy_is_not_heard(world: World) -> None:
    with opened(world, PRIVATE_ENDPOINT, build_rules=ALLOW_ALL):
        world.forget_traffic()
        router = router_mac(world, RUN, "build")
        for source, port in (("10.0.2.6", 4500), ("10.0.2.9", 4501), ("172.31.252.4", 4502), ("10.0.2.7", 53)):
            packet = frames.udp(source, PUBLIC, ports=(4500, port))
            frame = frames.ethernet(router, "02:00:0a:00:02:07", packet)
            world.node(BUILD, "send", interface="eth0", frame=frame)
        world.probe([Probe(BUILD, "udp", PUBLIC, 80)])
        heard = {text.rpartition(":")[2] for text in world.arrived("internet") if text.startswith("udp")}
        assert heard == {"53", "80"}


def test_the_rules_in_force_are_told_with_what_they_counted(world: World) -> None:
    with opened(world, PRIVATE_ENDPOINT) as facts:

        def packets() -> dict[str, int]:
            return {item["comment"]: item["packets"] for item in world.ask("rules", name=RUN)}

        before = packets()
        world.probe(
            [Probe(CONTAINER, "tcp", facts["endpoint"], 22), Probe(CONTAINER, "tcp", facts["endpoint"], 80)], seconds=2
        )
        after = packets()
        assert after["private endpoint"] == before["private endpoint"] + 1
        assert after["Inbound 65000 AllowVnetInBound"] == before["Inbound 65000 AllowVnetInBound"] + 1
        assert after["Inbound 65500 DenyAllInBound"] == before["Inbound 65500 DenyAllInBound"]
        assert after["to the router itself"] > before["to the router itself"]
