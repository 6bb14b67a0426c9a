"""An ARM deployment template: find its one image template and evaluate the expressions in it.

Only what the image template needs is evaluated: other resources and outputs may ask for what a local build lacks.
Deployments nested in it are entered, linked ones (which would have to be fetched) are not. Source: the ARM template
syntax page and "Using linked and nested templates".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from vmkiln.arm_template.declared_parameter import DeclaredParameter, check_value, declared_parameters, given_value
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_parameters import GivenParameter
from vmkiln.arm_template.evaluation import Scope, UserFunction, copied, evaluate_value
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.plain_text import check_size
from vmkiln.arm_template.values import member
from vmkiln.errors import Mistake, TemplateInvalid

IMAGE_TEMPLATE = "microsoft.virtualmachineimages/imagetemplates"
# The second spelling is no type of Azure's, but stands in published templates.
IMAGE_TEMPLATE_TYPES = (IMAGE_TEMPLATE, "microsoft.virtualmachineimages")
NESTED = "microsoft.resources/deployments"
MAXIMUM_DEPTH = 8  # of deployments in one another
_MEMBERS = ("name", "type", "apiVersion", "location", "tags", "identity", "properties")


def is_deployment_template(document: Mapping[str, Any]) -> bool:
    """Whether the document is a deployment, and not the body of a resource."""
    return "resources" in {name.lower() for name in document}


class Deployment:
    """One deployment: what it declares, what was given, and the values worked out so far, each once."""

    def __init__(
        self,
        document: Mapping[str, Any],
        given: Mapping[str, GivenParameter],
        context: DeploymentContext,
        *,
        unknown: Mapping[str, TemplateInvalid] | None = None,
    ) -> None:
        """`unknown` are parameters whose value could not be worked out, with why; they may stay unused.

        Raises TemplateInvalid for declarations that cannot be read.
        """
        self._unknown = unknown or {}
        self._children: list[Deployment] = []
        self._given = given
        self._declared = declared_parameters(document)
        self._variables = _object(document, "variables")
        self._functions = _user_functions(document)
        self._resources = member(document, "resources")
        self._values: dict[str, Any] = {}
        self._open: list[str] = []
        self._scope = Scope(context, self._parameter, self._variable, self._user_function)

    @property
    def parameter_names(self) -> frozenset[str]:
        """The declared parameters, in lower case."""
        return frozenset(self._declared)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every text in the values of secure parameters, as far as known."""
        found: set[str] = set()
        for name, parameter in self._declared.items():
            if parameter.is_secure:
                value = self._values.get(f"parameters.{name}")
                found.update(_texts(value))
                if name in self._given:
                    found.update(_texts(self._given[name].value))
                found.update(_texts(parameter.declaration.get("defaultValue")))
        found.update(text for child in self._children for text in child.secrets)
        return tuple(sorted(found - {""}, key=len, reverse=True))

    def image_template_resource(self) -> dict[str, Any]:
        """The one image template of the deployment, in plain JSON. Raises TemplateInvalid with every mistake."""
        self.check_given()
        try:
            path, resource, owner = self._only_image_template()
            scope = owner._copy_scope(resource, path)
            wanted = {name: member(resource, name) for name in _MEMBERS}
            present = {name: value for name, value in wanted.items() if value is not None}
            result: dict[str, Any] = evaluate_value(present, scope, "")
            check_size(result, "")
        except RecursionError:
            raise TemplateInvalid([Mistake("resources", "expressions are nested too deeply")]) from None
        return result

    def check_given(self) -> None:
        mistakes = []
        named = {*self._given, *self._unknown}
        missing = [p for name, p in self._declared.items() if p.is_required and name not in named]
        for parameter in missing:
            hint = f"--parameters {parameter.name}=VALUE, or a parameter file"
            mistakes.append(Mistake(parameter.path, f"needs a value ({_kind(parameter)})", hint))
        for name, given in self._given.items():
            declared = self._declared.get(name)
            if declared is None:
                known = ", ".join(p.name for p in self._declared.values()) or "none"
                message = "was given, but the template declares no such parameter"
                mistakes.append(Mistake(member_path("parameters", given.name), message, f"declared are {known}"))
                continue
            try:
                self._values[f"parameters.{name}"] = given_value(declared, given)
            except TemplateInvalid as error:
                mistakes += error.mistakes
        if mistakes:
            raise TemplateInvalid(mistakes)

    def _only_image_template(self) -> "tuple[str, dict[str, Any], Deployment]":
        found = list(self._image_templates(self._resources, "resources", 1))
        if len(found) == 1:
            return found[0]
        if found:
            places = ", ".join(path for path, _, _ in found)
            message = f"holds {len(found)} image templates, at {places}; exactly one is needed"
            raise TemplateInvalid([Mistake("resources", message, "keep one in the file, or use conditions")])
        message, hint = "holds no resource of type Microsoft.VirtualMachineImages/imageTemplates", None
        if any(_type(item) == NESTED for _, item in _items(self._resources, "resources")):
            hint = "linked deployments are not fetched: give the template in which the resource stands"
        if any(member(item, "resources") for _, item in _items(self._resources, "resources")):
            hint = "child resources are not entered: write the image template as a resource of its own"
        raise TemplateInvalid([Mistake("resources", message, hint)])

    def _image_templates(
        self, resources: Any, path: str, depth: int
    ) -> "Iterator[tuple[str, dict[str, Any], Deployment]]":
        """The image templates among resources and in deployments nested in them, each with the one to evaluate it."""
        for where, item in _items(resources, path):
            if self._is_image_template(item, where):
                yield where, item, self
            elif _type(item) == NESTED and depth < MAXIMUM_DEPTH and _mentions_image_template(item):
                yield from self._nested(item, where, depth)

    def _nested(
        self, resource: dict[str, Any], path: str, depth: int
    ) -> "Iterator[tuple[str, dict[str, Any], Deployment]]":
        if not self._is_wanted(resource, path):
            return
        scope = self._copy_scope(resource, path)
        properties = _object(resource, "properties")
        template, inside = _object(properties, "template"), f"{path}.properties.template.resources"
        options = _object(properties, "expressionEvaluationOptions")
        if str(member(options, "scope")).lower() != "inner":
            yield from self._image_templates(member(template, "resources"), inside, depth + 1)
            return
        group = evaluate_value(member(resource, "resourceGroup"), scope, member_path(path, "resourceGroup"))
        context = replace(scope.context, resource_group=group) if isinstance(group, str) and group else scope.context
        given: dict[str, GivenParameter] = {}
        unknown: dict[str, TemplateInvalid] = {}
        for name, entry in _object(properties, "parameters").items():
            where = member_path(f"{path}.properties.parameters", name)
            value = member(entry, "value") if isinstance(entry, dict) else None
            try:
                given[name.lower()] = GivenParameter(name, evaluate_value(value, scope, where), False)
            except TemplateInvalid as error:
                unknown[name.lower()] = error
        child = Deployment(template, given, context, unknown=unknown)
        self._children.append(child)
        child.check_given()
        yield from child._image_templates(child._resources, inside, depth + 1)

    def _is_wanted(self, resource: dict[str, Any], path: str) -> bool:
        condition = member(resource, "condition")
        if condition is None:
            return True
        return evaluate_value(condition, self._scope, member_path(path, "condition")) in (True, "true", "True")

    def _is_image_template(self, resource: dict[str, Any], path: str) -> bool:
        if _type(resource) not in IMAGE_TEMPLATE_TYPES or member(resource, "existing") is True:
            return False
        return self._is_wanted(resource, path)

    def _copy_scope(self, resource: dict[str, Any], path: str) -> Scope:
        loop = member(resource, "copy")
        if not isinstance(loop, dict):
            return self._scope
        name, items = copied({**loop, "input": 0}, self._scope, member_path(path, "copy"))
        if len(items) != 1:
            message = f"makes {len(items)} image templates; exactly one is needed"
            raise TemplateInvalid([Mistake(member_path(path, "copy"), message)])
        return replace(self._scope, copy_indexes={name.lower(): 0, "": 0})

    def _parameter(self, name: str, path: str) -> Any:
        parameter = self._declared.get(name.lower())
        if parameter is None:
            known = ", ".join(p.name for p in self._declared.values()) or "none"
            raise TemplateInvalid([Mistake(path, f"the parameter `{name}` is not declared", f"declared are {known}")])
        if name.lower() in self._unknown:
            raise self._unknown[name.lower()]

        def value() -> Any:
            default = evaluate_value(parameter.declaration.get("defaultValue"), self._scope, parameter.path)
            check_value(parameter, default)
            return default

        return self._once(f"parameters.{name.lower()}", path, value)

    def _variable(self, name: str, path: str) -> Any:
        key = next((key for key in self._variables if key.lower() == name.lower() and key != "copy"), None)
        where = member_path("variables", key or name)
        if key is not None:
            return self._once(where.lower(), path, lambda: evaluate_value(self._variables[key], self._scope, where))
        loops = self._variables.get("copy")
        for loop in loops if isinstance(loops, list) else []:
            if isinstance(loop, dict) and str(loop.get("name")).lower() == name.lower():
                return self._once(where.lower(), path, partial(self._loop, loop))
        known = ", ".join(self._variables) or "none"
        raise TemplateInvalid([Mistake(path, f"the variable `{name}` does not exist", f"there are {known}")])

    def _loop(self, loop: Mapping[str, Any]) -> list[Any]:
        return copied(loop, self._scope, "variables")[1]

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
            check_size(value, key)
            self._values[key] = value
        finally:
            self._open.pop()
        return value


