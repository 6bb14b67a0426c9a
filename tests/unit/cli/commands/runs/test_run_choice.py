"""Runs of some states, or of one template."""

import pytest

from vmkiln.cli.commands.runs.run_choice import read_states, state_names
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
