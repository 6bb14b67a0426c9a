"""A whole ARM deployment: every resource it makes, in which order, and what comes out of it.

Names, conditions and copy loops are worked out before anything is made; a resource's body when all it needs is there,
for it may ask for the state of other resources. Pure: what is asked for is answered by a function given.
Source: the ARM template syntax page; "Define the order"; "Resource iteration"; languageVersion 2.0 (symbolic names).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmkiln.arm_template.budget import MOST_MISTAKES, VALUES_A_STEP
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_template import NESTED, Deployment
from vmkiln.arm_template.evaluation import Scope, copied, count_steps, evaluate_value
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.nested_deployment import NestedTemplate, nested_template, parameter_value
from vmkiln.arm_template.parameters.declared_type import KINDS, first_mistakes, plain_kind, resolved, unknown_type
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.arm_template.plain_text import check_size
from vmkiln.arm_template.planned_resource import PlannedResource, holds, with_dependencies, wrong_in
from vmkiln.arm_template.values import kind_of, member
from vmkiln.azure_names import group_id, subscription_scope
from vmkiln.errors import Mistake, TemplateInvalid

MOST_RESOURCES = 800
LONGEST_NAME = 2_048  # letters of a name, a type, a group or a scope
INSTANCE_STEPS = 20  # to work out what one is called and what it waits for, besides its expressions
GROUPS = "microsoft.resources/resourcegroups"
_BODY = ("location", "tags", "identity", "properties", "sku", "kind", "plan", "zones", "managedBy")
Runtime = Callable[[str, list[Any], str], Any]


class NotReady(Exception):
    """A body asks for a resource that is not made yet: the one of that key, so many deployments further `outside`."""

    def __init__(self, key: str, outside: int = 0) -> None:
        super().__init__(key)
        self.key, self.outside = key, outside


@dataclass(frozen=True)
class Output:
    """One output of a deployment: its type as ARM shows it, and its value."""

    type: str
    value: Any
    is_secure: bool


@dataclass(frozen=True)
class _Declared:
    """A resource as the template declares it, once for each element of its `copy`; `loop` is that one's name."""

    raw: Mapping[str, Any]
    path: str
    symbolic: str
    loop: str
    scope: Scope
    parent: PlannedResource | None


