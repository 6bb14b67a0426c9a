"""uniqueString gives what Azure gives: pairs that people published, and the form for any text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.arm_template.budget import MAXIMUM_STEPS, Arguments, Budget
from vmkiln.arm_template.functions.unique_string import unique_string

AN_ID = (
    "/subscriptions/31e9f9a0-9fd2-4294-a0a3-0101246d9700/resourceGroups/rg-modm201-20230913120256"
    "/providers/Microsoft.Compute/virtualMachines/bobjacmodm201"
)


def found(*texts: str) -> str:
    return unique_string(Arguments(list(texts), Budget()))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(("tyeth",), "zcztcwvu6iyg6"), (("hello", "world"), "a7wkljktk6wne"), ((AN_ID,), "yvjxno3je5on2")],
)
def test_a_published_pair_comes_out_as_in_azure(texts: tuple[str, ...], expected: str) -> None:
    assert found(*texts) == expected


@given(st.text(max_size=40))
def test_any_text_gives_thirteen_letters_of_base_32(text: str) -> None:
    assert re.fullmatch(r"[a-z2-7]{13}", found(text))


def test_long_texts_are_paid_for() -> None:
    arguments = Arguments(["x" * 4_000], Budget(steps=MAXIMUM_STEPS - 900))
    with pytest.raises(ValueError, match="more than"):
        unique_string(arguments)
