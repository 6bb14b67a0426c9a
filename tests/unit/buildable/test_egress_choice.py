"""Which egress policy counts: the strictest of the setting, the command and the template's tags."""

import pytest

from vmkiln.buildable.egress_choice import check_allowances, check_guest_proxy, decided_egress, tag_mistakes
from vmkiln.errors import InputError
from vmkiln.host.egress.egress_policy import NO_EGRESS, OPEN_EGRESS, EgressPolicy
from vmkiln.host.egress.policy_text import checked_policy


def a_list(text: str) -> EgressPolicy:
    return checked_policy([text], where="x")


def test_without_a_word_a_build_is_open() -> None:
    assert decided_egress("open", OPEN_EGRESS, {"team": "x"}) == OPEN_EGRESS


@pytest.mark.parametrize(
    ("setting", "asked", "tags"),
    [
        ("none", "a.example", {}),
        ("a.example", "none", {"vmkiln-egress": "open"}),
        ("open", "open", {"VMKILN-Egress": "none"}),
    ],
)
def test_none_wins_wherever_it_stands(setting: str, asked: str, tags: dict[str, str]) -> None:
    assert decided_egress(setting, a_list(asked), tags) == NO_EGRESS


def test_no_template_and_no_command_opens_what_the_operator_closed() -> None:
    policy = decided_egress("*.example.org", OPEN_EGRESS, {"vmkiln-egress": "a.example.org evil.example"})
    assert policy.allows("a.example.org", 443)
    assert not policy.allows("evil.example", 443)
    assert not policy.allows("b.example.org", 443)


def test_a_long_list_goes_over_several_tags() -> None:
    tags = {"vmkiln-egress": "a.example", "vmkiln-egress-2": "b.example", "vmkiln-egress-x": "c.example"}
    policy = decided_egress("open", OPEN_EGRESS, tags)
    assert [policy.allows(f"{letter}.example", 443) for letter in "abc"] == [True, True, False]


def test_mistakes_in_tags_are_named_with_their_tag() -> None:
    tags = {"vmkiln-egress": "1.2.3.4 @nowhere", "vmkiln-egress-2": "none"}
    found = [(mistake.path, mistake.message) for mistake in tag_mistakes(tags)]
    assert [path for path, _ in found] == ["tags.vmkiln-egress"] * 3
    with pytest.raises(InputError, match=r"one of several tags.*is an address.*is no set"):
        decided_egress("open", OPEN_EGRESS, tags)


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(InputError, match="VMKILN_EGRESS: `localhost` is no name"):
        decided_egress("localhost", OPEN_EGRESS, {})


def test_nothing_is_opened_for_a_build_that_may_reach_nothing() -> None:
    check_allowances(a_list("a.example"), ["10.0.0.0/8"])
    check_allowances(NO_EGRESS, [])
    with pytest.raises(InputError, match="--allow-egress"):
        check_allowances(NO_EGRESS, ["10.0.0.0/8"])


def test_a_proxy_that_reaches_all_goes_with_an_open_policy_only() -> None:
    check_guest_proxy(OPEN_EGRESS, "http://proxy.example:3128")
    check_guest_proxy(NO_EGRESS, "")
    for policy in (NO_EGRESS, a_list("a.example")):
        with pytest.raises(InputError, match="guest_proxy"):
            check_guest_proxy(policy, "http://proxy.example:3128")