def _kind(parameter: DeclaredParameter) -> str:
    allowed = parameter.declaration.get("allowedValues")
    if isinstance(allowed, list) and not parameter.is_secure:
        return f"{parameter.type}, one of {', '.join(str(item) for item in allowed)}"
    return f"{'secure ' if parameter.is_secure else ''}{parameter.type}"


def _object(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = member(document, name) or {}
    if not isinstance(found, dict):
        raise TemplateInvalid([Mistake(name, "must be an object")])
    return found


def _type(resource: Mapping[str, Any]) -> str:
    return str(member(resource, "type")).rstrip("/").lower()


def _mentions_image_template(value: Any) -> bool:
    if isinstance(value, list):
        return any(_mentions_image_template(item) for item in value)
    if not isinstance(value, dict):
        return False
    return _type(value) in IMAGE_TEMPLATE_TYPES or any(_mentions_image_template(item) for item in value.values())


def _items(resources: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The resources: an array, or since languageVersion 2.0 an object with symbolic names."""
    if not isinstance(resources, dict | list):
        raise TemplateInvalid([Mistake(path, "must be an array or an object")])
    items = resources.items() if isinstance(resources, dict) else enumerate(resources)
    for key, item in items:
        if isinstance(item, dict):
            yield member_path(path, key), item


def _user_functions(document: Mapping[str, Any]) -> dict[str, UserFunction]:
    found: dict[str, UserFunction] = {}
    spaces = member(document, "functions") or []
    for space in spaces if isinstance(spaces, list) else []:
        members = space.get("members") if isinstance(space, dict) else None
        for name, function in members.items() if isinstance(members, dict) else []:
            if not isinstance(function, dict) or not isinstance(function.get("output"), dict):
                continue
            parameters = function.get("parameters") or []
            names = tuple(str(item.get("name")) for item in parameters if isinstance(item, dict))
            key = f"{space.get('namespace')}.{name}".lower()
            found[key] = UserFunction(names, function["output"].get("value"))
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
