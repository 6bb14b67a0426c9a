"""The ARM functions that need nothing but their arguments, as one table, and those on numbers, arrays and objects.

Each takes the list of its argument values and gives a plain JSON value, or raises ValueError saying what is wrong.
Source: the "ARM template functions" reference. Names are without regard to case.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from vmkiln.arm_template.budget import Arguments, Budget
from vmkiln.arm_template.functions.date_functions import DATE_FUNCTIONS
from vmkiln.arm_template.functions.network_functions import NETWORK_FUNCTIONS
from vmkiln.arm_template.functions.text_functions import TEXT_FUNCTIONS
from vmkiln.arm_template.functions.uri_functions import URI_FUNCTIONS
from vmkiln.arm_template.plain_text import MAXIMUM_TEXT, as_text
from vmkiln.arm_template.values import (
    MAXIMUM_ITEMS,
    Function,
    array_in,
    comparable,
    is_among,
    joined,
    kind_of,
    member_of,
    needs_bool,
    needs_int,
    needs_string,
    same,
)

OBJECT_BYTES = 240  # of a small one


def call_function(name: str, arguments: Arguments) -> Any:
    """The result of the function of that lower-case name in FUNCTIONS. Raises ValueError."""
    low, high, function = FUNCTIONS[name]
    if not low <= len(arguments) <= high:
        wanted = f"{low}" if low == high else f"{low} or more" if high == _ANY else f"{low} to {high}"
        raise ValueError(f"it takes {wanted} arguments, {len(arguments)} are given")
    for argument in arguments:
        arguments.budget.read(argument)
    result = function(arguments)
    if isinstance(result, str) and len(result) > MAXIMUM_TEXT:
        raise ValueError(f"the text would be longer than {MAXIMUM_TEXT} characters")
    is_new = not any(result is argument for argument in arguments)
    return arguments.budget.take(result) if is_new else result


def _concat(arguments: Arguments) -> Any:
    if any(isinstance(argument, list) for argument in arguments):
        if not all(isinstance(argument, list) for argument in arguments):
            raise ValueError("arrays and strings cannot be joined with each other")
        return _chained(arguments)
    return joined([as_text(argument, arguments.budget) for argument in arguments])


def _first(arguments: Arguments) -> Any:
    return _sequence(arguments[0])[0] if _sequence(arguments[0]) else _nothing(arguments[0])


def _last(arguments: Arguments) -> Any:
    return _sequence(arguments[0])[-1] if _sequence(arguments[0]) else _nothing(arguments[0])


def _nothing(value: Any) -> Any:
    return "" if isinstance(value, str) else None


def _sequence(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError(f"expected a string or an array, not {kind_of(value)}")
    return value


def _take(arguments: Arguments) -> Any:
    return _sequence(arguments[0])[: max(0, needs_int(arguments[1], "the count"))]


def _skip(arguments: Arguments) -> Any:
    return _sequence(arguments[0])[max(0, needs_int(arguments[1], "the count")) :]


def _length(arguments: Arguments) -> int:
    value = arguments[0]
    if not isinstance(value, str | list | dict):
        raise ValueError(f"expected a string, an array or an object, not {kind_of(value)}")
    return len(value)


def _empty(arguments: Arguments) -> bool:
    return arguments[0] is None or _length(arguments) == 0


def _contains(arguments: Arguments) -> bool:
    where, what = arguments
    budget = arguments.budget
    if isinstance(where, str):
        return as_text(what, budget) in where
    if isinstance(where, dict):
        return member_of(where, as_text(what, budget), budget) is not None
    return is_among(what, array_in(where), budget)


def _create_object(arguments: Arguments) -> dict[str, Any]:
    if len(arguments) % 2:
        raise ValueError("it takes names and values in turn")
    return {needs_string(arguments[index], "a name"): arguments[index + 1] for index in range(0, len(arguments), 2)}


def _union(arguments: Arguments) -> Any:
    if all(isinstance(argument, dict) for argument in arguments):
        merged: dict[str, Any] = {}
        for argument in arguments:
            merged = _merged(merged, argument, arguments.budget)
        return merged
    return _each_once([item for argument in arguments for item in array_in(argument)], arguments.budget)


def _distinct(arguments: Arguments) -> list[Any]:
    return _each_once(array_in(arguments[0]), arguments.budget)


def _each_once(items: list[Any], budget: Budget) -> list[Any]:
    found: dict[Hashable, Any] = {}
    for item in items:
        found.setdefault(comparable(item, budget), item)
    return list(found.values())


def _merged(left: dict[str, Any], right: dict[str, Any], budget: Budget) -> dict[str, Any]:
    budget.work(1 + len(right) // 4)
    budget.take(left)
    budget.take(right)
    both = {
        key: _merged(left[key], item, budget) if isinstance(item, dict) and isinstance(left.get(key), dict) else item
        for key, item in right.items()
    }
    return {**left, **both}


def _intersection(arguments: Arguments) -> Any:
    first, *others = arguments
    budget = arguments.budget
    if all(isinstance(argument, dict) for argument in arguments):
        return {
            key: item
            for key, item in first.items()
            if all(key in other and same(other[key], item, budget) for other in others)
        }
    kept: dict[Hashable, Any] = {}
    for item in array_in(first):
        kept.setdefault(comparable(item, budget), item)
    sets = [{comparable(item, budget) for item in array_in(array)} for array in others]
    return [item for key, item in kept.items() if _is_in_all(key, sets)]


def _is_in_all(key: Hashable, sets: Sequence[set[Hashable]]) -> bool:
    return all(key in each for each in sets)


def _shallow_merge(arguments: Arguments) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for item in array_in(arguments[0]):
        if not isinstance(item, dict):
            raise ValueError("expected an array of objects")
        arguments.budget.work(len(item) // 4)
        merged |= item
    return merged


def _flatten(arguments: Arguments) -> list[Any]:
    arguments.budget.work(len(array_in(arguments[0])) // 4)
    arrays = [array_in(item) for item in array_in(arguments[0])]
    return _chained(arrays)


def _range(arguments: Arguments) -> list[int]:
    start, count = needs_int(arguments[0], "the start"), needs_int(arguments[1], "the count")
    if not 0 <= count <= 10_000:
        raise ValueError("the count must be from 0 to 10000")
    return arguments.budget.take_with_elements(list(range(start, start + count)))


def _int(arguments: Arguments) -> int:
    value = arguments[0]
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", value):
        return int(value)
    if isinstance(value, float):
        return int(value)
    return needs_int(value, "the argument")


def _float(arguments: Arguments) -> float:
    value = arguments[0]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a number or a string, not {kind_of(value)}")
    if isinstance(value, str) and not re.fullmatch(
        r"\s*[+-]?[0-9]{1,300}(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?\s*", value
    ):
        raise ValueError(f"`{value[:60]}` is not a number")
    return float(value)


def _fail(arguments: Arguments) -> Any:
    raise ValueError(needs_string(arguments[0], "the message"))


def _bool(arguments: Arguments) -> bool:
    value = arguments[0]
    words = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    return value != 0 if isinstance(value, int) else needs_bool(value, "the argument")


def _compare(arguments: Arguments) -> int:
    left, right = arguments
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    first, second = needs_int(left, "the first argument"), needs_int(right, "the second argument")
    return (first > second) - (first < second)


def _divided(arguments: Arguments, *, rest: bool = False) -> int:
    left, right = _two_ints(arguments)
    if right == 0:
        raise ValueError("division by zero")
    quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    return left - quotient * right if rest else quotient


def _chained(arrays: Sequence[list[Any]]) -> list[Any]:
    if sum(len(array) for array in arrays) > MAXIMUM_ITEMS:
        raise ValueError(f"the array would have more than {MAXIMUM_ITEMS} elements")
    return [item for array in arrays for item in array]


def _product(arguments: Arguments) -> int:
    left, right = _two_ints(arguments)
    if max(abs(left), abs(right)) >= 2**63:
        raise ValueError("the number is too large")
    return left * right


def _two_ints(arguments: Arguments) -> tuple[int, int]:
    return needs_int(arguments[0], "the first argument"), needs_int(arguments[1], "the second argument")


def _extreme(choose: Callable[[list[int]], int]) -> Function:
    def function(arguments: Arguments) -> int:
        values = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], list) else arguments
        if not values:
            raise ValueError("the array is empty")
        return choose([needs_int(value, "every value") for value in values])

    return function


def _items(arguments: Arguments) -> list[dict[str, Any]]:
    if not isinstance(arguments[0], dict):
        raise ValueError(f"expected an object, not {kind_of(arguments[0])}")
    arguments.budget.work(len(arguments[0]))
    arguments.budget.make(len(arguments[0]) * OBJECT_BYTES)
    return [{"key": key, "value": arguments[0][key]} for key in sorted(arguments[0])]


def _array(arguments: Arguments) -> list[Any]:
    return arguments[0] if isinstance(arguments[0], list) else [arguments[0]]


_ANY = 1000
FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    **TEXT_FUNCTIONS,
    **DATE_FUNCTIONS,
    **NETWORK_FUNCTIONS,
    **URI_FUNCTIONS,
    "add": (2, 2, lambda given: sum(_two_ints(given))),
    "array": (1, 1, _array),
    "bool": (1, 1, _bool),
    "concat": (1, _ANY, _concat),
    "contains": (2, 2, _contains),
    "createarray": (0, _ANY, list),
    "createobject": (0, _ANY, _create_object),
    "distinct": (1, 1, _distinct),
    "div": (2, 2, _divided),
    "empty": (1, 1, _empty),
    "equals": (2, 2, lambda given: same(given[0], given[1], given.budget)),
    "fail": (1, 1, _fail),
    "false": (0, 0, lambda _: False),
    "first": (1, 1, _first),
    "flatten": (1, 1, _flatten),
    "float": (1, 1, _float),
    "greater": (2, 2, lambda given: _compare(given) > 0),
    "greaterorequals": (2, 2, lambda given: _compare(given) >= 0),
    "int": (1, 1, _int),
    "intersection": (2, _ANY, _intersection),
    "items": (1, 1, _items),
    "last": (1, 1, _last),
    "length": (1, 1, _length),
    "less": (2, 2, lambda given: _compare(given) < 0),
    "lessorequals": (2, 2, lambda given: _compare(given) <= 0),
    "max": (1, _ANY, _extreme(max)),
    "min": (1, _ANY, _extreme(min)),
    "mod": (2, 2, lambda given: _divided(given, rest=True)),
    "mul": (2, 2, _product),
    "not": (1, 1, lambda given: not needs_bool(given[0], "the argument")),
    "null": (0, 0, lambda _: None),
    "objectkeys": (1, 1, lambda given: [item["key"] for item in _items(given)]),
    "range": (2, 2, _range),
    "shallowmerge": (1, 1, _shallow_merge),
    "skip": (2, 2, _skip),
    "sub": (2, 2, lambda given: _two_ints(given)[0] - _two_ints(given)[1]),
    "take": (2, 2, _take),
    "true": (0, 0, lambda _: True),
    "union": (1, _ANY, _union),
}
