"""Expressions of ARM templates, evaluated: the functions that look around, choose, loop or define names.

Everything else is in arm_functions.py. A value is plain JSON: dict, list, str, int, float, bool or None.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.expression import Access, Call, Expression, Literal, is_expression, parse_expression, unescaped
from vmkiln.arm_template.functions import FUNCTIONS, call_function, near_functions
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.resource_functions import RESOURCE_FUNCTIONS
from vmkiln.arm_template.values import index_value, member_of, needs_bool
from vmkiln.errors import Mistake, TemplateInvalid

MAXIMUM_NESTING = 120  # of values and calls in one another, variables and user functions included
MAXIMUM_STEPS = 500_000
RUNTIME_FUNCTIONS = {"reference", "references", "pickzones", "environment", "tologicalzone", "deployer"}


@dataclass(frozen=True)
class Lambda:
    """`lambda('x', expression)`, to be called once for each element."""

    names: tuple[str, ...]
    body: Expression
    scope: "Scope"


@dataclass
class Effort:
    """What an evaluation has cost so far, so that a template cannot keep us busy for ever."""

    steps: int = 0
    nesting: int = 0


@dataclass(frozen=True)
class Scope:
    """What names mean at one place. The functions given here raise TemplateInvalid for a name that does not exist.

    `runtime` answers the functions that ask for the state of resources (name in lower case, arguments, path); without
    it they are refused.
    """

    context: DeploymentContext
    parameter: Callable[[str, str], Any]
    variable: Callable[[str, str], Any]
    user_function: Callable[[str, str], "UserFunction | None"]
    copy_indexes: Mapping[str, int] = field(default_factory=dict)
    lambda_variables: Mapping[str, Any] = field(default_factory=dict)
    effort: Effort = field(default_factory=Effort)
    runtime: "Callable[[str, list[Any], str], Any] | None" = None


@dataclass(frozen=True)
class UserFunction:
    """A function that the template defines."""

    parameter_names: tuple[str, ...]
    output: Any


def evaluate_value(value: Any, scope: Scope, path: str) -> Any:
    """A template's JSON value with every expression in it evaluated, in member names too.

    Raises TemplateInvalid with the mistakes of all its members.
    """
    with_nesting(scope, path)
    try:
        if isinstance(value, str):
            if is_expression(value):
                return evaluate(parse_expression(value, path=path), scope, path)
            return unescaped(value)
        if isinstance(value, list):
            return _evaluate_all([(member_path(path, index), item) for index, item in enumerate(value)], scope)
        if isinstance(value, dict):
            return _evaluate_object(value, scope, path)
        return value
    finally:
        scope.effort.nesting -= 1


def _evaluate_all(items: Sequence[tuple[str, Any]], scope: Scope) -> list[Any]:
    found: list[Any] = []
    mistakes: list[Mistake] = []
    for path, item in items:
        try:
            found.append(evaluate_value(item, scope, path))
        except TemplateInvalid as error:
            mistakes += error.mistakes
    if mistakes:
        raise TemplateInvalid(list(dict.fromkeys(mistakes)))
    return found


def _evaluate_object(value: dict[str, Any], scope: Scope, path: str) -> dict[str, Any]:
    keys = [evaluate_value(key, scope, member_path(path, key)) for key in value if key != "copy"]
    for key in keys:
        if not isinstance(key, str):
            raise _refused(path, "an expression in place of a member's name must give a string")
    members = [(member_path(path, key), item) for key, item in value.items() if key != "copy"]
    result = dict(zip(keys, _evaluate_all(members, scope), strict=True))
    if "copy" in value:
        result |= _evaluate_copy(value["copy"], scope, member_path(path, "copy"))
    return result


def _evaluate_copy(loops: Any, scope: Scope, path: str) -> dict[str, Any]:
    """The arrays that a `copy` member makes: `[{"name", "count", "input"}, ...]`; or the member as it is."""
    is_loop = isinstance(loops, list) and all(isinstance(loop, dict) and "input" in loop for loop in loops)
    if not is_loop:
        return {"copy": evaluate_value(loops, scope, path)}
    return dict(copied(loop, scope, path) for loop in loops)


def copied(loop: Mapping[str, Any], scope: Scope, path: str) -> tuple[str, list[Any]]:
    """The name and the elements of one `copy` loop. Raises TemplateInvalid."""
    name, count = evaluate_value(loop.get("name"), scope, path), evaluate_value(loop.get("count"), scope, path)
    if not isinstance(name, str) or not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 800:
        raise _refused(path, "a copy loop needs a `name` and a `count` from 0 to 800")
    items = []
    for index in range(count):
        inner = replace(scope, copy_indexes={**scope.copy_indexes, name.lower(): index, "": index})
        items.append(evaluate_value(loop["input"], inner, member_path(path, name)))
    return name, items


def evaluate(expression: Expression, scope: Scope, path: str) -> Any:
    """The value of one expression. Raises TemplateInvalid at `path`."""
    with_nesting(scope, path)
    try:
        match expression:
            case Literal(value):
                return value
            case Access(target, key, is_safe):
                return _access(evaluate(target, scope, path), evaluate(key, scope, path), is_safe, path)
            case Call():
                return _call(expression, scope, path)
    finally:
        scope.effort.nesting -= 1


def with_nesting(scope: Scope, path: str) -> None:
    """Counts one step deeper. Raises TemplateInvalid when it is one too many."""
    scope.effort.nesting += 1
    try:
        if scope.effort.nesting > MAXIMUM_NESTING:
            raise _refused(path, f"values and variables are nested deeper than {MAXIMUM_NESTING} levels")
        count_steps(scope, 1, path)
    except TemplateInvalid:
        scope.effort.nesting -= 1
        raise


def count_steps(scope: Scope, steps: int, path: str) -> None:
    """Counts work of so many steps. Raises TemplateInvalid when it is more than one template may cost."""
    scope.effort.steps += steps
    if scope.effort.steps > MAXIMUM_STEPS:
        raise _refused(path, f"the template takes more than {MAXIMUM_STEPS} steps to evaluate")


def _access(target: Any, key: Any, is_safe: bool, path: str) -> Any:
    try:
        return index_value(target, key, is_safe)
    except ValueError as error:
        raise _refused(path, str(error)) from None


def _call(call: Call, scope: Scope, path: str) -> Any:
    name = call.function.lower()
    special = SPECIAL_FUNCTIONS.get(name)
    if special:
        low, high, function = special
        if not low <= len(call.arguments) <= high:
            wanted = f"{low}" if low == high else f"{low} to {high}"
            raise _refused(path, f"{call.function}() takes {wanted} arguments, {len(call.arguments)} are given")
        return function(call, scope, path)
    if "." in name:
        user_function = scope.user_function(name, path)
        if user_function:
            return _call_user_function(call, user_function, scope, path)
    arguments = [evaluate(argument, scope, path) for argument in call.arguments]
    return call_plain(call.function, arguments, scope, path)


def call_plain(function: str, arguments: list[Any], scope: Scope, path: str) -> Any:
    """The result of a function that needs only its arguments and the context. Raises TemplateInvalid."""
    name = function.lower()
    if name in RUNTIME_FUNCTIONS or name.startswith("list"):
        if scope.runtime is not None:
            return scope.runtime(name, arguments, path)
        message = f"{function}() asks for the state of resources in Azure, which a local build does not have"
        raise _refused(path, message, "put a parameter with a value in its place")
    try:
        if name in RESOURCE_FUNCTIONS:
            return RESOURCE_FUNCTIONS[name](scope.context, arguments)
        if name in FUNCTIONS:
            return call_function(name, arguments)
    except (ValueError, OverflowError) as error:
        raise _refused(path, f"{function}(): {error}") from None
    near = near_functions(name, [*FUNCTIONS, *RESOURCE_FUNCTIONS, *SPECIAL_FUNCTIONS])
    raise _refused(path, f"the function `{function}` is not known", f"did you mean {near}?" if near else None)


def _call_user_function(call: Call, function: UserFunction, scope: Scope, path: str) -> Any:
    if len(call.arguments) != len(function.parameter_names):
        wanted = len(function.parameter_names)
        raise _refused(path, f"{call.function}() takes {wanted} arguments, {len(call.arguments)} are given")
    given = [evaluate(argument, scope, path) for argument in call.arguments]
    values = dict(zip((name.lower() for name in function.parameter_names), given, strict=True))

    def parameter(name: str, where: str) -> Any:
        if name.lower() not in values:
            raise _refused(where, f"{call.function}() has no parameter `{name}`")
        return values[name.lower()]

    return evaluate_value(function.output, replace(scope, parameter=parameter, lambda_variables={}), path)


def _if(call: Call, scope: Scope, path: str) -> Any:
    condition = evaluate(call.arguments[0], scope, path)
    try:
        chosen = needs_bool(condition, "the condition")
    except ValueError as error:
        raise _refused(path, f"if(): {error}") from None
    return evaluate(call.arguments[1 if chosen else 2], scope, path)


def _and_or(call: Call, scope: Scope, path: str) -> bool:
    stops_at = call.function.lower() == "or"
    for argument in call.arguments:
        try:
            if needs_bool(evaluate(argument, scope, path), "an argument") is stops_at:
                return stops_at
        except ValueError as error:
            raise _refused(path, f"{call.function}(): {error}") from None
    return not stops_at


def _coalesce(call: Call, scope: Scope, path: str) -> Any:
    for argument in call.arguments:
        value = evaluate(argument, scope, path)
        if value is not None:
            return value
    return None


def _named(call: Call, scope: Scope, path: str) -> str:
    name = evaluate(call.arguments[0], scope, path)
    if not isinstance(name, str):
        raise _refused(path, f"{call.function}() takes a name")
    return name


def _parameters(call: Call, scope: Scope, path: str) -> Any:
    return scope.parameter(_named(call, scope, path), path)


def _variables(call: Call, scope: Scope, path: str) -> Any:
    return scope.variable(_named(call, scope, path), path)


def _lambda_variables(call: Call, scope: Scope, path: str) -> Any:
    name = _named(call, scope, path)
    if name.lower() not in scope.lambda_variables:
        raise _refused(path, f"no lambda around it has a variable `{name}`")
    return scope.lambda_variables[name.lower()]


def _copy_index(call: Call, scope: Scope, path: str) -> int:
    arguments = [evaluate(argument, scope, path) for argument in call.arguments]
    name = arguments.pop(0).lower() if arguments and isinstance(arguments[0], str) else ""
    offset = arguments[0] if arguments else 0
    if name not in scope.copy_indexes or not isinstance(offset, int):
        raise _refused(
            path, f"copyIndex({name!r}) stands in no copy loop of that name" if name else "no copy loop here"
        )
    return scope.copy_indexes[name] + offset


def _lambda(call: Call, scope: Scope, path: str) -> Lambda:
    names = [evaluate(argument, scope, path) for argument in call.arguments[:-1]]
    if not all(isinstance(name, str) for name in names):
        raise _refused(path, "lambda() takes names and, last, an expression")
    return Lambda(tuple(name.lower() for name in names), call.arguments[-1], scope)


def _apply(function: Any, values: Sequence[Any], path: str) -> Any:
    if not isinstance(function, Lambda):
        raise _refused(path, "expected a lambda(...) as argument")
    bound = dict(zip(function.names, values, strict=False))
    if len(function.names) > len(values):
        raise _refused(path, f"the lambda has {len(function.names)} variables, {len(values)} at most are given")
    inner = replace(function.scope, lambda_variables={**function.scope.lambda_variables, **bound})
    return evaluate(function.body, inner, path)


def _over_elements(call: Call, scope: Scope, path: str) -> Any:
    """map, filter, reduce, sort, toObject, groupBy and mapValues."""
    items, *rest = _arguments(call, scope, path)
    name = call.function.lower()
    if name == "mapvalues" and isinstance(items, dict):
        return {key: _apply(rest[0], (item,), path) for key, item in items.items()}
    if not isinstance(items, list) or (name == "reduce" and len(rest) < 2):
        wanted = {"mapvalues": "an object and a lambda", "reduce": "an array, a first value and a lambda"}
        raise _refused(path, f"{call.function}() takes {wanted.get(name, 'an array and a lambda')}")
    match name:
        case "map":
            return [_apply(rest[0], (item, index)[: _arity(rest[0])], path) for index, item in enumerate(items)]
        case "filter":
            kept = ((item, _apply(rest[0], (item, index)[: _arity(rest[0])], path)) for index, item in enumerate(items))
            return [item for item, keep in kept if keep is True]
        case "reduce":
            value = rest[0]
            for index, item in enumerate(items):
                value = _apply(rest[1], (value, item, index)[: max(2, _arity(rest[1]))], path)
            return value
        case "sort":
            return _sorted(items, rest[0], path)
    groups: dict[str, Any] = {}
    for item in items:
        key = _apply(rest[0], (item,), path)
        if not isinstance(key, str):
            raise _refused(path, f"{call.function}(): the lambda must give a string")
        if name == "groupby":
            groups.setdefault(key, []).append(item)
        else:
            groups[key] = _apply(rest[1], (item,), path) if len(rest) > 1 else item
    return groups


def _arguments(call: Call, scope: Scope, path: str) -> Sequence[Any]:
    return [evaluate(argument, scope, path) for argument in call.arguments]


def _arity(function: Any) -> int:
    return len(function.names) if isinstance(function, Lambda) else 1


def _sorted(items: list[Any], comes_before: Any, path: str) -> list[Any]:
    """Insertion by the lambda's word, which may be inconsistent; stable."""
    result: list[Any] = []
    for item in items:
        at = next((i for i, other in enumerate(result) if _apply(comes_before, (item, other), path) is True), None)
        result.insert(len(result) if at is None else at, item)
    return result


def _try_get(call: Call, scope: Scope, path: str) -> Any:
    value, *keys = (evaluate(argument, scope, path) for argument in call.arguments)
    for key in keys:
        found = member_of(value, key)
        if found is None:
            return None
        value = found[0]
    return value


def _refused(path: str, message: str, hint: str | None = None) -> TemplateInvalid:
    return TemplateInvalid([Mistake(path, message, hint)])


_ANY = 1000
SPECIAL_FUNCTIONS: dict[str, tuple[int, int, Callable[[Call, Scope, str], Any]]] = {
    "if": (3, 3, _if),
    "and": (2, _ANY, _and_or),
    "or": (2, _ANY, _and_or),
    "coalesce": (1, _ANY, _coalesce),
    "parameters": (1, 1, _parameters),
    "variables": (1, 1, _variables),
    "lambdavariables": (1, 1, _lambda_variables),
    "copyindex": (0, 2, _copy_index),
    "lambda": (1, 4, _lambda),
    "tryget": (2, _ANY, _try_get),
    **dict.fromkeys(("map", "filter", "reduce", "sort", "groupby", "toobject", "mapvalues"), (2, 3, _over_elements)),
}
