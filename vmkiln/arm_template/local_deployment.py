"""A deployment read on the command line: find its image template, and work out what follows from the file alone.

Only what the image template needs is evaluated: other resources and outputs may ask for what nobody knows before they
are made. reference() is answered from the same file: outputs of nested deployments, ids, names and properties of its
resources; the rest the user gives. Deployments nested in it are entered, linked ones (which would have to be fetched)
are not. Source: the ARM template syntax page and "Using linked and nested templates".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vmkiln.arm_template.budget import Budget
from vmkiln.arm_template.deployment_context import IMAGE_TEMPLATE_TYPES, DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan, entries_of, instances_of
from vmkiln.arm_template.deployment_template import MAXIMUM_DEPTH, NESTED
from vmkiln.arm_template.evaluation import Scope, evaluate_value
from vmkiln.arm_template.functions.resource_state import derived_members, ids_of, with_ids
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.nested_deployment import Written, is_computed, parameter_value
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.arm_template.parameters.given_references import GivenReferences
from vmkiln.arm_template.plain_text import check_size
from vmkiln.arm_template.planned_resource import (
    PlannedResource,
    holds,
    left_out,
    names_of,
    plain_name,
    resource_info,
    tail_of,
)
from vmkiln.arm_template.values import Later, member
from vmkiln.azure_names import ProvisioningState
from vmkiln.errors import Mistake, MistakeKind, TemplateInvalid
from vmkiln.secrecy.secret_values import keys_in

_MEMBERS = ("name", "type", "apiVersion", "location", "tags", "identity", "properties")
_SHOWN = ("location", "tags", "identity", "sku", "kind", "plan", "zones", "managedBy")


@dataclass(frozen=True)
class FoundTemplate:
    """An image template of a deployment: its place in the file, how it is written, and in which scope it is read."""

    path: str
    raw: Mapping[str, Any]
    scope: Scope

    @property
    def name(self) -> str:
        """Its name; '' when that cannot be worked out."""
        try:
            found = evaluate_value(member(self.raw, "name"), self.scope, member_path(self.path, "name"))
        except TemplateInvalid:
            return ""
        return found if isinstance(found, str) else ""


class LocalDeployment(DeploymentPlan):
    """One deployment of a file. Raises TemplateInvalid as `Deployment` does."""

    def __init__(
        self,
        document: Mapping[str, Any],
        given: Mapping[str, GivenParameter],
        context: DeploymentContext,
        *,
        unknown: Mapping[str, TemplateInvalid] | None = None,
        references: GivenReferences | None = None,
        parent: "LocalDeployment | None" = None,
        budget: Budget | None = None,
        inside: str = "",
    ) -> None:
        secrets = parent._scope.secrets if parent is not None else None
        super().__init__(document, given, context, unknown=unknown, budget=budget, secrets=secrets, inside=inside)
        self._references = references or GivenReferences()
        self._parent = parent
        self._known: list[PlannedResource] | None = None
        self._nested: dict[str, LocalDeployment] = {}
        self._entering: list[str] = []
        self._closed: list[Mistake] = parent._closed if parent is not None else []
        self._left_out: list[str] = parent._left_out if parent is not None else []
        self._place = f"{inside}resources"  # in the file, as all paths here

    def image_template_resource(self, name: str = "") -> dict[str, Any]:
        """The one image template of the deployment, or the one of that name, in plain JSON.

        Raises TemplateInvalid with every mistake.
        """
        self.check_given()
        try:
            found = self._only_image_template(name)
            present = {item: member(found.raw, item) for item in _MEMBERS if member(found.raw, item) is not None}
            result: dict[str, Any] = evaluate_value(present, found.scope, "")
            check_size(result, "", self.budget)
        except RecursionError:
            raise TemplateInvalid([Mistake("resources", "expressions are nested too deeply")]) from None
        return result

    def _only_image_template(self, name: str) -> FoundTemplate:
        found = list(self.image_templates())
        chosen = [item for item in found if item.name.lower() == name.lower()] if name else found
        if len(chosen) == 1:
            return chosen[0]
        names = ", ".join(f"`{item.name}`" for item in found if item.name)
        if name and found:
            problem = "no image template is" if not chosen else f"{len(chosen)} image templates are"
            raise TemplateInvalid([Mistake("resources", f"{problem} called `{name}`", f"there are {names}")])
        if found:
            places = ", ".join(item.path for item in found)
            message = f"holds {len(found)} image templates, at {places}; exactly one is needed"
            raise TemplateInvalid([Mistake("resources", message, f"choose one with --template-name: {names}")])
        if self._left_out:
            message = "is an image template that its condition leaves out; there is no other"
            way = "give the parameters that its condition asks for"
            raise TemplateInvalid([Mistake(place, message, way) for place in dict.fromkeys(self._left_out)])
        if self._closed:
            raise TemplateInvalid(list(dict.fromkeys(self._closed)))
        message, hint = "holds no resource of type Microsoft.VirtualMachineImages/imageTemplates", None
        if any(_type(item) == NESTED for _, _, item in entries_of(self._resources)):
            hint = "linked deployments are not fetched: give the template in which the resource stands"
        raise TemplateInvalid([Mistake("resources", message, hint)])

    def image_templates(self, depth: int = 1) -> Iterator[FoundTemplate]:
        """The image templates of the deployment, those of its loops and of deployments nested in it too."""
        for path, _, raw in entries_of(self._resources, self._place):
            yield from self._templates_at(raw, path)
        if depth >= MAXIMUM_DEPTH:
            return
        for item in self.known():
            if item.type.lower() != NESTED or not self._may_hold_one(item):
                continue
            if not item.is_wanted:
                self._left_out.append(item.path)
                continue
            yield from self.nested_deployment(item).image_templates(depth + 1)

    def _may_hold_one(self, item: PlannedResource) -> bool:
        """Whether an image template may be in a nested deployment; a linked one is not looked into."""
        if not item.is_wanted or not is_computed(item.raw):
            template = Written(member(item.raw, "properties"), "").member("template").value
            return isinstance(template, dict) and _mentions_image_template(template)
        try:
            return _mentions_image_template(self.nested(item, self.answer).template)
        except TemplateInvalid as error:
            self._closed += error.mistakes  # told when no image template is found elsewhere
            return False

    def _templates_at(self, raw: Mapping[str, Any], path: str) -> Iterator[FoundTemplate]:
        """The image templates that one entry makes, or its children, which is where their type may stand too."""
        is_one = _type(raw) in IMAGE_TEMPLATE_TYPES and member(raw, "existing") is not True
        for _, _, scope in instances_of(raw, self._scope, path) if is_one else ():
            if holds(raw, scope, path):
                yield FoundTemplate(path, raw, replace(scope, runtime=self.answer))
            else:
                self._left_out.append(path)
        for child_path, _, child in entries_of(member(raw, "resources") or [], f"{path}.resources"):
            yield from self._templates_at(child, child_path)

    # what is known of the resources

    def known(self) -> list[PlannedResource]:
        """Every resource whose name can be worked out; of a nested deployment with an image template, all must be."""
        if self._known is None:
            self._known = []
            mistakes: list[Mistake] = []
            for path, symbolic, raw in entries_of(self._resources, self._place):
                without = {key: value for key, value in raw.items() if key.lower() != "dependson"}
                if _type(raw) == NESTED and member(raw, "name") is None:
                    without["name"] = f"deployment{len(self._known)}"  # Azure asks for one; a file is read without
                try:
                    self._known += self._instances(without, path, symbolic, None)
                except TemplateInvalid as error:
                    if _type(raw) == NESTED and _mentions_image_template(raw):
                        mistakes += error.mistakes
            if mistakes:
                self._known = None
                raise TemplateInvalid(mistakes)
        return self._known

    def planned(self) -> list[PlannedResource]:
        """What is known of them, for a file has no order in which they are made."""
        return self.known()

    def nested_deployment(self, resource: PlannedResource) -> "LocalDeployment":
        """The deployment nested at this resource; entered once. Raises TemplateInvalid."""
        found = self._nested.get(resource.key)
        if found is not None:
            return found
        if resource.key in self._entering:
            circle = " -> ".join([*self._entering[self._entering.index(resource.key) :], resource.key])
            raise TemplateInvalid([Mistake(resource.path, f"a deployment is needed to work out itself: {circle}")])
        self._entering.append(resource.key)
        try:
            found = self._enter(resource)
        finally:
            self._entering.pop()
        self._nested[resource.key] = found
        self._children.append(found)
        return found

    def _enter(self, resource: PlannedResource) -> "LocalDeployment":
        nested, context = self.nested(resource, self.answer), self.context_of(resource)
        inside = f"{resource.path}.properties.template."
        inherited: dict[str, Any] = {"references": self._references, "parent": self, "inside": inside}
        if not nested.is_inner:
            outer = LocalDeployment({**nested.template, "parameters": {}}, {}, context, budget=self.budget, **inherited)
            outer.see_through(resource.scope)
            return outer
        given: dict[str, GivenParameter] = {}
        unknown: dict[str, TemplateInvalid] = {}
        scope = replace(resource.scope, runtime=self.answer)
        entries: dict[str, Written] = {}
        try:
            entries = nested.parameters(scope)
        except TemplateInvalid as error:
            declared = member(nested.template, "parameters")
            unknown = {name.lower(): error for name in declared} if isinstance(declared, dict) else {}
        for name, entry in entries.items():
            try:
                given[name.lower()] = GivenParameter(name, parameter_value(entry, scope), False)
            except TemplateInvalid as error:
                unknown[name.lower()] = error
        inner = LocalDeployment(nested.template, given, context, unknown=unknown, budget=self.budget, **inherited)
        inner.check_given()
        return inner

    # what functions are told

    def answer(self, function: str, arguments: list[Any], path: str) -> Any:
        """reference(), references(), resourceInfo() and list...(). Raises TemplateInvalid for what is not known."""
        if not arguments or not isinstance(arguments[0], str):
            raise TemplateInvalid([Mistake(path, f"{function}() takes the name or id of a resource")])
        asked = arguments[0]
        is_full = any(str(item).lower() == "full" for item in arguments[1:])
        if function == "references":
            chosen = [item for item in self.known() if item.loop.lower() == asked.lower() and item.is_wanted]
            return [self._state_of(item, path, is_full=is_full).whole() for item in chosen]
        found = self._found(asked)
        if found is not None and not found[0].is_wanted:  # it may be there all the same, as only Azure knows
            if (given := self._given(function, asked, found[0])) is not None:
                return given
            raise left_out(found[0], path)
        if function == "resourceinfo" and found is not None:
            return resource_info(found[0])
        if function == "reference" and found is not None:
            return found[1]._state_of(found[0], path, is_full=is_full)
        if function == "listoutputswithsecurevalues" and found is not None and found[0].type.lower() == NESTED:
            child = found[1].nested_deployment(found[0])
            return Later({name: partial(child.output_value, name) for name in child.declared_outputs})
        given = self._given(function, asked, found[0] if found else None)
        if given is not None:
            return given
        where = found[0].id if found else asked
        raise TemplateInvalid([_not_known(function, where, path, "it is not in this file" if not found else "")])

    def _given(self, function: str, asked: str, item: PlannedResource | None) -> Any:
        """What was given as the answer for a resource; None for nothing."""
        names = {plain_name(asked)} | (names_of(item) if item is not None else set())
        given = self._references.of(function, names)
        if given is not None and function.startswith("list"):
            self.keep_secret(given if function == "listoutputswithsecurevalues" else keys_in(given))
        return given

    def output_value(self, name: str) -> Any:
        """The value of one output; null when its condition leaves it out. Raises TemplateInvalid."""
        found = self.output(name, self.answer)
        return found.value if found is not None else None

    def _found(self, text: str) -> "tuple[PlannedResource, LocalDeployment] | None":
        """The resource that a name or id means: of this deployment, of those around it, of any in the file."""
        wanted, tail = plain_name(text), tail_of(text)
        here: LocalDeployment | None = self
        top = self
        while here is not None:
            for item in here.known():
                if wanted in names_of(item):
                    return item, here
            top, here = here, here._parent
        return top._below(wanted, tail)

    def _below(self, wanted: str, tail: str) -> "tuple[PlannedResource, LocalDeployment] | None":
        """The resource of that id in a deployment nested in this one; by its place or, without it, by its tail."""
        others: list[tuple[PlannedResource, LocalDeployment]] = []
        for item in self.known():
            if plain_name(item.id) == wanted:
                return item, self
            if tail and tail_of(item.id) == tail:
                others.append((item, self))
            is_open = item.key in self._entering
            if item.type.lower() == NESTED and item.is_wanted and not is_open:
                try:
                    found = self.nested_deployment(item)._below(wanted, tail)
                except TemplateInvalid:
                    continue  # which is told where it is needed
                if found is not None:
                    others.append(found)
        exact = [pair for pair in others if plain_name(pair[0].id) == wanted]
        return exact[0] if exact else others[0] if len(others) == 1 else None

    def _state_of(self, item: PlannedResource, path: str, *, is_full: bool) -> Later:
        properties = self._outputs_of(item) if item.type.lower() == NESTED else self._properties_of(item, path)
        if not is_full:
            return properties
        scope = replace(item.scope, runtime=self.answer)
        shown = {
            name: partial(evaluate_value, member(item.raw, name), scope, member_path(item.path, name))
            for name in _SHOWN
            if member(item.raw, name) is not None
        }
        plain = {"name": item.name, "type": item.type, "apiVersion": item.api_version, **ids_of(item.id)}
        ids = {name: partial(_itself, value) for name, value in plain.items()}
        return Later(
            {**shown, **ids, "properties": lambda: properties}, missing=partial(self._missing, item, path, "Full")
        )

    def _outputs_of(self, item: PlannedResource) -> Later:
        """The state of a nested deployment: its outputs, each with type and value, worked out one by one."""

        def outputs() -> Later:
            child = self.nested_deployment(item)
            wanted = [name for name in child.declared_outputs if child.output_is_wanted(name, child.answer)]
            return Later({name: partial(child.output_as_told, name) for name in wanted})

        return Later({"outputs": outputs, "provisioningState": partial(_itself, ProvisioningState.SUCCEEDED)})

    def output_as_told(self, name: str) -> Later:
        """An output with its type and, when that is asked for, its value."""
        declared = self.declared_outputs[name]
        kind = str(member(declared, "type")) if isinstance(declared, dict) else ""
        return Later({"type": partial(_itself, kind), "value": partial(self.output_value, name)})

    def _properties_of(self, item: PlannedResource, path: str) -> Later:
        scope = replace(item.scope, runtime=self.answer)
        written = member(item.raw, "properties")
        where = member_path(item.path, "properties")
        if isinstance(written, str):
            written = evaluate_value(written, scope, where)
        members: dict[str, Any] = {}
        if not item.is_existing:
            members |= {name: partial(_itself, value) for name, value in derived_members(item.type, item.id).items()}
            for name, value in (written if isinstance(written, dict) else {}).items():
                members[name] = partial(self._property, item, name, (value, scope, member_path(where, name)))
        given = self._references.of("reference", names_of(item))
        if isinstance(given, dict):
            members = {name: value for name, value in members.items() if name.lower() not in {n.lower() for n in given}}
            members |= {name: partial(_itself, value) for name, value in given.items()}
        return Later(members, missing=partial(self._missing, item, path, ""))

    @staticmethod
    def _property(item: PlannedResource, name: str, written: tuple[Any, Scope, str]) -> Any:
        return with_ids(item.type, item.id, name, evaluate_value(*written))

    def _missing(self, item: PlannedResource, path: str, detail: str, name: str) -> tuple[Any] | None:  # noqa: ARG002
        state = "its state is only in Azure" if item.is_existing else "it is known only when it is made"
        raise TemplateInvalid([_not_known("reference", item.id, path, f"of its member `{name}`; {state}")])


def _itself(value: Any) -> Any:
    return value


def _not_known(function: str, asked: str, path: str, why: str) -> Mistake:
    told = f", {why}" if why and not why.startswith("of ") else f" {why}" if why else ""
    shown = asked if function == "reference" else f"{function}({asked})"
    message = f"{function}() asks for the state of `{asked}`{told}"
    return Mistake(
        path,
        message,
        f"give it: --reference '{shown}={{...}}', or a parameter in its place",
        kind=MistakeKind.NOT_KNOWN_HERE,
    )


def _type(resource: Mapping[str, Any]) -> str:
    return str(member(resource, "type")).rstrip("/").lower()


def _mentions_image_template(value: Any) -> bool:
    if isinstance(value, list):
        return any(_mentions_image_template(item) for item in value)
    if not isinstance(value, dict):
        return False
    return _type(value) in IMAGE_TEMPLATE_TYPES or any(_mentions_image_template(item) for item in value.values())
