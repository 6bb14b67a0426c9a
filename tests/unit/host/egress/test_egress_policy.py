"""What an egress policy allows, how several go together, and what a jailed program reads of it."""

import pytest

from vmkiln.host.egress.egress_policy import (
    NO_EGRESS,
    OPEN_EGRESS,
    PUBLIC_RESOLVERS,
    AllowedName,
    EgressMode,
    EgressPolicy,
    is_public_resolver,
    plain_name,
    strictest,
)
from vmkiln.host.egress.policy_text import read_policy


def a_list(*texts: str) -> EgressPolicy:
    policy, mistakes = read_policy(" ".join(texts))
    assert mistakes == ()
    return policy


@pytest.mark.parametrize(
    ("name", "port", "is_allowed"),
    [
        ("packages.example.org", 443, True),
        ("Packages.Example.ORG.", 80, True),
        ("packages.example.org", 8080, False),
        ("a.packages.example.org", 443, False),
        ("xpackages.example.org", 443, False),
        ("packages.example.org.evil.example", 443, False),
        ("a.wild.example", 443, True),
        ("a.b.wild.example", 443, True),
        ("wild.example", 443, False),
        ("notwild.example", 443, False),
        ("odd.example", 8443, True),
        ("odd.example", 443, False),
        ("203.0.113.10", 443, False),
        ("", 443, False),
        ("packages.example.org\0.evil.example", 443, False),
    ],
)
def test_a_list_allows_its_names_on_its_ports(name: str, port: int, is_allowed: bool) -> None:
    policy = a_list("packages.example.org", "*.wild.example", "odd.example:8443+9443")
    assert policy.allows(name, port) is is_allowed


def test_a_name_may_be_asked_for_when_some_port_of_it_may_be_reached() -> None:
    policy = a_list("odd.example:8443", "*.wild.example")
    assert [policy.allows_name(name) for name in ("odd.example", "x.wild.example", "other.example", "x")] == [
        True,
        True,
        False,
        False,
    ]


def test_open_allows_anything_and_none_nothing() -> None:
    assert OPEN_EGRESS.allows("any.example", 25)
    assert OPEN_EGRESS.allows_name("x")
    assert not NO_EGRESS.allows("any.example", 443)
    assert not NO_EGRESS.allows_name("any.example")


def test_a_list_that_lost_its_names_allows_nothing() -> None:
    assert not EgressPolicy(EgressMode.ALLOW_LIST).allows("a.example", 443)
    assert not EgressPolicy(EgressMode.ALLOW_LIST, ((),)).allows_name("a.example")


def test_the_strictest_of_several_wins() -> None:
    floor, wish = a_list("*.example.org", "a.example.com:443"), a_list("b.example.org", "a.example.com:80", "c.example")
    assert strictest([]) == strictest([OPEN_EGRESS, OPEN_EGRESS]) == OPEN_EGRESS
    assert strictest([OPEN_EGRESS, NO_EGRESS, wish]) == NO_EGRESS
    assert strictest([OPEN_EGRESS, wish]) == strictest([wish, wish]) == wish
    both = strictest([floor, wish])
    assert both.allows("b.example.org", 443)
    assert not both.allows("a.example.org", 443)  # the command did not ask for it
    assert not both.allows("c.example", 443)  # the operator does not allow it
    assert not both.allows_name("a.example.com")  # no port is on both lists


@pytest.mark.parametrize("name", sorted(PUBLIC_RESOLVERS))
def test_no_pattern_covers_a_public_resolver(name: str) -> None:
    pattern = AllowedName("*." + name.partition(".")[2])
    assert not pattern.covers(name)
    assert not pattern.covers("x." + name)
    assert pattern.covers("downloads." + name.partition(".")[2]) != is_public_resolver(name.partition(".")[2])


@pytest.mark.parametrize(
    "text", ["", "x", "x..example", "-a.example", "a" * 64 + ".example", "1.2.3.4", "x.*.example", "é.x"]
)
def test_what_is_no_name_of_a_host_is_none(text: str) -> None:
    assert plain_name(text) == ""


@pytest.mark.parametrize(
    "policy", [OPEN_EGRESS, NO_EGRESS, strictest([a_list("a.example"), a_list("*.b.example:1+2")])]
)
def test_a_jailed_program_reads_the_same_policy(policy: EgressPolicy) -> None:
    assert EgressPolicy.read(policy.described()) == policy
