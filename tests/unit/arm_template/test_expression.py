"""Expressions become a tree, or one mistake that names the place."""

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.arm_template.expression import Access, Call, Expression, Literal, is_expression, parse_expression, unescaped
from vmkiln.errors import TemplateInvalid

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
LITERALS = st.builds(Literal, st.text(max_size=12) | st.integers(-(10**15), 10**15))
TREES: st.SearchStrategy[Expression] = st.recursive(
    LITERALS,
    lambda inner: st.one_of(
        st.builds(Call, NAMES, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Access, st.builds(Call, NAMES, st.lists(inner, max_size=2).map(tuple)), inner),
    ),
    max_leaves=12,
)


def written(tree: Expression) -> str:
    match tree:
        case Literal(str(text)):
            return "'" + text.replace("'", "''") + "'"
        case Literal(number):
            return str(number)
        case Call(function, arguments):
            return f"{function}({', '.join(written(argument) for argument in arguments)})"
        case Access(target, key):
            return f"{written(target)}[{written(key)}]"


@given(TREES)
def test_a_tree_that_is_written_down_is_read_back(tree: Expression) -> None:
    assert parse_expression(f"[{written(tree)}]", path="p") == tree


@settings(max_examples=tiers.cheap_examples())
@given(st.text(alphabet="ab()[],.?' 019-_\n\"\\{}", max_size=50))
def test_any_text_is_parsed_or_refused_at_its_path(text: str) -> None:
    paths = ["properties.x"]
    try:
        parse_expression(f"[{text}]", path="properties.x")
    except TemplateInvalid as error:
        paths = [mistake.path for mistake in error.mistakes]
    assert paths == ["properties.x"]


def test_members_and_indexes_follow_a_function() -> None:
    tree = parse_expression("[ a( 'it''s' , -3 ).b[0] ]", path="p")
    call = Call("a", (Literal("it's"), Literal(-3)))
    assert tree == Access(Access(call, Literal("b")), Literal(0))


def test_a_safe_access_is_told_apart() -> None:
    assert parse_expression("[a().?b]", path="p") == Access(Call("a", ()), Literal("b"), is_safe=True)
    assert parse_expression("[a()?.b]", path="p") == Access(Call("a", ()), Literal("b"), is_safe=True)
    assert parse_expression("[a()[?'b']]", path="p") == Access(Call("a", ()), Literal("b"), is_safe=True)


def test_only_whole_strings_in_brackets_are_expressions() -> None:
    assert is_expression("[a()]")
    assert not is_expression("[[a()]")
    assert not is_expression("[a() b")
    assert unescaped("[[a()]") == "[a()]"
    assert unescaped("[[a() b") == "[[a() b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a function"),
        ("[a(]", "expected a function"),
        ("[a()", None),
        ("[a() b()]", "closing"),
        ("[a('x)]", "never closed"),
        ("[abc]", "neither a function nor a string"),
        ("[a(1 2)]", "expected `,` or `)`"),
        ("[a().]", "member's name"),
        ("[a()[0]", "closing"),
        ("[a()[0)]", "after the index"),
        ("[" + "a(" * 100 + ")" * 100 + "]", "nested deeper"),
        ("[a()" + ".b" * 100 + "]", "in a row"),
        ("[" + "a" * 30_000 + "()]", "longer than"),
    ],
)
def test_a_mistake_says_what_was_expected(text: str, message: str | None) -> None:
    if message is None:
        assert not is_expression(text)
        return
    with pytest.raises(TemplateInvalid) as caught:
        parse_expression(text, path="variables.x")
    assert message in caught.value.mistakes[0].message
