"""A run whose egress policy is a list, or `none`: what its guest reaches, tried from inside, and what is missed when a
guard is gone.

The names of the list and other names have one address, as on a content network; only the name tells them apart.
"""

import re
import struct
from collections.abc import Callable, Iterator

import pytest
from guards import rules, without
from test_network_isolation import BUILD, NAMES, NOWHERE, PRIVATE, PUBLIC, asked_for
from world import RESOLVER
from world_client import SILENCE_SECONDS, Probe, World, world

__all__ = ["world"]  # the fixture

LIST = "good.example:80+443+8080+8443 *.wild.example inner.example:80"
WEB_PORTS = [443, 8443, 853]
TLS_REFUSED = "15030300020231|"
RUN = "build locked"
Observe = Callable[[World], str]


def hello(name: str | None, *, more: bytes = b"", record_bytes: int = 2**14) -> str:
    """The first message of a TLS client, in hexadecimal."""
    entry = b"" if name is None else struct.pack("!BH", 0, len(name)) + name.encode()
    extensions = more
    if entry:
        extensions += struct.pack("!HHH", 0, len(entry) + 2, len(entry)) + entry
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0" + struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3) + body
    pieces = [message[at : at + record_bytes] for at in range(0, len(message), record_bytes)]
    return b"".join(b"\x16\3\1" + struct.pack("!H", len(piece)) + piece for piece in pieces).hex()


def get(host: str, *, target: str = "/") -> str:
    """An HTTP request, in hexadecimal."""
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode().hex()


def says(
    world: World, *pieces: str, port: int = 443, target: str = PUBLIC, run: str = RUN, to_the_end: bool = False
) -> str:
    """What the guest gets for its words."""
    answer: str = world.node(run, "say", target=target, port=port, pieces=list(pieces), to_the_end=to_the_end)
    return answer


def text_of(answer: str) -> str:
    """An answer as text."""
    return bytes.fromhex(answer.rstrip("|")).decode("latin-1")


@pytest.fixture(scope="module")
def locked(world: World) -> Iterator[World]:
    """The world with a run whose policy is the list above."""
    world.node("internet", "listen_web", address=PUBLIC, tcp=WEB_PORTS)
    world.node("internet", "listen_web", address=RESOLVER, tcp=WEB_PORTS)
    world.ask("open_run", name="locked", egress=LIST)
    yield world
    world.ask("close_run", name="locked")


def test_a_name_on_the_list_is_reached_by_tls_and_by_http(locked: World) -> None:
    locked.forget_traffic()
    assert text_of(says(locked, hello("good.example"))).startswith("internet got \x16\3\1")
    assert text_of(says(locked, hello("a.wild.example", record_bytes=7))).startswith("internet got \x16\3\1")
    assert text_of(says(locked, get("good.example:8443"), port=8443)).startswith("internet got GET / HTTP/1.1")
    assert asked_for(locked.arrived("internet")).count(f"tcp S 198.51.100.2 > {PUBLIC}:443") == 1


def test_the_address_that_the_guest_chose_counts_for_nothing(locked: World) -> None:
    """Its connection goes to where the name is; the world's resolver says where that is."""
    locked.forget_traffic()
    assert text_of(says(locked, hello("good.example"), target=RESOLVER)).startswith("internet got ")
    opened = [text for text in asked_for(locked.arrived("internet")) if text.startswith("tcp S ")]
    assert opened == [f"tcp S 198.51.100.2 > {PUBLIC}:443"]


REFUSED_TALKS: dict[str, tuple[int, list[str]]] = {
    "another name at the same address": (443, [hello("other.example")]),
    "a name below one of the list": (443, [hello("x.good.example")]),
    "the name above a pattern": (443, [hello("wild.example")]),
    "a name of the list on another port": (5986, [hello("good.example")]),
    "no name": (443, [hello(None)]),
    "an address as name": (443, [hello(PUBLIC)]),
    "two names": (443, [hello("good.example", more=bytes.fromhex(hello("other.example"))[-22:])]),
    "an encrypted name": (443, [hello("good.example", more=struct.pack("!HHB", 0xFE0D, 1, 0))]),
    "dns over tls": (853, [hello("good.example")]),
    "another host at the same address": (80, [get("other.example")]),
    "an address as host": (80, [get(PUBLIC)]),
    "a host and a target that differ": (80, [get("good.example", target="http://other.example/")]),
    "a host with another port": (80, [get("good.example:8080")]),
    "a tunnel": (80, [b"CONNECT other.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n".hex()]),
    "another protocol": (22, [b"SSH-2.0-client\r\n".hex()]),
    "names by tcp, elsewhere": (53, [b"\0\x1d\x12\x67\1\0\0\1\0\0\0\0\0\0\4good\7example\0\0\1\0\1".hex()]),
}


