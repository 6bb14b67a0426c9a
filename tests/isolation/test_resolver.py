"""The resolver of a run: guests ask it and nobody else, it keeps its limits, and every question is on record."""

from typing import Any

from test_network_isolation import BUILD, NAMES, NOWHERE, asked_for
from world_client import SILENCE_SECONDS, Probe, World, world

from vmkiln.host.egress.resolver_program import MOST_AT_ONCE, UPSTREAM_SOCKETS

__all__ = ["world"]  # the fixture


def asks(name: str, *, run: str = "one", how: str = "names") -> Probe:
    return Probe(f"build {run}", how, NAMES, 53, name=name)


def test_each_question_is_on_record_with_its_answer(world: World) -> None:
    world.ask("questions", name="one")
    world.probe([asks("public.Example"), asks("who.example", how="names-tcp")])
    told: dict[str, dict[str, Any]] = {}
    while told.keys() != {"public.example", "who.example"}:  # the guest may have its answer before we are told
        told |= {item["name"]: item for item in world.ask("questions", name="one")}
    public = told["public.example"]
    assert (public["client"], public["kind"], public["code"], public["verdict"]) == (BUILD, "A", "NOERROR", "allowed")
    assert public["addresses"] == ["203.0.113.10"]
    assert told["who.example"]["kind"] == "TXT"


def test_an_answer_that_is_too_long_is_cut_and_had_by_tcp(world: World) -> None:
    assert world.probe([cut := asks("large.example")]) == {cut: "cut"}
    assert world.probe([whole := asks("large.example", how="names-tcp")]) == {whole: "open internet"}


def test_guests_reach_no_other_resolver_of_the_host(world: World) -> None:
    """The host's own is reached like any server of the Internet; by the run's leg out it is the resolver's alone."""
    world.forget_traffic()
    direct = Probe("build one", "names", "10.0.2.54", 53)
    assert set(world.probe([direct], seconds=SILENCE_SECONDS).values()) <= NOWHERE
    assert set(world.probe([Probe("container one", "names", NAMES, 53)], seconds=SILENCE_SECONDS).values()) <= NOWHERE
    assert asked_for(world.arrived("internet")) == []
    assert world.probe([probe := asks("who.example")]) == {probe: "open internet"}


def test_a_flood_of_questions_takes_neither_ports_nor_neighbours_names(world: World) -> None:
    """Each of its questions used to be a datagram of a port of its own that pasta opened on the host."""
    before = len(world.ask("on_host", arguments=["ss", "-Hanu"]).splitlines())
    world.ask("questions", name="one")
    # those that wait for an answer are counted, so that it is no matter how fast this machine asks
    ends = world.node("build one", "flood", target=NAMES, port=53, count=2 * MOST_AT_ONCE, asked="never.example")
    assert 0 < ends["code 5"] <= MOST_AT_ONCE
    assert world.node("build one", "flood", target=NAMES, port=53, count=MOST_AT_ONCE // 2)["open internet"] > 0
    assert world.probe([probe := asks("who.example", run="two")]) == {probe: "open internet"}
    taken = len(world.ask("on_host", arguments=["ss", "-Hanu"]).splitlines()) - before
    assert taken <= 3 * UPSTREAM_SOCKETS
    told = [item["verdict"] for item in world.ask("questions", name="one")]
    assert "refused: too many questions at once" in told
    assert told.count("allowed") > 0


def test_a_run_ends_when_its_resolver_does(world: World) -> None:
    world.ask("open_run", name="deaf")
    assert world.ask("egress_lost", name="deaf") is None
    world.ask("end_inside", name="deaf", words="resolver_progra")
    assert "resolver" in world.ask("egress_lost", name="deaf")
    world.ask("close_run", name="deaf")
