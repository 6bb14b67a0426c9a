"""A whole ARM deployment: every resource it makes, in which order, and what comes out of it.

Names, conditions and copy loops are worked out before anything is made; a resource's body when all it needs is there,
for it may ask for the state of other resources. Pure: what is asked for is answered by a function given.
Source: the ARM template syntax page; "Define the order"; "Resource iteration"; languageVersion 2.0 (symbolic names).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmkiln.arm_template.deployment_parameters import GivenParameter
from vmkiln.arm_template.deployment_template import NESTED, Deployment
from vmkiln.arm_template.evaluation import Scope, copied, count_steps, evaluate_value
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.plain_text import check_size
from vmkiln.arm_template.values import member
from vmkiln.azure_names import group_id, subscription_scope
from vmkiln.errors import Mistake, TemplateInvalid

MOST_RESOURCES = 800
GROUPS = "microsoft.resources/resourcegroups"
_BODY = ("location", "tags", "identity", "properties", "sku", "kind", "plan", "zones", "managedBy")
Runtime = Callable[[str, list[Any], str], Any]


class NotReady(Exception):
    """A body asks for a resource of the same deployment that is not made yet; `key` says which."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


@dataclass(frozen=True)
class PlannedResource:
    """One resource to be made, or only to be looked at (`is_existing`), or left out because of its condition.

    `key` is its symbolic name, or its id in lower case; `loop` the name of the copy loop it is of; `depends_on` what
    it says it waits for: ids, names, symbolic names or names of loops. `waits_for` has the keys of the resources these
    mean, its own left out; `unknown` has those that mean no resource of the template.
    """

    key: str
    id: str
    type: str
    name: str
    api_version: str
    path: str
    loop: str
    depends_on: tuple[str, ...]
    is_existing: bool
    is_wanted: bool
    raw: Mapping[str, Any]
    scope: Scope
    waits_for: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()