@pytest.mark.parametrize("talk", REFUSED_TALKS)
def test_what_is_not_on_the_list_is_refused(locked: World, talk: str) -> None:
    port, pieces = REFUSED_TALKS[talk]
    locked.forget_traffic()
    answer = says(locked, *pieces, port=port, to_the_end=True)
    assert answer.endswith("|")
    assert "internet" not in text_of(answer)
    assert text_of(says(locked, hello("good.example"))).startswith("internet got ")  # the control, and the mark
    opened = [text for text in asked_for(locked.arrived("internet")) if text.startswith("tcp S ")]
    assert opened == [f"tcp S 198.51.100.2 > {PUBLIC}:443"]


def test_who_is_refused_is_told_by_whom_and_the_run_is_told_the_name(locked: World) -> None:
    locked.ask("passages", name="locked")
    assert says(locked, hello("other.example"), to_the_end=True) == TLS_REFUSED
    answer = text_of(says(locked, get("third.example"), port=80))
    assert answer.startswith("HTTP/1.1 403 ")
    assert "third.example:80: refused: not allowed by the egress policy (vmkiln)" in answer
    refused = "refused: not allowed by the egress policy"
    told: set[tuple[str, int]] = set()
    while len(told) < 2:  # the guest may have its answer before we are told
        passages = locked.ask("passages", name="locked")
        told |= {(item["name"], item["port"]) for item in passages if item["verdict"] == refused}
    assert told == {("other.example", 443), ("third.example", 80)}


def test_a_later_request_to_another_host_ends_the_connection(locked: World) -> None:
    answer = text_of(says(locked, get("good.example:8443"), get("other.example:8443"), port=8443))
    assert answer.count("internet got ") == 1
    again = text_of(says(locked, get("good.example:8443"), get("good.example:8443"), port=8443))
    assert again.count("internet got ") == 2  # the control


def test_nothing_but_tcp_leaves_a_locked_run(locked: World) -> None:
    """QUIC, names asked elsewhere, time, pings; an open run's reach the same targets."""
    locked.forget_traffic()
    probes = [Probe(RUN, "udp", PUBLIC, port) for port in (443, 80, 53, 4500)]
    probes += [Probe(RUN, "udp", RESOLVER, 53), Probe(RUN, "names", RESOLVER, 53), Probe(RUN, "icmp", PUBLIC)]
    assert set(locked.probe(probes, seconds=SILENCE_SECONDS).values()) <= NOWHERE
    assert asked_for(locked.arrived("internet")) == []
    open_run = [Probe("build one", "udp", PUBLIC, 80), Probe("build one", "udp", PUBLIC, 53)]
    assert set(locked.probe(open_run).values()) == {"open internet"}


def test_names_carry_nothing_out_of_a_locked_run(locked: World) -> None:
    """Neither a name that is not on the list, nor another type of one that is; the control is asked and answered."""
    locked.forget_traffic()
    asked = {name: Probe(RUN, "names", NAMES, 53, name=name) for name in ("public.other.example", "good.example")}
    results = locked.probe(list(asked.values()))
    assert {results[probe] for probe in asked.values()} == {"code 5"}
    assert [text for text in asked_for(locked.arrived("internet")) if text.startswith("udp")] == []
    assert locked.probe([probe := Probe(RUN, "names", NAMES, 53, name="public.wild.example")]) == {
        probe: f"open {PUBLIC}"
    }


def test_a_name_that_leads_inside_is_not_followed(locked: World) -> None:
    """The list has it, and the resolver says an address that no guest may reach."""
    locked.forget_traffic()
    assert "internet" not in text_of(says(locked, get("inner.example"), port=80))
    assert [text for text in asked_for(locked.arrived("internet")) if text.startswith("tcp")] == []


def test_a_locked_run_reaches_nothing_private(locked: World) -> None:
    probes = [Probe(RUN, "tcp", target, port) for target in PRIVATE for port in (22, 80)]
    assert set(locked.probe(probes, seconds=SILENCE_SECONDS).values()) <= NOWHERE


def test_with_the_proxy_gone_nothing_passes_and_the_run_is_told(world: World, locked: World) -> None:
    world.ask("open_run", name="orphan", egress=LIST)
    try:
        assert text_of(says(world, hello("good.example"), run="build orphan")).startswith("internet got ")
        world.ask("end_inside", name="orphan", words="name_proxy")
        assert "name proxy ended" in world.ask("egress_lost", name="orphan")
        world.forget_traffic()
        for port, word in ((443, hello("good.example")), (80, get("good.example"))):
            assert "internet" not in says(world, word, port=port, run="build orphan")
        assert asked_for(world.arrived("internet")) == []
    finally:
        world.ask("close_run", name="orphan")


