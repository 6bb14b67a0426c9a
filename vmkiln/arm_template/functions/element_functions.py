"""The ARM functions that ask a lambda about each element: map, filter, reduce, sort, toObject, groupBy, mapValues.

Source: the "Lambda functions for ARM templates" reference. All raise ValueError, which says what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.values import kind_of, needs_bool, needs_string

ELEMENT_FUNCTIONS = ("map", "filter", "reduce", "sort", "groupby", "toobject", "mapvalues")
_WANTED = {"mapvalues": "an object and a lambda", "reduce": "an array, a first value and a lambda"}


@dataclass(frozen=True)
class Asked:
    """A lambda that can be asked: how many variables it has, and what it says for their values."""

    variables: int
    answer: Callable[[Sequence[Any]], Any]


def over_elements(name: str, items: Any, rest: Sequence[Any]) -> Any:
    """The result of the function of that lower-case name; lambdas among `rest` are `Asked`. Raises ValueError."""
    is_enough = len(rest) == 2 if name == "reduce" else bool(rest)
    lambdas = rest[1:] if name == "reduce" else rest
    fits = isinstance(items, dict if name == "mapvalues" else list)
    if not fits or not is_enough or not all(isinstance(each, Asked) for each in lambdas):
        raise ValueError(f"it takes {_WANTED.get(name, 'an array and a lambda')}")
    ask: Asked = lambdas[0]
    match name:
        case "mapvalues":
            return {key: ask.answer((item,)) for key, item in items.items()}
        case "map":
            return [ask.answer((item, index)[: ask.variables]) for index, item in enumerate(items)]
        case "filter":
            answers = [ask.answer((item, index)[: ask.variables]) for index, item in enumerate(items)]
            return [item for item, keep in zip(items, answers, strict=True) if needs_bool(keep, "the lambda's answer")]
        case "reduce":
            value = rest[0]
            for index, item in enumerate(items):
                value = ask.answer((value, item, index)[: max(2, ask.variables)])
            return value
        case "sort":
            return _sorted(items, ask)
    return _by_key(name, items, lambdas)


def _sorted(items: list[Any], comes_before: Asked) -> list[Any]:
    """Insertion by the lambda's word, which may be inconsistent; stable."""
    result: list[Any] = []
    for item in items:
        at = next((i for i, other in enumerate(result) if comes_before.answer((item, other)) is True), None)
        result.insert(len(result) if at is None else at, item)
    return result


def _by_key(name: str, items: list[Any], lambdas: Sequence[Asked]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        key = lambdas[0].answer((item,))
        if not isinstance(key, str):
            raise ValueError(f"the lambda must give a string, not {kind_of(key)}")
        if name == "groupby":
            found.setdefault(needs_string(key, "the key"), []).append(item)
        else:
            found[key] = lambdas[1].answer((item,)) if len(lambdas) > 1 else item
    return found