class DeploymentPlan(Deployment):
    """A deployment with all its resources. Raises TemplateInvalid as `Deployment` does."""

    def __init__(self, document: Mapping[str, Any], *arguments: Any, **named: Any) -> None:
        super().__init__(document, *arguments, **named)
        self._document = document
        self._planned: list[PlannedResource] | None = None

    @property
    def declared(self) -> Mapping[str, Any]:
        """The declared parameters by their name in lower case."""
        return self._declared

    def parameter_values(self) -> dict[str, Any]:
        """Every parameter with type and value as ARM shows them; values of secure ones are left out."""
        found = {}
        for name, parameter in self._declared.items():
            kind = {"int": "Int", "bool": "Bool", "array": "Array", "object": "Object"}.get(parameter.type, "String")
            if parameter.is_secure:
                found[parameter.name] = {"type": f"Secure{kind}"}
            else:
                found[parameter.name] = {"type": kind, "value": self._parameter(name, parameter.path)}
        return found

    def planned(self) -> list[PlannedResource]:
        """Every resource, those left out too; worked out once. Raises TemplateInvalid with every mistake."""
        if self._planned is None:
            self._planned = with_dependencies(self._every_resource())
        return list(self._planned)

    def _every_resource(self) -> list[PlannedResource]:
        self.check_given()
        found: list[PlannedResource] = []
        mistakes: list[Mistake] = []
        for path, symbolic, raw in _entries(self._resources):
            try:
                found += self._instances(raw, path, symbolic, None)
            except TemplateInvalid as error:
                mistakes += error.mistakes
        if len(found) > MOST_RESOURCES:
            mistakes.append(Mistake("resources", f"makes {len(found)} resources; at most {MOST_RESOURCES} are allowed"))
        seen: dict[str, str] = {}
        for resource in found:
            other = seen.setdefault(resource.id.lower(), resource.path)
            if resource.is_wanted and not resource.is_existing and other != resource.path:
                mistakes.append(Mistake(resource.path, f"`{resource.id}` is also made at {other}"))
        if mistakes:
            raise TemplateInvalid(list(dict.fromkeys(mistakes)))
        return found

    def _instances(
        self, raw: Mapping[str, Any], path: str, symbolic: str, parent: PlannedResource | None
    ) -> Iterator[PlannedResource]:
        loop = member(raw, "copy")
        scope = parent.scope if parent else self._scope
        if not isinstance(loop, dict):
            yield from self._with_children(raw, path, symbolic, loop="", scope=scope, parent=parent)
            return
        name, items = copied({**loop, "input": 0}, scope, member_path(path, "copy"))
        for index in range(len(items)):
            inner = replace(scope, copy_indexes={**scope.copy_indexes, name.lower(): index, "": index})
            key = f"{symbolic}[{index}]" if symbolic else ""
            yield from self._with_children(raw, path, key, loop=symbolic or name, scope=inner, parent=parent)

    def _with_children(
        self,
        raw: Mapping[str, Any],
        path: str,
        symbolic: str,
        *,
        loop: str,
        scope: Scope,
        parent: PlannedResource | None,
    ) -> Iterator[PlannedResource]:
        resource = self._resource(raw, path, symbolic, loop=loop, scope=scope, parent=parent)
        yield resource
        for child_path, child_symbolic, child in _entries(member(raw, "resources") or [], f"{path}.resources"):
            yield from self._instances(child, child_path, child_symbolic, resource)

    def _resource(
        self,
        raw: Mapping[str, Any],
        path: str,
        symbolic: str,
        *,
        loop: str,
        scope: Scope,
        parent: PlannedResource | None,
    ) -> PlannedResource:
        type_name = _text(raw, "type", scope, path)
        name = _text(raw, "name", scope, path)
        if parent is not None and "/" not in type_name:
            type_name, name = f"{parent.type}/{type_name}", f"{parent.name}/{name}"
        condition = member(raw, "condition")
        is_wanted = condition is None or evaluate_value(condition, scope, member_path(path, "condition")) in (
            True,
            "true",
            "True",
        )
        waits = evaluate_value(member(raw, "dependsOn") or [], scope, member_path(path, "dependsOn"))
        if not isinstance(waits, list) or not all(isinstance(item, str) for item in waits):
            raise TemplateInvalid([Mistake(member_path(path, "dependsOn"), "must be an array of strings")])
        resource_id = self._id(raw, type_name, name, scope, path)
        return PlannedResource(
            key=symbolic or resource_id.lower(),
            id=resource_id,
            type=type_name,
            name=name,
            api_version=_text(raw, "apiVersion", scope, path, default="2024-11-01"),
            path=path,
            loop=loop,
            depends_on=(*waits, *([parent.key] if parent else [])),
            is_existing=member(raw, "existing") is True,
            is_wanted=is_wanted and (parent is None or parent.is_wanted),
            raw=raw,
            scope=scope,
        )

    def _id(self, raw: Mapping[str, Any], type_name: str, name: str, scope: Scope, path: str) -> str:
        context = scope.context
        subscription, group = context.subscription_id, context.resource_group
        if type_name.lower() == GROUPS:
            return group_id(subscription, name)
        if type_name.lower() == NESTED:
            subscription = _text(raw, "subscriptionId", scope, path, default=subscription)
            group = _text(raw, "resourceGroup", scope, path, default=group)
        provider, *types = type_name.strip("/").split("/")
        names = name.split("/")
        if not types or len(types) != len(names):
            message = f"the type `{type_name}` and the name `{name}` do not have as many parts"
            raise TemplateInvalid([Mistake(member_path(path, "name"), message)])
        place = group_id(subscription, group) if group else subscription_scope(subscription)
        at = member(raw, "scope")
        if at is not None:
            found = evaluate_value(at, scope, member_path(path, "scope"))
            place = found.rstrip("/") if isinstance(found, str) and found.startswith("/") else place
            if isinstance(found, str) and found and not found.startswith("/") and "/" in found:
                kind, *their_names = found.split("/")  # `Microsoft.X/types/name`, relative to the group
                place = f"{place}/providers/{kind}/{'/'.join(their_names)}"
        pairs = "/".join(f"{kind}/{part}" for kind, part in zip(types, names, strict=True))
        return f"{place}/providers/{provider}/{pairs}"

    def body(self, resource: PlannedResource, runtime: Runtime | None) -> dict[str, Any]:
        """What is put for a resource. Raises TemplateInvalid, and `NotReady` as `runtime` does."""
        wanted = {name: member(resource.raw, name) for name in _BODY}
        given = {name: value for name, value in wanted.items() if value is not None}
        found: dict[str, Any] = evaluate_value(given, replace(resource.scope, runtime=runtime), resource.path)
        check_size(found, resource.path)
        return found

    def child(self, resource: PlannedResource, runtime: Runtime | None) -> "DeploymentPlan":
        """The plan of a deployment nested in this one. Raises TemplateInvalid for a linked one."""
        properties = member(resource.raw, "properties")
        path = member_path(resource.path, "properties")
        template = member(properties, "template") if isinstance(properties, dict) else None
        if not isinstance(template, dict):
            message = "a linked deployment is not fetched"
            hint = "put the template itself under `template`"
            raise TemplateInvalid([Mistake(member_path(path, "templateLink"), message, hint)])
        segments = resource.id.split("/")
        group = segments[4] if len(segments) > 5 and segments[3].lower() == "resourcegroups" else ""
        context = replace(
            resource.scope.context,
            subscription_id=segments[2],
            resource_group=group,
            template_name=resource.name,
        )
        scope = replace(resource.scope, runtime=runtime)
        options = member(properties, "expressionEvaluationOptions")
        is_inner = isinstance(options, dict) and str(member(options, "scope")).lower() == "inner"
        if not is_inner:
            plan = DeploymentPlan({**template, "parameters": {}}, {}, context)
            plan._scope = replace(scope, context=context, runtime=None)
            return plan
        given = {}
        for name, entry in (member(properties, "parameters") or {}).items():
            where = member_path(f"{path}.parameters", name)
            value = member(entry, "value") if isinstance(entry, dict) else None
            given[name.lower()] = GivenParameter(name, evaluate_value(value, scope, where), False)
        plan = DeploymentPlan(template, given, context)
        self._children.append(plan)
        return plan

    def outputs(self, runtime: Runtime | None) -> dict[str, Any]:
        """The outputs with types and values; those of secure outputs are left out. Raises as `body` does."""
        found: dict[str, Any] = {}
        declared = member(self._document, "outputs") or {}
        mistakes: list[Mistake] = []
        scope = replace(self._scope, runtime=runtime)
        for name, output in declared.items() if isinstance(declared, dict) else []:
            path = member_path("outputs", name)
            if not isinstance(output, dict):
                mistakes.append(Mistake(path, "must be an object with type and value"))
                continue
            kind = str(member(output, "type") or "string")
            try:
                condition = member(output, "condition")
                if condition is not None and evaluate_value(condition, scope, path) in (False, "false", "False"):
                    continue
                value = self._output(output, scope, path)
            except TemplateInvalid as error:
                mistakes += error.mistakes
                continue
            shown = kind[:1].upper() + kind[1:]
            found[name] = {"type": shown} if kind.lower().startswith("secure") else {"type": shown, "value": value}
        if mistakes:
            raise TemplateInvalid(mistakes)
        return found

    @staticmethod
    def _output(output: Mapping[str, Any], scope: Scope, path: str) -> Any:
        loop = member(output, "copy")
        if isinstance(loop, dict):
            return copied({"name": "output", **loop}, scope, path)[1]
        return evaluate_value(member(output, "value"), scope, path)