def test_a_run_without_egress_reaches_nothing_at_all(world: World, locked: World) -> None:
    world.ask("open_run", name="shut", egress="none")
    try:
        world.forget_traffic()
        probes = [Probe("build shut", "tcp", PUBLIC, port) for port in (22, 53, 80, 443)]
        probes += [Probe("build shut", "udp", PUBLIC, 80), Probe("build shut", "icmp", PUBLIC)]
        assert set(world.probe(probes, seconds=SILENCE_SECONDS).values()) <= NOWHERE
        names = Probe("build shut", "names", NAMES, 53, name="public.example")
        assert world.probe([names]) == {names: "code 5"}
        assert asked_for(world.arrived("internet")) == []
        assert world.probe([ssh := Probe("container shut", "tcp", BUILD, 22)]) == {ssh: "open build shut"}
    finally:
        world.ask("close_run", name="shut")


def gets(*pieces: str, port: int = 443, target: str = PUBLIC) -> Observe:
    """Whether the Internet answers the guest's words."""

    def observe(world: World) -> str:
        world.node(RUN, "traffic")
        return (
            "reached"
            if "internet"
            in text_of_any(world.node(RUN, "say", target=target, port=port, pieces=list(pieces), seconds=2))
            else "not"
        )

    return observe


def text_of_any(answer: str) -> str:
    """An answer as text, or the word for none."""
    return text_of(answer) if re.fullmatch(r"[0-9a-f]*\|?", answer) else answer


def connects(start: str, target: str, port: int) -> Observe:
    def observe(world: World) -> str:
        if start.startswith("router"):
            world.ask("node_inside", name="locked")
        found = world.node(start, "say", target=target, port=port, pieces=[get("x.example")], seconds=2)
        return "nothing" if found in NOWHERE else "something"

    return observe


SILENT = {"not", "nothing"}
GOOD = gets(hello("good.example"))
INNER = gets(get("inner.example"), port=80)
# each guard: a rule by its comment, or words of a rule that are taken out; what is seen with it and without it
TRIALS: dict[str, tuple[Observe, str, str]] = {
    "to the name proxy": (GOOD, "reached", "not"),
    "turned to the name proxy": (GOOD, "reached", "not"),
    "answers to the name proxy": (GOOD, "reached", "not"),
    "answers of the name proxy": (GOOD, "reached", "not"),
    "talk of the name proxy": (GOOD, "reached", "not"),
    "questions of the name proxy": (GOOD, "reached", "not"),
    "name proxy to the Internet": (GOOD, "reached", "not"),
    "host, private and link-local, of the name proxy": (INNER, "not", "reached"),
    "words meta skuid ID ... name proxy to the Internet": (
        connects("router locked", PUBLIC, 80),
        "nothing",
        "something",
    ),
    "words ct status dnat ... turned to the name proxy": (connects(RUN, "10.0.1.1", 3128), "nothing", "something"),
    "words ip daddr != @forbidden ... to the name proxy": (connects(RUN, "10.77.0.1", 80), "nothing", "something"),
}


def weakened(firewall: str, guard: str) -> str:
    """The firewall with a guard taken away."""
    if not guard.startswith("words "):
        return without(firewall, [guard])
    words, _, comment = guard.removeprefix("words ").partition(" ... ")
    line = rules(firewall)[comment]
    weak = re.sub(re.escape(words).replace("ID", r"\d+") + " ", "", line)
    assert weak != line
    return firewall.replace(line, weak)


def test_every_guard_of_a_locked_run_has_a_trial(locked: World) -> None:
    plain = rules(locked.ask("firewall_of", name="one"))
    assert set(rules(locked.ask("firewall_of", name="locked"))) - set(plain) == {
        guard for guard in TRIALS if not guard.startswith("words ")
    }


def comes_to(observe: Observe, world: World, expected: str) -> bool:
    """Whether the guest sees what is expected; what is answered gets more than one turn on a busy machine."""
    turns = 1 if expected in SILENT else 5
    return any(observe(world) == expected for _ in range(turns))


@pytest.mark.parametrize("guard", TRIALS)
def test_a_guard_of_a_locked_run_is_missed_when_it_is_gone(locked: World, guard: str) -> None:
    observe, guarded, unguarded = TRIALS[guard]
    firewall = locked.ask("firewall_of", name="locked")
    load = ("locked", "nft", "-f", "-")
    try:
        assert comes_to(observe, locked, guarded)
        locked.inside(*load, stdin="flush ruleset\n" + weakened(firewall, guard))
        assert comes_to(observe, locked, unguarded)
    finally:
        locked.inside(*load, stdin="flush ruleset\n" + firewall)