class DeploymentPlan(Deployment):
    """A deployment with all its resources. Raises TemplateInvalid as `Deployment` does."""

    def __init__(self, document: Mapping[str, Any], *arguments: Any, **named: Any) -> None:
        super().__init__(document, *arguments, **named)
        self.document = document
        self.place: DeploymentContext = self._scope.context  # where its resources are put
        self.around: DeploymentPlan | None = None  # in whose scope it is evaluated, where that is not its own
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
        for path, symbolic, raw in entries_of(self._resources):
            try:
                found += self._instances(raw, path, symbolic, None)
            except TemplateInvalid as error:
                mistakes += error.mistakes
            if self.budget.is_spent or len(mistakes) >= MOST_MISTAKES or len(found) > MOST_RESOURCES:
                break
        if len(found) > MOST_RESOURCES:
            message = f"makes {len(found)} resources or more; at most {MOST_RESOURCES} are allowed"
            mistakes.append(Mistake("resources", message))
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
        for index, loop, scope in instances_of(raw, parent.scope if parent else self._scope, path):
            key = f"{symbolic}[{index}]" if symbolic and loop else symbolic
            yield from self._with_children(_Declared(raw, path, key, symbolic or loop if loop else "", scope, parent))

    def _with_children(self, declared: _Declared) -> Iterator[PlannedResource]:
        resource = self._resource(declared)
        yield resource
        children = member(declared.raw, "resources") or []
        for child_path, child_symbolic, child in entries_of(children, f"{declared.path}.resources"):
            yield from self._instances(child, child_path, child_symbolic, resource)

    def _resource(self, declared: _Declared) -> PlannedResource:
        raw, path, scope, parent = declared.raw, declared.path, declared.scope, declared.parent
        count_steps(scope, INSTANCE_STEPS + len(raw), path)
        type_name = _text(raw, "type", scope, path)
        name = _text(raw, "name", scope, path)
        if parent is not None and "/" not in type_name:
            type_name, name = f"{parent.type}/{type_name}", f"{parent.name}/{name}"
        is_wanted = holds(raw, scope, path)
        waits = evaluate_value(member(raw, "dependsOn") or [], scope, member_path(path, "dependsOn"))
        if not isinstance(waits, list) or not all(isinstance(item, str) for item in waits):
            raise TemplateInvalid([Mistake(member_path(path, "dependsOn"), "must be an array of strings")])
        is_existing = member(raw, "existing") is True
        may_be_elsewhere = type_name.lower() == NESTED or (is_existing and is_wanted)
        resource_id = self._id(raw, type_name, name, scope, path, may_be_elsewhere=may_be_elsewhere)
        return PlannedResource(
            key=declared.symbolic or resource_id.lower(),
            id=resource_id,
            type=type_name,
            name=name,
            api_version=_text(raw, "apiVersion", scope, path, default="2024-11-01"),
            path=path,
            loop=declared.loop,
            depends_on=(*waits, *([parent.key] if parent else [])),
            is_existing=is_existing,
            is_wanted=is_wanted and (parent is None or parent.is_wanted),
            raw=raw,
            scope=scope,
        )

    def _id(
        self, raw: Mapping[str, Any], type_name: str, name: str, scope: Scope, path: str, *, may_be_elsewhere: bool
    ) -> str:
        """The id; that of a nested deployment, or of a resource that exists, may name another group for itself."""
        subscription, group = self.place.subscription_id, self.place.resource_group
        if type_name.lower() == GROUPS:
            return group_id(subscription, name)
        if may_be_elsewhere:
            is_elsewhere = member(raw, "subscriptionId") is not None
            subscription = _text(raw, "subscriptionId", scope, path, default=subscription)
            group = _text(raw, "resourceGroup", scope, path, default="" if is_elsewhere else group)
        provider, *types = type_name.strip("/").split("/")
        names = name.split("/")
        if not types or len(types) != len(names):
            message = f"the type `{type_name}` and the name `{name}` do not have as many parts"
            raise TemplateInvalid([Mistake(member_path(path, "name"), message)])
        place = group_id(subscription, group) if group else subscription_scope(subscription)
        at = member(raw, "scope")
        if at is not None:
            place = _place_of(evaluate_value(at, scope, member_path(path, "scope")), place)[:LONGEST_NAME]
        pairs = "/".join(f"{kind}/{part}" for kind, part in zip(types, names, strict=True))
        return f"{place}/providers/{provider}/{pairs}"

    def body(self, resource: PlannedResource, runtime: Runtime | None) -> dict[str, Any]:
        """What is put for a resource. Raises TemplateInvalid, and `NotReady` as `runtime` does."""
        count_steps(resource.scope, len(resource.raw), resource.path)
        wanted = {name: member(resource.raw, name) for name in _BODY}
        given = {name: value for name, value in wanted.items() if value is not None}
        found: dict[str, Any] = evaluate_value(given, replace(resource.scope, runtime=runtime), resource.path)
        check_size(found, resource.path, self.budget)
        return found

    def location(self, resource: PlannedResource, runtime: Runtime | None) -> str:
        """Where a resource is made; '' where it does not say so. Raises as `body` does."""
        return _text(resource.raw, "location", replace(resource.scope, runtime=runtime), resource.path)

    def child(self, resource: PlannedResource, runtime: Runtime | None) -> "DeploymentPlan":
        """The plan of a deployment nested in this one. Raises TemplateInvalid for a linked one."""
        nested, context = self.nested(resource, runtime), self.context_of(resource)
        if not nested.is_inner:
            plan = DeploymentPlan({**nested.template, "parameters": {}}, {}, context, budget=self.budget)
            plan.see_through(resource.scope)
            plan.around = self
            return plan
        scope = replace(resource.scope, runtime=runtime)
        given: dict[str, GivenParameter] = {}
        unknown: dict[str, TemplateInvalid] = {}
        for name, entry in nested.parameters(scope).items():
            try:
                given[name.lower()] = GivenParameter(name, parameter_value(entry, scope), False)
            except TemplateInvalid as error:
                unknown[name.lower()] = error
        if wrong := [mistake for error in unknown.values() for mistake in wrong_in(error)]:
            raise TemplateInvalid(wrong)
        secrets = resource.scope.secrets
        plan = DeploymentPlan(nested.template, given, context, unknown=unknown, budget=self.budget, secrets=secrets)
        self._children.append(plan)
        return plan

    def keep_secret(self, value: Any) -> None:
        """Every text in a value is secret, such as the keys of an account that the template asked for."""
        self._scope.secrets.add(value)

    def see_through(self, scope: Scope) -> None:
        """Evaluate in the scope of the deployment around it, as one does whose scope is outer."""
        self._scope = replace(scope, runtime=None)

    def nested(self, resource: PlannedResource, runtime: Runtime | None) -> NestedTemplate:
        """What a nested deployment says of itself. Raises TemplateInvalid for a linked one, and as `body` does."""
        return nested_template(resource.raw, resource.path, replace(resource.scope, runtime=runtime))

    def context_of(self, resource: PlannedResource) -> DeploymentContext:
        """Where a nested deployment takes place: from its id, and its group's location where that is known."""
        segments = resource.id.lower().strip("/").split("/")
        place = self.place
        subscription, group = place.subscription_id, ""
        if segments[0] == "subscriptions":
            subscription = resource.id.strip("/").split("/")[1]
            group = resource.id.strip("/").split("/")[3] if segments[2:3] == ["resourcegroups"] else ""
        location = place.location
        if group and (subscription, group) != (place.subscription_id, place.resource_group):
            location = self.location_of_group(group_id(subscription, group)) or location
        elif not group and member(resource.raw, "location") is not None:
            location = _text(resource.raw, "location", resource.scope, resource.path)
        return replace(
            place,
            subscription_id=subscription,
            resource_group=group,
            location=location,
            template_name=resource.name,
            location_of_group=self.location_of_group,
        )

    def location_of_group(self, wanted: str) -> str:
        """The location of a resource group that this deployment makes, or one around it knows; else ''."""
        count_steps(self._scope, len(self.planned()) // VALUES_A_STEP, "resources")
        for item in self.planned():
            if item.type.lower() == GROUPS and item.id.lower() == wanted.lower() and member(item.raw, "location"):
                return _text(item.raw, "location", item.scope, item.path)
        return self.place.location_of_group(wanted)

    @property
    def declared_outputs(self) -> Mapping[str, Any]:
        """The declarations of the outputs."""
        found = member(self.document, "outputs")
        return found if isinstance(found, dict) else {}

    def output_is_wanted(self, name: str, runtime: Runtime | None) -> bool:
        """Whether an output's condition keeps it. Raises as `body` does."""
        declared = self.declared_outputs[name]
        scope = replace(self._scope, runtime=runtime)
        return holds(declared if isinstance(declared, dict) else {}, scope, self._output_path(name))

    def _output_path(self, name: str) -> str:
        return member_path(f"{self.inside}outputs", name)

    def output(self, name: str, runtime: Runtime | None) -> Output | None:
        """One output; None when its condition leaves it out. Raises as `body` does."""
        path, declared = self._output_path(name), self.declared_outputs[name]
        if not isinstance(declared, dict):
            raise TemplateInvalid([Mistake(path, "must be an object with type and value")])
        scope = replace(self._scope, runtime=runtime)
        try:
            kind, is_secure = plain_kind(schema := resolved(declared, self.document, self.budget))
        except ValueError as error:
            raise TemplateInvalid([Mistake(path, str(error))]) from None
        if kind not in KINDS:
            raise TemplateInvalid([unknown_type(path, declared, schema, of="outputs")])
        if not self.output_is_wanted(name, runtime):
            return None
        shown = f"Secure{kind.capitalize()}" if is_secure else kind.capitalize()
        value = self._output(declared, scope, path)
        if is_secure:
            scope.secrets.add(value)
        if wrong := first_mistakes(value, declared, self.document, path, self.budget, is_secure=is_secure):
            raise TemplateInvalid(wrong)
        return Output(shown, value, is_secure=is_secure)

    def outputs(self, runtime: Runtime | None, *, with_secrets: bool = False) -> dict[str, Any]:
        """The outputs with types and values; those of secure outputs are left out. Raises as `body` does."""
        found: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for name, output in self._each_output(runtime, mistakes):
            if output is not None:
                is_told = with_secrets or not output.is_secure
                found[name] = {"type": output.type} | ({"value": output.value} if is_told else {})
        if mistakes:
            raise TemplateInvalid(mistakes)
        return found

    def output_mistakes(self, runtime: Runtime) -> list[Mistake]:
        """What is wrong with outputs, as far as it can be said; `runtime` is `runtime_before`."""
        found: list[Mistake] = []
        for _ in self._each_output(runtime, found):
            pass
        return found

    def _each_output(self, runtime: Runtime | None, mistakes: list[Mistake]) -> Iterator[tuple[str, Output | None]]:
        """Each output with its name, as `output` gives it; what is wrong with others is added to `mistakes`.

        That it waits for a resource is nothing wrong.
        """
        for name in self.declared_outputs:
            try:
                output = self.output(name, runtime)
            except TemplateInvalid as error:
                mistakes += wrong_in(error)
                if self.budget.is_spent or len(mistakes) >= MOST_MISTAKES:
                    return
                continue
            yield name, output

    @staticmethod
    def _output(output: Mapping[str, Any], scope: Scope, path: str) -> Any:
        loop = member(output, "copy")
        if isinstance(loop, dict):
            return copied({"name": "output", **loop}, scope, path)[1]
        return evaluate_value(member(output, "value"), scope, path)


def instances_of(raw: Mapping[str, Any], scope: Scope, path: str) -> Iterator[tuple[int, str, Scope]]:
    """Number, loop and scope of each instance of a resource: of one alone, whose loop is '', without a `copy`.

    Raises TemplateInvalid for a `copy` that is no object, which Azure refuses, too: it would be left out in silence.
    """
    loop, where = member(raw, "copy"), member_path(path, "copy")
    if loop is None:
        yield 0, "", scope
        return
    if not isinstance(loop, dict):
        hint = 'such as {"name": "loop", "count": 3}; the count may be an expression'
        raise TemplateInvalid([Mistake(where, f"must be an object with `name` and `count`, not {kind_of(loop)}", hint)])
    name, items = copied({"name": member(loop, "name"), "count": member(loop, "count"), "input": 0}, scope, where)
    for index in range(len(items)):
        yield index, name, replace(scope, copy_indexes={**scope.copy_indexes, name.lower(): index, "": index})


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
    if len(found) > LONGEST_NAME:
        raise TemplateInvalid([Mistake(where, f"has {len(found)} characters; at most {LONGEST_NAME} are allowed")])
    return found or default


def entries_of(resources: Any, path: str = "resources") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, symbolic name ('' in an array) and resource. Raises TemplateInvalid."""
    if not isinstance(resources, dict | list):
        raise TemplateInvalid([Mistake(path, "must be an array or an object")])
    items = resources.items() if isinstance(resources, dict) else enumerate(resources)
    for key, item in items:
        where = member_path(path, key)
        if not isinstance(item, dict):
            raise TemplateInvalid([Mistake(where, "must be an object")])
        yield where, key if isinstance(key, str) else "", item


def _place_of(scope: Any, place: str) -> str:
    """The id below which a resource with that `scope` lies: an id, the tenant's `/`, or a type and name; pure."""
    if not isinstance(scope, str) or not scope:
        return place
    if scope.startswith("/"):
        return scope.rstrip("/")
    kind, *names = scope.split("/")  # `Microsoft.X/types/name`, relative to the deployment's own scope
    if kind.lower() == "microsoft.management":
        return f"/providers/{scope}"
    return f"{place}/providers/{kind}/{'/'.join(names)}" if names else place
