"""The egress policy as people write it: every mistake at once, with what is wrong."""

import pytest

from vmkiln.errors import InputError
from vmkiln.host.egress.egress_policy import NO_EGRESS, OPEN_EGRESS, EgressMode, strictest
from vmkiln.host.egress.named_sets import named_sets
from vmkiln.host.egress.policy_text import MOST_ENTRIES, checked_policy, policy_sentence, read_policy


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", OPEN_EGRESS),
        ("open", OPEN_EGRESS),
        (" Open ", OPEN_EGRESS),
        ("none", NO_EGRESS),
        ("# later\nnone", NO_EGRESS),
    ],
)
def test_two_words_stand_for_all_and_nothing(text: str, policy: object) -> None:
    assert read_policy(text) == (policy, ())


def test_entries_are_parted_by_commas_spaces_and_lines() -> None:
    policy, mistakes = read_policy(
        "a.example, *.b.example:443\nc.example:80+8080 # a remark, with x.example\n\na.example"
    )
    assert mistakes == ()
    assert [str(name) for name in policy.lists[0]] == ["a.example", "*.b.example:443", "c.example:80+8080"]
    assert policy.mode is EgressMode.ALLOW_LIST


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("none,a.example", "stands alone"),
        ("allow-list", "write the names"),
        ("@nowhere", "is no set; there are @almalinux"),
        ("203.0.113.10", "is an address"),
        ("[::1]:443", "no ports"),
        ("https://a.example/x", "no ports"),
        ("a.example/x", "leave out the scheme"),
        ("a*.example", "star elsewhere"),
        ("*.*.example", "star elsewhere"),
        ("*.example", "too wide"),
        ("*", "star elsewhere"),
        ("localhost", "with a dot"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("a.example:", "no ports"),
        ("a.example:0", "no ports"),
        ("a.example:65536", "no ports"),
        ("a.example:53", "port 53"),
        ("a.example:853", "port 853"),
        ("dns.google", "public resolver"),
        ("x.cloudflare-dns.com:443", "public resolver"),
        ("a.example:" + "+".join(str(port) for port in range(1000, 1020)), "at most 16"),
        (" ".join(f"a{number}.example" for number in range(MOST_ENTRIES + 1)), "at most 1000"),
    ],
)
def test_a_mistake_is_named_with_its_entry(word: str, what: str) -> None:
    _, mistakes = read_policy(word)
    assert len(mistakes) == 1
    assert what in mistakes[0]


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(
        InputError, match=r"--egress: `1\.2\.3\.4` is an address.*`b` is no name.*`@x` is no set"
    ) as caught:
        checked_policy(["1.2.3.4 good.example", "b", "@x"], where="--egress")
    assert "docs/egress.md" in str(caught.value.hint)


def test_every_set_has_a_source_and_names_and_covers_its_mirrors() -> None:
    assert {
        "debian",
        "ubuntu",
        "fedora",
        "almalinux",
        "rocky",
        "centos",
        "oraclelinux",
        "opensuse",
    } <= named_sets().keys()
    for name, found in named_sets().items():
        assert found.source.startswith("https://"), name
        policy, mistakes = read_policy(" ".join(str(one) for one in found.names))
        assert mistakes == (), name
        assert read_policy("@" + name)[0] == policy, name
        assert set(found.rotating) < set(found.names), name


def test_debians_set_covers_what_its_packages_come_from() -> None:
    policy = checked_policy(["@debian"], where="x")
    assert policy.allows("deb.debian.org", 80)
    assert policy.allows("ftp.de.debian.org", 443)
    assert not policy.allows("people.debian.org", 443)


def test_the_plan_says_the_policy_in_one_sentence() -> None:
    one, two = (
        checked_policy(["a.example"], where="x"),
        checked_policy(["*.example:8443".replace("*", "*.b")], where="x"),
    )
    assert policy_sentence(OPEN_EGRESS).startswith("egress policy: open")
    assert "nothing leaves" in policy_sentence(NO_EGRESS)
    assert "only a.example; of these only: *.b.example:8443" in policy_sentence(strictest([one, two]))
