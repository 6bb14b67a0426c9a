"""The tag that says how the login of a Windows image is made."""

import pytest

from vmkiln.windows.login_tag import TAG, Hook, gate_of, login_tag_mistakes, told_way


@pytest.mark.parametrize("hook", Hook)
def test_a_tag_names_each_way_in_whatever_letters(hook: Hook) -> None:
    tags = {TAG.title(): f" {hook.upper()} "}
    assert told_way(tags) is hook
    assert not list(login_tag_mistakes(tags))


@pytest.mark.parametrize("tags", [{}, {TAG: ""}, {"other": "first-logon"}])
def test_without_a_tag_no_way_is_told(tags: dict[str, str]) -> None:
    assert told_way(tags) is None
    assert not list(login_tag_mistakes(tags))


def test_a_tag_that_names_no_way_is_a_mistake_with_its_place() -> None:
    tags = {TAG: "cloudbase-init"}
    (mistake,) = login_tag_mistakes(tags)
    assert (mistake.path, mistake.hint) == (f"tags.{TAG}", "one of setup-complete, first-logon")
    assert told_way(tags) is None


def test_each_way_has_a_gate_of_its_own() -> None:
    assert len({gate_of(hook) for hook in Hook}) == len(Hook)
