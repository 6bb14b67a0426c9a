"""Every example of the form is a template without a mistake."""

import json

import pytest

from vmkiln.portal.templates.examples import HELLO, TITLES, example
from vmkiln.portal.templates.written_template import check

FORM = {"subscription": "11111111-1111-1111-1111-111111111111", "group": "rg", "name": "web"}


@pytest.mark.parametrize("name", TITLES)
def test_an_example_is_a_template_once_the_form_is_filled_in(name: str) -> None:
    assert check({**FORM, "body": json.dumps(example(name))}) == ([], [])


def test_each_example_is_another_and_an_unknown_one_is_the_first() -> None:
    found = [json.dumps(example(name)) for name in TITLES]
    assert len(set(found)) == len(TITLES)
    assert json.dumps(example("unknown")) == found[0] == json.dumps(example(HELLO))
