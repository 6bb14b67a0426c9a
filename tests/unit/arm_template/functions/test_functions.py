"""The functions of ARM templates give what Azure's reference says they give."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.evaluation import Scope, evaluate_value
from vmkiln.arm_template.functions.general_functions import FUNCTIONS
from vmkiln.arm_template.functions.place_functions import PLACE_FUNCTIONS
from vmkiln.errors import Mistake, TemplateInvalid

CONTEXT = DeploymentContext(
    subscription_id="sub",
    resource_group="group",
    now=datetime(2026, 3, 4, 5, 6, 7, 89_000, tzinfo=UTC),
    new_guid=UUID("12345678-1234-5678-1234-567812345678"),
)
VARIABLES: dict[str, Any] = {
    "Object": {"Name": "n", "list": [1, 2, 3], "none": None, "deep": {"a": 1}},
    "numbers": [3, 1, 2],
    "text": "One Two",
}


def unknown(name: str, path: str) -> Any:
    raise TemplateInvalid([Mistake(path, f"no {name}")])


def variable(name: str, path: str) -> Any:
    return VARIABLES[name]


def no_function(name: str, path: str) -> None:
    return None


def value_of(expression: str, context: DeploymentContext = CONTEXT) -> Any:
    scope = Scope(context, unknown, variable, no_function)
    return evaluate_value(f"[{expression}]", scope, "here")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("concat('a', 1, true(), 'b')", "a1Trueb"),
        ("concat(createArray(1), createArray(2, 3))", [1, 2, 3]),
        ("format('{0}-{1}{{}}', 'a', 2)", "a-2{}"),
        ("format('{0:D3}|{1,4}|{1,-4}|{2:X2}|{3:00}', 7, 'a', 255, 5)", "007|   a|a   |FF|05"),
        ("format('{0:N2}', 1234)", "1,234.00"),
        ("toLower(toUpper('aB'))", "ab"),
        ("replace('a-b-c', '-', '')", "abc"),
        ("substring('abcdef', 2, 3)", "cde"),
        ("substring('abcdef', 2)", "cdef"),
        ("split('a,b;c', createArray(',', ';'))", ["a", "b", "c"]),
        ("split('a.b', '.')", ["a", "b"]),
        ("join(createArray('a', 'b'), '-')", "a-b"),
        ("first('abc')", "a"),
        ("last(createArray(1, 2))", 2),
        ("first(createArray())", None),
        ("take('abc', 2)", "ab"),
        ("skip(createArray(1, 2, 3), 1)", [2, 3]),
        ("contains('abc', 'b')", True),
        ("contains(variables('Object'), 'name')", True),
        ("contains(createArray(1, 2), 3)", False),
        ("startsWith('Abc', 'aB')", True),
        ("endsWith('abC', 'Bc')", True),
        ("indexOf('aBc', 'b')", 1),
        ("lastIndexOf('abab', 'AB')", 2),
        ("trim('  a ')", "a"),
        ("padLeft(7, 3, '0')", "007"),
        ("length('abc')", 3),
        ("length(variables('Object'))", 4),
        ("empty('')", True),
        ("empty(null())", True),
        ("empty(createArray(1))", False),
        ("string(12)", "12"),
        ("string(createObject('a', createArray(1)))", '{"a":[1]}'),
        ("int('42')", 42),
        ("bool('True')", True),
        ("bool(0)", False),
        ("if(equals('a', 'A'), 1, 2)", 2),
        ("if(true(), 1, nonsense())", 1),
        ("and(false(), nonsense())", False),
        ("or(true(), nonsense())", True),
        ("not(false())", True),
        ("equals(createArray(1, 'a'), createArray(1, 'a'))", True),
        ("equals(1, true())", False),
        ("coalesce(null(), 'a', nonsense())", "a"),
        ("createObject('a', 1, 'b', null())", {"a": 1, "b": None}),
        ("union(variables('Object').deep, createObject('b', 2))", {"a": 1, "b": 2}),
        ("union(json('{\"a\": {\"x\": 1}}'), json('{\"a\": {\"y\": 2}}'))", {"a": {"x": 1, "y": 2}}),
        ("union(createArray(1, 2), createArray(2, 3))", [1, 2, 3]),
        ("intersection(createArray(1, 2), createArray(2, 3))", [2]),
        ("shallowMerge(createArray(createObject('a', 1), createObject('a', 2)))", {"a": 2}),
        ("flatten(createArray(createArray(1), createArray(2)))", [1, 2]),
        ("array('a')", ["a"]),
        ("range(3, 2)", [3, 4]),
        ("add(1, 2)", 3),
        ("sub(1, 2)", -1),
        ("mul(3, 4)", 12),
        ("div(-7, 2)", -3),
        ("mod(-7, 2)", -1),
        ("min(3, 1)", 1),
        ("max(variables('numbers'))", 3),
        ("less(1, 2)", True),
        ("greaterOrEquals('b', 'a')", True),
        ("json('{\"a\": [1, null]}')", {"a": [1, None]}),
        ("base64('one, two')", "b25lLCB0d28="),
        ("base64ToString('b25l')", "one"),
        ("uri('https://x/a/b.json', 'c.sh')", "https://x/a/c.sh"),
        ("uriComponent('a b/c')", "a%20b%2Fc"),
        ("variables('Object').NAME", "n"),
        ("variables('Object')['list'][1]", 2),
        ("variables('Object').?missing", None),
        ("tryGet(variables('Object'), 'deep', 'a')", 1),
        ("tryGet(variables('Object'), 'no', 'a')", None),
        ("items(createObject('b', 1, 'a', 2))", [{"key": "a", "value": 2}, {"key": "b", "value": 1}]),
        ("objectKeys(createObject('b', 1, 'a', 2))", ["a", "b"]),
        ("map(range(0, 3), lambda('i', mul(lambdaVariables('i'), 2)))", [0, 2, 4]),
        ("map(createArray('a'), lambda('x', 'i', lambdaVariables('i')))", [0]),
        ("filter(variables('numbers'), lambda('n', greater(lambdaVariables('n'), 1)))", [3, 2]),
        ("reduce(variables('numbers'), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))", 6),
        ("sort(variables('numbers'), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))", [1, 2, 3]),
        ("toObject(createArray('a'), lambda('x', lambdaVariables('x')), lambda('x', 1))", {"a": 1}),
        ("groupBy(createArray('a', 'b'), lambda('x', 'k'))", {"k": ["a", "b"]}),
        ("mapValues(createObject('a', 1), lambda('v', add(lambdaVariables('v'), 1)))", {"a": 2}),
    ],
)  # fmt: skip
def test_a_function_gives_what_the_reference_says(expression: str, expected: Any) -> None:
    assert value_of(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("resourceGroup().name", "group"),
        ("resourceGroup().location", "local"),
        ("resourceGroup().id", "/subscriptions/sub/resourceGroups/group"),
        ("subscription().subscriptionId", "sub"),
        ("subscription().id", "/subscriptions/sub"),
        ("deployment().name", "local"),
        ("resourceId('A.B/c', 'x')", "/subscriptions/sub/resourceGroups/group/providers/A.B/c/x"),
        ("resourceId('g2', 'A.B/c/d', 'x', 'y')", "/subscriptions/sub/resourceGroups/g2/providers/A.B/c/x/d/y"),
        ("resourceId('s2', 'g2', 'A.B/c', 'x')", "/subscriptions/s2/resourceGroups/g2/providers/A.B/c/x"),
        ("subscriptionResourceId('A.B/c', 'x')", "/subscriptions/sub/providers/A.B/c/x"),
        ("subscriptionResourceId('s2', 'A.B/c', 'x')", "/subscriptions/s2/providers/A.B/c/x"),
        ("tenantResourceId('A.B/c', 'x')", "/providers/A.B/c/x"),
        ("extensionResourceId('/x/y', 'A.B/c', 'z')", "/x/y/providers/A.B/c/z"),
        ("newGuid()", "12345678-1234-5678-1234-567812345678"),
        ("utcNow()", "20260304T050607Z"),
        ("utcNow('yyyy-MM-dd HH:mm:ss.fff')", "2026-03-04 05:06:07.089"),
        ("utcNow('u')", "2026-03-04 05:06:07Z"),
        ("utcNow('d/M/yy')", "4/3/26"),
    ],
)  # fmt: skip
def test_the_context_is_what_the_deployment_says(expression: str, expected: Any) -> None:
    assert value_of(expression) == expected


def test_unique_string_depends_on_its_input_alone() -> None:
    first, again, other = (value_of(f"uniqueString('a', '{text}')") for text in "bbc")
    assert first == again != other
    assert len(first) == 13
    assert first.isalnum()
    assert first.islower()


def test_guid_is_a_name_based_uuid() -> None:
    assert UUID(value_of("guid('a', 'b')")).version == 5
    assert value_of("guid('a', 'b')") == value_of("guid('a', 'b')") != value_of("guid('a')")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nonsense()", "the function `nonsense` is not known"),
        ("reference('x').id", "cannot stand here"),
        ("listKeys('x', '2020')", "cannot stand here"),
        ("substring('a', 2, 1)", "1 characters"),
        ("concat('a', createArray())", "cannot be joined"),
        ("if('yes', 1, 2)", "true or false"),
        ("variables('Object').nothing", "has no member 'nothing'"),
        ("variables('numbers')[7]", "none at 7"),
        ("div(1, 0)", "division by zero"),
        ("resourceId('A.B/c')", "needs 1 names"),
        ("resourceId('x', 'y')", "resource type"),
        ("format('{1}', 1)", "argument {1}"),
        ("format('{', 1)", "lone brace"),
        ("json('{')", "the file ends"),
        ("int('x')", "whole number"),
        ("toLower(1)", "must be a string"),
        ("equals(1)", "takes 2 arguments, 1 are given"),
        ("copyIndex()", "no copy loop"),
        ("lambdaVariables('x')", "no lambda"),
        ("range(0, 100000)", "0 to 10000"),
        ("padLeft('a', 99999999)", "out of range"),
        ("map(range(0, 9000), lambda('a', map(range(0, 9000), lambda('b', 1))))", "steps"),
        ("reduce(range(0, 99), 'x', lambda('a', 'b', concat(lambdaVariables('a'), lambdaVariables('a'))))", "longer"),
        ("replace(padLeft('', 900000, 'a'), 'a', padLeft('', 900000))", "longer"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_place_and_the_reason(expression: str, message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        value_of(expression)
    assert caught.value.mistakes[0].path == "here"
    assert message in caught.value.mistakes[0].message


@settings(max_examples=tiers.cheap_examples())
@given(
    st.sampled_from([*FUNCTIONS, *PLACE_FUNCTIONS, "if", "map", "reduce", "sort", "coalesce", "tryGet", "copyIndex"]),
    st.lists(
        st.sampled_from(
            [
                "1",
                "-1",
                "''",
                "'a'",
                "'{0}'",
                "null()",
                "true()",
                "createArray('a', 1)",
                "createObject('a', 1)",
                "lambda('x', lambdaVariables('x'))",
                "lambda('x', 'y', true())",
            ]
        ),
        max_size=4,
    ),
)
def test_any_function_with_any_arguments_gives_a_value_or_our_error(function: str, arguments: list[str]) -> None:
    paths = ["here"]
    try:
        value_of(f"{function}({', '.join(arguments)})")
    except TemplateInvalid as error:
        paths = [mistake.path for mistake in error.mistakes]
    assert paths == ["here"]
