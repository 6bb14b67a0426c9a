"""What ARM functions share: the kinds of value they ask for, members, equality, and limits on what they may make.

All raise ValueError, which says what is wrong and not where: the place is added by arm_evaluation.py.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from vmkiln.arm_template.budget import VALUES_A_STEP, Arguments, Budget, some
from vmkiln.arm_template.plain_text import MAXIMUM_TEXT

MAXIMUM_ITEMS = 100_000

Function = Callable[[Arguments], Any]


def needs_string(value: Any, what: str) -> str:
    """`value` if it is a string. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a string, not {kind_of(value)}")
    return value


def needs_int(value: Any, what: str) -> int:
    """`value` if it is a whole number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{what} must be a whole number, not {kind_of(value)}")
    return value


def needs_bool(value: Any, what: str) -> bool:
    """`value` if it is true or false. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} must be true or false, not {kind_of(value)}")
    return value


def kind_of(value: Any) -> str:
    """What a value is, for a message."""
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array"}
    return "null" if value is None else names.get(type(value), "an object" if isinstance(value, dict) else "a lambda")


class Later:
    """An object whose members are worked out when they are asked for, each alone: the state of a resource.

    `members` gives each by its name; `missing` says what a member of another name is, or raises that it is not known.
    """

    def __init__(
        self,
        members: Mapping[str, Callable[[], Any]],
        *,
        missing: Callable[[str], tuple[Any] | None] = lambda _name: None,
    ) -> None:
        self._members = {name.lower(): (name, work_out) for name, work_out in members.items()}
        self._missing = missing

    def member(self, name: str) -> tuple[Any] | None:
        """The member of that name, whatever its case, in a tuple of one; None if there is none."""
        found = self._members.get(name.lower())
        return (found[1](),) if found else self._missing(name)

    def whole(self) -> dict[str, Any]:
        """Every member that is there."""
        return {name: forced(work_out()) for name, work_out in self._members.values()}


def forced(value: Any) -> Any:
    """A value as plain JSON: all of it where it was to be worked out later."""
    return value.whole() if isinstance(value, Later) else value


def member_of(value: Any, key: Any, budget: Budget | None = None) -> tuple[Any] | None:
    """The member or element of that key, in a tuple of one, or None; members go without regard to case.

    To find one in another case than it is written in, all are looked at, which is what the budget is for.
    """
    if isinstance(value, Later):
        return value.member(key) if isinstance(key, str) else None
    if isinstance(value, dict) and isinstance(key, str):
        if key in value:
            return (value[key],)
        folded = key.lower()
        if budget is not None:
            budget.work(len(value) // VALUES_A_STEP)
        return next(((item,) for name, item in value.items() if name.lower() == folded), None)
    if isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(value):
        return (value[key],)
    return None


def member(body: Mapping[str, Any], name: str) -> Any:
    """The member of that name, whatever its case; None if there is none."""
    return next((value for key, value in body.items() if key.lower() == name.lower()), None)


def index_value(value: Any, key: Any, is_safe: bool, budget: Budget) -> Any:
    """`value[key]`; null if `is_safe` and there is none. Raises ValueError."""
    found = member_of(value, key, budget)
    if found:
        return found[0]
    if is_safe:
        return None
    if isinstance(value, list):
        raise ValueError(f"the array has {len(value)} elements and none at {_shown(key)}")
    if isinstance(value, Later):
        raise ValueError(f"there is no member {key!r}")
    if isinstance(value, dict):
        raise ValueError(f"the object has no member {_shown(key)}; it has {some(value)}")
    raise ValueError(f"the member {_shown(key)} is asked of {kind_of(value)}")


def _shown(key: Any) -> str:
    return repr(key[:80] if isinstance(key, str) else key)[:100]


def followed(value: Any, keys: Sequence[Any], budget: Budget) -> Any:
    """The member or element that the keys lead to, one after the other; null where there is none.

    A key may be an object as the Bicep compiler writes it: `{"value": 1, "fromEnd": true}`.
    """
    for key in keys:
        if isinstance(key, dict):
            index, is_from_end = key.get("value"), key.get("fromEnd") is True
            if is_from_end and isinstance(index, int) and isinstance(value, list):
                key = len(value) - index if index >= 1 else -1  # noqa: PLW2901
            else:
                key = index  # noqa: PLW2901
        found = member_of(value, key, budget)
        if found is None:
            return None
        value = found[0]
    return value


def same(left: Any, right: Any, budget: Budget) -> bool:
    """Whether two JSON values are equal: true is not 1, strings go with regard to case.

    Raises ValueError when they are so large, or there were so many before, that the budget is spent.
    """
    budget.work(1)
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b, budget) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key], budget) for key in left)
    if isinstance(left, str):
        budget.read(left)
    return bool(left == right)


def comparable(value: Any, budget: Budget) -> Hashable:
    """A value that is equal, and has the same hash, for values that `same` takes for equal; raises as `same` does."""
    budget.work(1)
    if isinstance(value, list):
        return ("array", *(comparable(item, budget) for item in value))
    if isinstance(value, dict):
        return ("object", frozenset((key, comparable(item, budget)) for key, item in value.items()))
    if isinstance(value, str):
        budget.read(value)
    return (type(value) is bool, value)


def is_among(wanted: Any, items: Sequence[Any], budget: Budget) -> bool:
    """Whether one of the items is the same as a value; raises as `same` does."""
    return any(same(item, wanted, budget) for item in items)


def joined(texts: Sequence[str], between: str = "") -> str:
    """The texts, one after the other. Raises ValueError if that would be too long."""
    if sum(len(text) + len(between) for text in texts) > MAXIMUM_TEXT:
        raise ValueError(f"the text would be longer than {MAXIMUM_TEXT} characters")
    return between.join(texts)


def array_in(value: Any) -> list[Any]:
    """`value` if it is an array. Raises ValueError."""
    if not isinstance(value, list):
        raise ValueError(f"expected an array, not {kind_of(value)}")
    return value
