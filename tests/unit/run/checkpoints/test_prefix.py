"""Keys of what a build has come to: all that came before is in them, and nothing with a secret gets one."""

from dataclasses import replace
from pathlib import Path

import pytest

from vmkiln.packer.packer_template import FileCopy, InlineShell, ScriptShell
from vmkiln.run.checkpoints.prefix import Content, Positions, positions
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask

BEFORE = {"base": "a source", "network": "a network"}
INSTALL = Content(InlineShell("install", "properties.customize[0]", ("apt-get install -y nginx",)), "", "install")
SCRIPT = Content(ScriptShell("script", "properties.customize[1]", Path("/copies/1")), "d1", "script")
FILE = Content(FileCopy("file", "properties.customize[2]", Path("/copies/2"), "/etc/motd"), "d2", "file")
THREE = (INSTALL, SCRIPT, FILE)


def keys(*contents: Content, before: dict[str, str] = BEFORE) -> list[str]:
    return [one.key for one in positions(before, contents, mask=NO_SECRETS).kept]


def test_each_position_has_a_key_of_its_own_that_says_the_same_again() -> None:
    found = keys(*THREE)
    assert len(set(found)) == 3
    assert keys(*THREE) == found
    assert keys(INSTALL, SCRIPT) == found[:2]
    assert keys(INSTALL, INSTALL)[1] != found[0], "the same step twice is not the step once"


@pytest.mark.parametrize(
    ("number", "changed"),
    [
        (0, replace(INSTALL, step=InlineShell("install", "", ("apt-get install -y nginx", "")))),
        (1, replace(SCRIPT, digest="other")),
        (2, replace(FILE, digest="other")),
        (2, replace(FILE, step=FileCopy("file", "", Path("/copies/2"), "/etc/issue"))),
        (1, replace(FILE, digest="d1")),
    ],
)
def test_a_changed_step_leaves_the_keys_before_it_and_no_key_from_it_on(number: int, changed: Content) -> None:
    steps = list(THREE)
    steps[number] = changed
    before, after = keys(*THREE), keys(*steps)
    assert after[:number] == before[:number]
    assert not set(after[number:]) & set(before)


def test_no_key_is_the_same_behind_another_base_or_in_another_order() -> None:
    other = keys(*THREE, before={**BEFORE, "network": "another"})
    assert not set(other) & set(keys(*THREE))
    assert not set(keys(SCRIPT, INSTALL, FILE)) & set(keys(*THREE))


def test_a_name_a_place_and_where_a_copy_lies_are_no_facts() -> None:
    renamed = replace(SCRIPT, step=ScriptShell("other", "properties.customize[7]", Path("/elsewhere")))
    assert keys(INSTALL, renamed, FILE) == keys(*THREE)


@pytest.mark.parametrize(
    "step",
    [
        replace(SCRIPT, finding="something of it is never shown"),
        replace(SCRIPT, template_text="scriptUri='https://example.org/?sig=hunter22'"),
        replace(INSTALL, step=InlineShell("b", "", ("echo aHVudGVyMjI=",))),
        replace(FILE, step=FileCopy("file", "", Path("/c"), "/etc/hunter22")),
    ],
)
def test_from_the_first_step_with_a_secret_on_nothing_has_a_key(step: Content) -> None:
    found = positions(BEFORE, (INSTALL, step, FILE), mask=SecretMask.of(["hunter22"]))
    assert [one.number for one in found.kept] == [1]
    assert "nothing is kept" in found.reason
    assert "hunter22" not in found.reason


def test_a_secret_that_is_too_short_to_be_masked_is_still_found() -> None:
    step = replace(INSTALL, step=InlineShell("b", "", ("login -p abc",)))
    assert positions(BEFORE, (step,), mask=SecretMask.of(["abc"])).kept == ()
    assert len(positions(BEFORE, (INSTALL,), mask=SecretMask.of(["abc"])).kept) == 1


def test_from_a_step_that_its_author_marked_on_nothing_has_a_key() -> None:
    found = positions(BEFORE, THREE, mask=NO_SECRETS, never=frozenset({"script"}))
    assert [one.step for one in found.kept] == ["install"]
    assert found.reason == "from `script` on nothing is kept: the tag `vmkiln-never-kept` names it"
    assert positions(BEFORE, (), mask=NO_SECRETS) == Positions()
