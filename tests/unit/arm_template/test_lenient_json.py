"""JSON as people write it is read; what is wrong is refused with its place, and never with another error."""

import json
from typing import Any

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.arm_template.lenient_json import MAXIMUM_DEPTH, read_json
from vmkiln.errors import TemplateInvalid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


def read(text: str) -> Any:
    return read_json(text, file_name="t.json")


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_json_writes_is_read_back(value: Any, indent: int | None, ascii_only: bool) -> None:
    assert read(json.dumps(value, indent=indent, ensure_ascii=ascii_only)) == value


@settings(max_examples=tiers.cheap_examples())
@given(st.text(alphabet='{}[]",:/*\\ \n\r\t0129.eE+-truefalsn\x00u\ufeffd8', max_size=60))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    places = ["t.json:"]
    try:
        read(text)
    except TemplateInvalid as error:
        places = [mistake.path for mistake in error.mistakes]
    assert len(places) == 1
    assert places[0].startswith("t.json:")


@given(VALUES, st.data())
def test_a_cut_off_document_never_gives_another_error(value: Any, data: st.DataObject) -> None:
    text = json.dumps({"a": [value]})
    with pytest.raises(TemplateInvalid):
        read(text[: data.draw(st.integers(0, len(text) - 1))])


def test_comments_trailing_commas_and_a_byte_order_mark_are_let_pass() -> None:
    text = '\ufeff// first\n{"a": [1, 2,], /* inner \n comment */ "b": "http://x/*not*/", }\n// last'
    assert read(text) == {"a": [1, 2], "b": "http://x/*not*/"}


def test_a_string_may_go_over_several_lines() -> None:
    assert read('"one\n two"') == "one\n two"


def test_surrogate_pairs_become_one_character_and_halves_are_refused() -> None:
    assert read('"\\ud83d\\ude00"') == "\U0001f600"
    with pytest.raises(TemplateInvalid, match="half of a surrogate"):
        read('"\\ud83d"')


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "t.json:1:1", "empty"),
        ('{"a": 1\n "b": 2}', "t.json:2:2", "expected `,` or `}`"),
        ('{"a": 1, "b": 2, "a": 3}', "t.json:1:18", "given twice"),
        ('{"a": tru}', "t.json:1:7", "expected a JSON value"),
        ("{a: 1}", "t.json:1:2", "double quotes"),
        ('{"a" 1}', "t.json:1:6", "expected `:`"),
        ('{"a": "x}', "t.json:1:7", "never closed"),
        ('{"a": "C:\\windows"}', "t.json:1:10", "escape"),
        ("{} {}", "t.json:1:4", "end of the file"),
        ("[1, 2", "t.json:1:6", "opened at line 1, column 1"),
        ("/* x", "t.json:1:1", "comment is never closed"),
        ("01", "t.json:1:2", "end of the file"),
        ("1e999", "t.json:1:1", "too large"),
        ("9" * 400, "t.json:1:1", "too long"),
        ("NaN", "t.json:1:1", "expected a JSON value"),
        ('"\x01"', "t.json:1:2", "U+0001"),
    ],
)
def test_a_mistake_is_named_with_line_and_column(text: str, place: str, message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        read(text)
    assert caught.value.mistakes[0].path == place
    assert message in caught.value.mistakes[0].message


def test_a_duplicate_that_loses_nothing_is_let_pass() -> None:
    assert read('{"a": "", "a": 1, "a": 1}') == {"a": 1}


def test_nesting_has_a_limit() -> None:
    assert read("[" * MAXIMUM_DEPTH + "]" * MAXIMUM_DEPTH)
    with pytest.raises(TemplateInvalid, match="nested deeper"):
        read("[" * 100_000)