def _text(raw: Mapping[str, Any], name: str, scope: Scope, path: str, *, default: str = "") -> str:
    value = member(raw, name)
    where = member_path(path, name)
    if value is None:
        if default:
            return default
        if name in {"subscriptionId", "resourceGroup"}:
            return ""
        raise TemplateInvalid([Mistake.missing(where)])
    found = evaluate_value(value, scope, where)
    if not isinstance(found, str) or (not found and not default):
        raise TemplateInvalid([Mistake(where, "must be a string that is not empty")])
    return found or default


def _entries(resources: Any, path: str = "resources") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, symbolic name ('' in an array) and resource. Raises TemplateInvalid."""
    if not isinstance(resources, dict | list):
        raise TemplateInvalid([Mistake(path, "must be an array or an object")])
    items = resources.items() if isinstance(resources, dict) else enumerate(resources)
    for key, item in items:
        where = member_path(path, key)
        if not isinstance(item, dict):
            raise TemplateInvalid([Mistake(where, "must be an object")])
        yield where, key if isinstance(key, str) else "", item


def with_dependencies(resources: Sequence[PlannedResource]) -> list[PlannedResource]:
    """The resources, each with what it waits for; pure. Raises TemplateInvalid when there is too much of it.

    One dictionary answers all names. Every name and every resource it means counts as a step of the evaluation, for
    800 resources that each name a loop of 800 make 640,000 edges of a few hundred bytes of template.
    """
    keys_of: dict[str, set[str]] = {}
    for resource in resources:
        for name in _names_of(resource):
            keys_of.setdefault(name, set()).add(resource.key)
    found = []
    for resource in resources:
        keys: set[str] = set()
        unknown = []
        count_steps(resource.scope, len(resource.depends_on), member_path(resource.path, "dependsOn"))
        for text in dict.fromkeys(resource.depends_on):
            meant = keys_of.get(_plain(text), set())
            count_steps(resource.scope, len(meant), member_path(resource.path, "dependsOn"))
            keys |= meant
            if not meant:
                unknown.append(text)
        found.append(replace(resource, waits_for=frozenset(keys - {resource.key}), unknown=tuple(unknown)))
    return found


def _names_of(resource: PlannedResource) -> set[str]:
    """Everything a `dependsOn` may call a resource by, as `_plain` has it."""
    typed = f"{resource.type}/{resource.name}".lower()
    return {_plain(resource.key), resource.loop.lower(), _plain(resource.id), resource.name.lower(), typed}


def _plain(name: str) -> str:
    return name.lower().strip("/")
