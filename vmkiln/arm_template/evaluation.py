"""Expressions of ARM templates, evaluated: the functions that look around, choose, loop or define names.

Everything else is in the folder `functions`. A value is plain JSON: dict, list, str, int, float, bool or None.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vmkiln.arm_template.budget import MAXIMUM_NESTING, MOST_MISTAKES, Arguments, Budget
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.expression import Access, Call, Expression, Literal, is_expression, parse_expression, unescaped
from vmkiln.arm_template.functions.element_functions import ELEMENT_FUNCTIONS, Asked, over_elements
from vmkiln.arm_template.functions.function_names import near_functions
from vmkiln.arm_template.functions.general_functions import FUNCTIONS, call_function
from vmkiln.arm_template.functions.place_functions import PLACE_FUNCTIONS
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.values import followed, forced, index_value, kind_of, member, needs_bool
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.secrecy.secret_values import SecretValues

PATH_LETTERS_A_STEP = 256
EXPRESSION_LETTERS_A_STEP = 8
RUNTIME_STEPS = 500  # another resource is asked for its state, which is a request of its own
RUNTIME_FUNCTIONS = {"reference", "references", "resourceinfo"}


@dataclass(frozen=True)
class Lambda:
    """`lambda('x', expression)`, to be called once for each element."""

    names: tuple[str, ...]
    body: Expression
    scope: "Scope"


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
    budget: Budget = field(default_factory=Budget)
    secrets: SecretValues = field(default_factory=SecretValues)
    runtime: "Callable[[str, list[Any], str], Any] | None" = None


@dataclass(frozen=True)
class UserFunction:
    """A function that the template defines; `mistakes` tells what is wrong with an argument (index, value, place)."""

    parameter_names: tuple[str, ...]
    output: Any
    mistakes: Callable[[int, Any, str], Sequence[Mistake]] = lambda _index, _value, _path: ()


def evaluate_value(value: Any, scope: Scope, path: str) -> Any:
    """A template's JSON value with every expression in it evaluated, in member names too.

    Raises TemplateInvalid with the mistakes of all its members.
    """
    with_nesting(scope, path)
    try:
        if isinstance(value, str):
            if is_expression(value):
                count_steps(scope, len(value) // EXPRESSION_LETTERS_A_STEP, path)
                return evaluate(parse_expression(value, path=path), scope, path)
            return unescaped(value)
        if isinstance(value, list):
            return _evaluate_all(((member_path(path, index), item) for index, item in enumerate(value)), scope)
        if isinstance(value, dict):
            return _evaluate_object(value, scope, path)
        return value
    finally:
        scope.budget.nesting -= 1


def _evaluate_all(items: Iterable[tuple[str, Any]], scope: Scope) -> list[Any]:
    found: list[Any] = []
    mistakes: list[Mistake] = []
    for path, item in items:
        try:
            found.append(evaluate_value(item, scope, path))
        except TemplateInvalid as error:
            mistakes += error.mistakes
            if scope.budget.is_spent or len(mistakes) >= MOST_MISTAKES:
                break
    if mistakes:
        raise TemplateInvalid(list(dict.fromkeys(mistakes))[:MOST_MISTAKES])
    return found


def _evaluate_object(value: dict[str, Any], scope: Scope, path: str) -> dict[str, Any]:
    loops = next((key for key in value if key.lower() == "copy" and _is_loop(value[key], member_path(path, key))), None)
    keys = [evaluate_value(key, scope, member_path(path, key)) for key in value if key != loops]
    for key in keys:
        if not isinstance(key, str):
            raise _refused(path, "an expression in place of a member's name must give a string")
    members = ((member_path(path, key), item) for key, item in value.items() if key != loops)
    result = dict(zip(keys, _evaluate_all(members, scope), strict=True))
    for loop in value[loops] if loops is not None else ():
        name, items = copied(loop, scope, member_path(path, "copy"))
        result[name] = items
    return result


def _is_loop(value: Any, path: str) -> bool:
    """Whether a member `copy` makes arrays, `[{"name", "count", "input"}, ...]`, and is not only called so.

    Raises TemplateInvalid where it is meant so and Azure would refuse it.
    """
    loops = value if isinstance(value, list) else [value]
    meant = [isinstance(loop, dict) and {"count", "input"} <= {name.lower() for name in loop} for loop in loops]
    if any(meant) and not (isinstance(value, list) and all(meant)):
        hint = 'such as "copy": [{"name": "customize", "count": 2, "input": {...}}]'
        raise _refused(path, "must be an array of loops, each with `name`, `count` and `input`", hint)
    return any(meant)


def copied(loop: Mapping[str, Any], scope: Scope, path: str) -> tuple[str, list[Any]]:
    """The name and the elements of one `copy` loop. Raises TemplateInvalid."""
    name, count = (evaluate_value(member(loop, key), scope, path) for key in ("name", "count"))
    if not isinstance(name, str) or not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= 800:
        raise _refused(path, "a copy loop needs a `name` and a `count` from 0 to 800")
    items = []
    for index in range(count):
        inner = replace(scope, copy_indexes={**scope.copy_indexes, name.lower(): index, "": index})
        count_steps(scope, 2, path)
        items.append(evaluate_value(member(loop, "input"), inner, member_path(path, name)))
    return name, items


def evaluate(expression: Expression, scope: Scope, path: str) -> Any:
    """The value of one expression, all of it. Raises TemplateInvalid at `path`."""
    return forced(evaluate_lazily(expression, scope, path))


def evaluate_lazily(expression: Expression, scope: Scope, path: str) -> Any:
    """The value of one expression; the state of a resource is a `Later`, of which only what is asked for is needed."""
    with_nesting(scope, path)
    try:
        match expression:
            case Literal(value):
                return value
            case Access(target, key, is_safe):
                return _access(evaluate_lazily(target, scope, path), evaluate(key, scope, path), is_safe, scope, path)
            case Call():
                return _call(expression, scope, path)
    finally:
        scope.budget.nesting -= 1


def with_nesting(scope: Scope, path: str) -> None:
    """Counts one step deeper. Raises TemplateInvalid when it is one too many."""
    scope.budget.nesting += 1
    try:
        if scope.budget.nesting > MAXIMUM_NESTING:
            raise _refused(path, f"values and variables are nested deeper than {MAXIMUM_NESTING} levels")
        count_steps(scope, 1 + len(path) // PATH_LETTERS_A_STEP, path)
    except TemplateInvalid:
        scope.budget.nesting -= 1
        raise


def count_steps(scope: Scope, steps: int, path: str) -> None:
    """Counts work of so many steps. Raises TemplateInvalid when it is more than one template may cost."""
    try:
        scope.budget.work(steps)
    except ValueError as error:
        raise _refused(path, str(error)) from None


def _access(target: Any, key: Any, is_safe: bool, scope: Scope, path: str) -> Any:
    try:
        return index_value(target, key, is_safe, scope.budget)
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
    found = call_plain(call.function, arguments, scope, path)
    count_steps(scope, scope.secrets.follow(name, arguments, found), path)
    return found


def call_plain(function: str, arguments: list[Any], scope: Scope, path: str) -> Any:
    """The result of a function that needs only its arguments and the context. Raises TemplateInvalid."""
    name = function.lower()
    if name in RUNTIME_FUNCTIONS or name.startswith("list"):
        if scope.runtime is not None:
            found = scope.runtime(name, arguments, path)
            count_steps(scope, RUNTIME_STEPS, path)  # where there is no answer yet, nothing was asked for
            return found
        message = (
            f"{function}() cannot stand here: names, conditions, loops, dependsOn, variables and defaults are "
            "worked out before there is any resource to ask"
        )
        raise _refused(
            path, message, "it may stand in properties, in the parameters of nested deployments and in outputs"
        )
    try:
        if name in PLACE_FUNCTIONS:
            return scope.budget.take(PLACE_FUNCTIONS[name](scope.context, arguments))
        if name in FUNCTIONS:
            return call_function(name, Arguments(arguments, scope.budget))
    except (ValueError, OverflowError) as error:
        raise _refused(path, f"{function}(): {error}") from None
    except RecursionError:
        raise _refused(path, f"{function}(): the values are nested too deeply") from None
    near = near_functions(name)
    raise _refused(path, f"the function `{function}` is not known", f"did you mean {near}?" if near else None)


def _call_user_function(call: Call, function: UserFunction, scope: Scope, path: str) -> Any:
    if len(call.arguments) != len(function.parameter_names):
        wanted = len(function.parameter_names)
        raise _refused(path, f"{call.function}() takes {wanted} arguments, {len(call.arguments)} are given")
    given = [evaluate(argument, scope, path) for argument in call.arguments]
    if wrong := [mistake for index, value in enumerate(given) for mistake in function.mistakes(index, value, path)]:
        raise TemplateInvalid(wrong)
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
    return evaluate_lazily(call.arguments[1 if chosen else 2], scope, path)


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


def _apply(function: Lambda, values: Sequence[Any], path: str) -> Any:
    bound = dict(zip(function.names, values, strict=False))
    if len(function.names) > len(values):
        raise _refused(path, f"the lambda has {len(function.names)} variables, {len(values)} at most are given")
    count_steps(function.scope, 2, path)
    inner = replace(function.scope, lambda_variables={**function.scope.lambda_variables, **bound})
    return evaluate(function.body, inner, path)


def _over_elements(call: Call, scope: Scope, path: str) -> Any:
    """map, filter, reduce, sort, toObject, groupBy and mapValues."""
    items, *rest = (evaluate(argument, scope, path) for argument in call.arguments)
    asked = [_asked(item, path) if isinstance(item, Lambda) else item for item in rest]
    try:
        scope.budget.read(items)
        return scope.budget.take(over_elements(call.function.lower(), items, asked))
    except ValueError as error:
        raise _refused(path, f"{call.function}(): {error}") from None


def _asked(function: Lambda, path: str) -> Asked:
    return Asked(len(function.names), lambda values: _apply(function, values, path))


def _try_get(call: Call, scope: Scope, path: str) -> Any:
    value = evaluate_lazily(call.arguments[0], scope, path)
    return followed(value, [evaluate(argument, scope, path) for argument in call.arguments[1:]], scope.budget)


def _index_from_end(call: Call, scope: Scope, path: str) -> Any:
    """indexFromEnd(array, 1) is the last element; tryIndexFromEnd goes on with further keys, or gives null."""
    value, first, *keys = (evaluate(argument, scope, path) for argument in call.arguments)
    is_safe = call.function.lower() == "tryindexfromend"
    if not isinstance(value, list) and not (is_safe and value is None):
        raise _refused(path, f"{call.function}() takes an array and how far from its end, not {kind_of(value)}")
    found = followed(value, [{"value": first, "fromEnd": True}], scope.budget)
    if is_safe:
        return followed(found, keys, scope.budget)
    length = len(value or ())
    if not isinstance(first, int) or isinstance(first, bool) or not 1 <= first <= length:
        raise _refused(path, f"{call.function}(): the array has {length} elements and none at {first!r} from its end")
    return found


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
    "tryindexfromend": (2, _ANY, _index_from_end),
    "indexfromend": (2, 2, _index_from_end),
    **dict.fromkeys(ELEMENT_FUNCTIONS, (2, 3, _over_elements)),
}
