"""An ARM deployment template: its parameters, variables and functions, each worked out once, when it is needed.

Source: the ARM template syntax page.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from vmkiln.arm_template.budget import MOST_MISTAKES, VALUES_A_STEP, Budget, some
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.evaluation import Scope, UserFunction, copied, count_steps, evaluate_value
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.parameters.declared_parameter import (
    DeclaredParameter,
    check_value,
    declared_parameters,
    given_value,
)
from vmkiln.arm_template.parameters.declared_type import type_mistakes
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter, ParameterUsed, parameter_used
from vmkiln.arm_template.plain_text import check_size
from vmkiln.arm_template.values import kind_of, member
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.secrecy.secret_values import SecretValues

NESTED = "microsoft.resources/deployments"
MAXIMUM_DEPTH = 8  # of deployments in one another
_Kind = TypeVar("_Kind", list[Any], dict[str, Any])


class Deployment:
    """One deployment: what it declares, what was given, and the values worked out so far, each once."""

    def __init__(
        self,
        document: Mapping[str, Any],
        given: Mapping[str, GivenParameter],
        context: DeploymentContext,
        *,
        unknown: Mapping[str, TemplateInvalid] | None = None,
        budget: Budget | None = None,
        secrets: SecretValues | None = None,
        inside: str = "",
    ) -> None:
        """`unknown` are parameters whose value could not be worked out, with why; they may stay unused.

        `budget` and `secrets` are those of the deployment around this one, `inside` is the path at which this template
        stands in it, with a dot behind it: so are mistakes in it told.

        Raises TemplateInvalid for declarations that cannot be read.
        """
        self._unknown = unknown or {}
        self._children: list[Deployment] = []
        self.given = given
        self.budget = budget if budget is not None else Budget()
        self.inside = inside
        self._declared = declared_parameters(document, self.budget, inside)
        self._variables = _object(document, "variables", inside)
        self._variable_names = {name.lower(): name for name in reversed(self._variables) if name.lower() != "copy"}
        self._functions = _user_functions(document, self.budget, inside)
        self._resources = member(document, "resources")
        self._values: dict[str, Any] = {}
        self._open: list[str] = []
        version = member(document, "contentVersion")
        self._scope = Scope(
            replace(context, content_version=version if isinstance(version, str) else ""),
            self._parameter,
            self._variable,
            self._user_function,
            budget=self.budget,
            secrets=secrets or SecretValues(),
        )

    @property
    def parameter_names(self) -> frozenset[str]:
        """The declared parameters, in lower case."""
        return frozenset(self._declared)

    @property
    def parameters_used(self) -> tuple[ParameterUsed, ...]:
        """The parameters whose values were needed so far, in the order of their names; none tells a secret."""
        secrets = self.secrets
        used = []
        for name, parameter in sorted(self._declared.items()):
            key = f"parameters.{name}"
            if key in self._values:
                value = self._values[key]
                is_secret = parameter.is_secure or any(secret in text for text in _texts(value) for secret in secrets)
                used.append(parameter_used(parameter.name, value, is_secret=is_secret))
        return tuple(used)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text in the values of secure parameters, as far as known, and what expressions made of them."""
        found: set[str] = set(self._scope.secrets.texts)
        for name, parameter in self._declared.items():
            if parameter.is_secure:
                value = self._values.get(f"parameters.{name}")
                found.update(_texts(value))
                if name in self.given:
                    found.update(_texts(self.given[name].value))
                found.update(_texts(parameter.declaration.get("defaultValue")))
        found.update(text for child in self._children for text in child.secrets)
        return tuple(sorted(found - {""}, key=len, reverse=True))

    def check_given(self) -> None:
        mistakes = []
        named = {*self.given, *self._unknown}
        missing = [p for name, p in self._declared.items() if p.is_required and name not in named]
        for parameter in missing:
            hint = f"--parameters {parameter.name}=VALUE, or a parameter file"
            if parameter.inside:
                hint = f"a nested deployment sees only its own: give it in `properties.parameters.{parameter.name}`"
            mistakes.append(Mistake(parameter.path, f"needs a value ({_kind(parameter)})", hint))
        for name, given in self.given.items():
            declared = self._declared.get(name)
            if declared is None:
                message = "was given, but the template declares no such parameter"
                where = member_path(f"{self.inside.removesuffix('template.')}parameters", given.name)
                mistakes.append(Mistake(where, message, self._declared_hint()))
                continue
            is_left_out = given.value is None and declared.declaration.get("nullable") is not True
            if is_left_out and not declared.is_required:
                continue
            try:
                self._values[f"parameters.{name}"] = given_value(declared, given, self.budget)
            except TemplateInvalid as error:
                mistakes += error.mistakes
            if len(mistakes) >= MOST_MISTAKES:
                break
        if mistakes:
            raise TemplateInvalid(mistakes[:MOST_MISTAKES])

    def _declared_hint(self) -> str:
        return f"declared are {some([parameter.name for parameter in self._declared.values()])}"

    def _parameter(self, name: str, path: str) -> Any:
        parameter = self._declared.get(name.lower())
        if parameter is None:
            raise TemplateInvalid(
                [Mistake(path, f"the parameter `{name[:80]}` is not declared", self._declared_hint())]
            )
        if name.lower() in self._unknown:
            raise self._unknown[name.lower()]

        def value() -> Any:
            try:
                default = evaluate_value(parameter.declaration.get("defaultValue"), self._scope, parameter.path)
            except TemplateInvalid as error:
                raise _with_way_out(error, parameter) from None
            check_value(parameter, default, self.budget)
            return default

        found = self._once(f"parameters.{name.lower()}", path, value)
        if parameter.is_secure:
            self._scope.secrets.add(found)
        return found

    def _variable(self, name: str, path: str) -> Any:
        key = self._variable_names.get(name.lower())
        where = member_path(f"{self.inside}variables", key or name)
        if key is not None:
            return self._once(where.lower(), path, lambda: evaluate_value(self._variables[key], self._scope, where))
        loops = member(self._variables, "copy")
        count_steps(self._scope, len(loops) // VALUES_A_STEP if isinstance(loops, list) else 0, path)
        for loop in loops if isinstance(loops, list) else []:
            if isinstance(loop, dict) and str(member(loop, "name")).lower() == name.lower():
                return self._once(where.lower(), path, partial(self._loop, loop))
        known = f"there are {some(self._variables)}"
        raise TemplateInvalid([Mistake(path, f"the variable `{name[:80]}` does not exist", known)])

    def _loop(self, loop: Mapping[str, Any]) -> list[Any]:
        return copied(loop, self._scope, f"{self.inside}variables")[1]

    def _user_function(self, name: str, path: str) -> UserFunction | None:  # noqa: ARG002 (Scope gives the place)
        return self._functions.get(name.lower())

    def _once(self, key: str, path: str, work_out: Callable[[], Any]) -> Any:
        """The value of `key`, worked out the first time. Raises TemplateInvalid if it needs itself."""
        if key in self._values:
            return self._values[key]
        if key in self._open:
            circle = " -> ".join([*self._open[self._open.index(key) :], key])
            raise TemplateInvalid([Mistake(path, f"a value is needed to work out itself: {circle}")])
        self._open.append(key)
        try:
            value = work_out()
            check_size(value, key, self.budget)
            self._values[key] = value
        finally:
            self._open.pop()
        return value


def _with_way_out(error: TemplateInvalid, parameter: DeclaredParameter) -> TemplateInvalid:
    """The mistakes in a default value, each saying that the parameter may be given in its place."""
    way = f"or give it a value: --parameters {parameter.name}=VALUE"
    return TemplateInvalid(
        [
            replace(mistake, hint=f"{mistake.hint}; {way}" if mistake.hint else way.removeprefix("or "))
            if not parameter.inside and "--parameters" not in (mistake.hint or "")
            else mistake
            for mistake in error.mistakes
        ]
    )


def _kind(parameter: DeclaredParameter) -> str:
    allowed = parameter.declaration.get("allowedValues")
    if isinstance(allowed, list) and not parameter.is_secure:
        return f"{parameter.type}, one of {', '.join(str(item) for item in allowed)}"
    return f"{'secure ' if parameter.is_secure else ''}{parameter.type}"


def _object(document: Mapping[str, Any], name: str, inside: str) -> dict[str, Any]:
    found = member(document, name) or {}
    if not isinstance(found, dict):
        raise TemplateInvalid([Mistake(f"{inside}{name}", "must be an object")])
    return found


def _user_functions(document: Mapping[str, Any], budget: Budget, inside: str) -> dict[str, UserFunction]:
    """The functions that a template defines, by namespace and name in lower case.

    Raises TemplateInvalid for what is none: left out, it would be told only where it is called.
    """
    found: dict[str, UserFunction] = {}
    where = f"{inside}functions"
    for index, space in enumerate(_of_kind(list, member(document, "functions"), where)):
        place = member_path(where, index)
        members = _of_kind(dict, member(_of_kind(dict, space, place), "members"), member_path(place, "members"))
        for name, function in members.items():
            path = member_path(member_path(place, "members"), name)
            declared = _of_kind(dict, function, path)
            output = _of_kind(dict, member(declared, "output"), member_path(path, "output"))
            listed = _of_kind(list, member(declared, "parameters"), member_path(path, "parameters"))
            parameters = [_of_kind(dict, item, member_path(path, "parameters")) for item in listed]
            names = tuple(str(member(item, "name")) for item in parameters)
            key = f"{member(space, 'namespace')}.{name}".lower()
            found[key] = UserFunction(
                names, member(output, "value"), partial(_argument_mistakes, parameters, (document, budget))
            )
    return found


def _of_kind(kind: type[_Kind], value: Any, path: str) -> _Kind:
    """A part of a declaration, or an empty one where there is none. Raises TemplateInvalid for another kind."""
    if isinstance(value, kind):
        return value
    if value:
        wanted = "an array" if kind is list else "an object"
        raise TemplateInvalid([Mistake(path, f"must be {wanted}, not {kind_of(value)}")])
    return kind()


def _argument_mistakes(
    parameters: Sequence[Mapping[str, Any]],
    types: tuple[Mapping[str, Any], Budget],
    index: int,
    value: Any,
    path: str,
) -> list[Mistake]:
    """What is wrong with an argument of a function that the template defines."""
    name = member(parameters[index], "name")
    document, budget = types
    found = type_mistakes(value, parameters[index], document, path, budget)
    try:
        return [
            Mistake(path, f"the argument `{name}` {mistake.message}", mistake.hint)
            for mistake in islice(found, MOST_MISTAKES)
        ]
    except (ValueError, RecursionError) as error:
        message = "is nested too deeply" if isinstance(error, RecursionError) else f"costs too much: {error}"
        return [Mistake(path, f"the argument `{name}` {message}")]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
