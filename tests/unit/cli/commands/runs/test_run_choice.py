"""Runs of some states, or of one template."""

import pytest

from vmkiln.cli.commands.runs.run_choice import NONE, NONE_CHOSEN, none_listed, read_states, state_names
from vmkiln.errors import InputError
from vmkiln.run_state import RunState


def test_states_are_read_in_any_case_and_several_at_once() -> None:
    assert read_states(None) == ()
    assert read_states(["failed, RUNNING", "Failed"]) == (RunState.FAILED, RunState.RUNNING)
    assert state_names("ca") == ["Canceling", "Canceled"]


@pytest.mark.parametrize(
    ("word", "guess"), [("Cancelled", "`Canceled`"), ("fialed", "`Failed`"), ("done", "the states")]
)
def test_a_word_that_is_no_state_is_answered_with_the_one_meant(word: str, guess: str) -> None:
    with pytest.raises(InputError) as caught:
        read_states([word])
    assert guess in str(caught.value.hint)
    assert "PartiallySucceeded" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("template", "ran", "said"),
    [
        ("wbe", ["Web", "db"], "no run of a template `wbe` is on record; did you mean `Web`?"),
        ("other", ["web"], "no run of a template `other` is on record"),
        ("WEB", ["web"], NONE_CHOSEN),
        ("web", [], NONE),
        ("", ["web"], NONE),
    ],
)
def test_an_empty_list_says_whether_there_is_such_a_template(template: str, ran: list[str], said: str) -> None:
    assert none_listed((), template, ran) == said
    assert none_listed((RunState.FAILED,), "", ["web"]) == NONE_CHOSEN
