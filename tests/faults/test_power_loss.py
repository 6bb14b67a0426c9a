"""The power fails: what was acknowledged is there and whole, and nothing else is."""

from collections import Counter
from collections.abc import Iterator

import pytest
from kept_state import AT_POWER_LOSS
from sweep import Tried, in_memory, power_losses, processes

LEAST_STATES = 200


@pytest.fixture(scope="module")
def tried() -> Iterator[list[Tried]]:
    """Each case, with every state that its disk may be found in."""
    with in_memory() as folder, processes() as pool:
        work = [(folder / name, name) for name in AT_POWER_LOSS]
        yield [item for part in pool.imap(power_losses, work) for item in part]


@pytest.mark.parametrize("name", AT_POWER_LOSS)
def test_after_a_power_loss_what_was_acknowledged_is_there_and_whole(name: str, tried: list[Tried]) -> None:
    mine = [item for item in tried if item.case == name]
    assert [f"{item.point}: {item.problem}" for item in mine if item.problem] == []
    assert {item.outcome.is_done for item in mine} == {True, False}


def test_there_were_many_such_states(tried: list[Tried]) -> None:
    states = Counter(item.case for item in tried)
    assert states.total() >= LEAST_STATES, states
