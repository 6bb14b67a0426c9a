"""Learn, then lock: the list that a run's flows become, and that it allows what was reached."""

import random
from dataclasses import dataclass

from vmkiln.host.egress.egress_policy import NO_EGRESS
from vmkiln.host.egress.learned_list import MOST_REMARKS, learned_list
from vmkiln.host.egress.policy_text import MOST_ENTRIES, read_policy


@dataclass(frozen=True)
class Seen:
    """A flow as the log has it."""

    name: str
    port: int = 443
    protocol: str = "tcp"
    verdict: str = "allowed"
    address: str = "203.0.113.10"


def test_names_that_were_reached_become_entries_with_their_ports() -> None:
    text = learned_list([Seen("b.example", 80), Seen("B.example.", 443), Seen("a.example"), Seen("a.example", 8443)])
    assert text == "a.example:443+8443\nb.example\n"


def test_a_mirror_of_many_becomes_its_set_and_it_is_said() -> None:
    text = learned_list([Seen("ftp.de.debian.org", 80), Seen("security.debian.org", 80), Seen("a.example")])
    assert text == "# ftp.de.debian.org is one mirror of many: @debian is in its place\n@debian\na.example:443\n"


def test_a_name_of_a_set_that_does_not_rotate_stays_what_it_is() -> None:
    assert learned_list([Seen("deb.debian.org", 80)]) == "deb.debian.org:80\n"


def test_what_a_locked_run_refuses_is_a_remark() -> None:
    text = learned_list(
        [
            Seen("", 443),
            Seen("time.example", 123, "udp"),
            Seen("git.example", 22),
            Seen("dns.google"),
            Seen("bad.example", verdict="refused: not allowed by the egress policy"),
            Seen("", 0, "icmp"),
            Seen("only-asked.example", 0, "dns"),
        ]
    )
    *remarks, policy = text.splitlines()
    assert policy == "none"
    assert [remark[:2] for remark in remarks] == ["# "] * 6
    assert "203.0.113.10:443 was reached without a name" in text
    assert "time.example:123 was reached by udp" in text
    assert "git.example:22 is ssh" in text
    assert "dns.google:443 answers names" in text
    assert "bad.example:443 was refused: not allowed" in text
    assert "only-asked" not in text


def test_what_was_learned_is_read_again_and_allows_what_was_reached() -> None:
    """Also with names that a guest made up to break out of its line."""
    chance = random.Random(3)  # noqa: S311 (no secret)
    names = [
        "a.example",
        "x.y.example",
        "ftp.us.debian.org",
        "de.archive.ubuntu.com",
        "evil\nopen",
        "#",
        "@debian",
        "*.a.b",
    ]
    names += ["-a.b", "a" * 300, "dns.quad9.net", "é.example", "1.2.3.4", "a.example,none"]
    for _ in range(2_000):
        flows = [
            Seen(
                chance.choice(names),
                chance.choice([80, 443, 22, 53, 853, 8443, 0, 70000]),
                chance.choice(["tcp", "udp"]),
            )
            for _ in range(chance.randrange(12))
        ]
        text = learned_list(flows)
        policy, mistakes = read_policy(text)
        assert mistakes == (), text
        good = [
            flow for flow in flows if flow.name in names[:4] and flow.port in {80, 443, 8443} and flow.protocol == "tcp"
        ]
        assert all(policy.allows(flow.name, flow.port) for flow in good), text
        assert good or policy == NO_EGRESS, text


def test_a_long_run_becomes_no_longer_list_than_may_be() -> None:
    flows = [Seen(f"n{number}.example") for number in range(MOST_ENTRIES + 5)]
    flows += [Seen(f"u{number}.example", 99, "udp") for number in range(2 * MOST_REMARKS)]
    text = learned_list(flows)
    assert read_policy(text)[1] == ()
    assert len(text.splitlines()) <= MOST_ENTRIES + MOST_REMARKS + 1
    assert "more remarks" in text
