"""A planned resource of a deployment, and the resources it waits for: `dependsOn` may name each of them in many ways.

A name is a symbolic name, the name of a loop, an id, a bare name, or a type with a name, which may be what an id ends
with: `Microsoft.X/types/name/children/name`. An id may spell a resource
group as a resource of its subscription, and may lack the group that a nested deployment goes to.

Before the resources are there, whoever asks for the state of one is answered with a mistake of a kind of its own. So
the evaluation goes on beside it, and finds there what would else be found when half of the resources are made.
Source: "Define the order for deploying resources"; `subscriptionResourceId` and `resourceId` of the "Resource
functions" reference.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from vmkiln.arm_template.budget import LETTERS_A_STEP, Budget
from vmkiln.arm_template.deployment_template import NESTED
from vmkiln.arm_template.evaluation import Scope, count_steps, evaluate_value
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.values import kind_of, member
from vmkiln.errors import Mistake, MistakeKind, TemplateInvalid

RESOURCES_A_STEP = 4  # that are looked at for the one that a name means
_GROUP = re.compile(
    r"(subscriptions/[^/]+)(?:/resourcegroups/[^/]*)?/providers/microsoft\.resources/resourcegroups/([^/]+)"
)


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


def holds(raw: Mapping[str, Any], scope: Scope, path: str) -> bool:
    """Whether the `condition` of a resource or an output at `path` keeps it; without one it is kept.

    Raises TemplateInvalid for one that is neither true nor false: Azure refuses it, and left out in silence it is not.
    """
    condition, where = member(raw, "condition"), member_path(path, "condition")
    if condition is None:
        return True
    found = evaluate_value(condition, scope, where)
    found = {"true": True, "false": False}.get(found.lower(), found) if isinstance(found, str) else found
    if isinstance(found, bool):
        return found
    hint = "an expression that gives one of the two stands in brackets: \"[equals(parameters('a'), 'b')]\""
    raise TemplateInvalid([Mistake(where, f"must be true or false, not {kind_of(found)}", hint)])


def with_dependencies(resources: Sequence[PlannedResource]) -> list[PlannedResource]:
    """The resources, each with what it waits for; pure. Raises TemplateInvalid when there is too much of it.

    One dictionary answers all names. Every name and every resource it means counts as a step of the evaluation, for
    800 resources that each name a loop of 800 make 640,000 edges of a few hundred bytes of template.
    """
    keys_of: dict[str, set[str]] = {}
    by_tail: dict[str, set[str]] = {}
    for resource in resources:
        for name in names_of(resource):
            keys_of.setdefault(name, set()).add(resource.key)
        by_tail.setdefault(tail_of(resource.id), set()).add(resource.key)
    found = []
    for resource in resources:
        keys: set[str] = set()
        unknown = []
        count_steps(resource.scope, len(resource.depends_on), member_path(resource.path, "dependsOn"))
        for text in dict.fromkeys(resource.depends_on):
            count_steps(resource.scope, len(text) // LETTERS_A_STEP, member_path(resource.path, "dependsOn"))
            meant = keys_of.get(plain_name(text)) or by_tail.get(tail_of(text), set())
            count_steps(resource.scope, len(meant), member_path(resource.path, "dependsOn"))
            keys |= meant
            if not meant:
                unknown.append(text)
        found.append(replace(resource, waits_for=frozenset(keys - {resource.key}), unknown=tuple(unknown)))
    return found


def meant_by(text: str, resources: Sequence[PlannedResource]) -> PlannedResource | None:
    """The resource that an id or name means, as `dependsOn` may spell it; by its loop's name none is meant. Pure."""
    wanted, tail = plain_name(text), tail_of(text)
    end = f"/providers/{wanted}"
    for item in resources:
        own, typed = item.id.lower().strip("/"), f"{item.type}/{item.name}".lower()  # as the oldest templates have it
        if wanted in (own, item.key.lower().strip("/"), item.name.lower(), typed) or own.endswith(end):
            return item
    alike = [item for item in resources if tail and item.type.lower() == NESTED and tail_of(item.id) == tail]
    return alike[0] if len(alike) == 1 else None


def names_of(resource: PlannedResource) -> set[str]:
    """Everything a template may call a resource by, as `plain_name` has it."""
    typed = f"{resource.type}/{resource.name}".lower()
    called = {plain_name(resource.key), resource.loop.lower(), plain_name(resource.id), resource.name.lower(), typed}
    return called | {tail_of(resource.id)}


def plain_name(name: str) -> str:
    """A name as it is compared: in lower case, an id of a resource group in its usual form; pure."""
    plain = name.lower().strip("/")
    group = _GROUP.fullmatch(plain)
    return f"{group[1]}/resourcegroups/{group[2]}" if group else plain


def tail_of(name: str) -> str:
    """What an id says after its place: `microsoft.x/types/name`, in lower case; '' for what is no id; pure."""
    plain = plain_name(name)
    return plain.rpartition("/providers/")[2] if plain.startswith("subscriptions/") and "/providers/" in plain else ""


# before any of them is made


class Planned(Protocol):
    """A deployment with its resources."""

    budget: Budget

    @property
    def around(self) -> "Planned | None":
        """The one in whose scope it is evaluated, where that is not its own."""

    def planned(self) -> list[PlannedResource]:
        """Every resource, those left out too."""


def runtime_before(
    plan: Planned, *, is_there: Callable[[str], bool] = lambda _id: False
) -> Callable[[str, list[Any], str], Any]:
    """What answers the functions that ask for the state of resources, when none of a deployment is made yet.

    `is_there` tells of the id of one that is left out whether it is there all the same.
    """
    resources = plan.planned()
    outside = runtime_before(plan.around, is_there=is_there) if plan.around is not None else None

    def runtime(function: str, arguments: list[Any], path: str) -> Any:
        if not arguments or not isinstance(arguments[0], str):
            raise TemplateInvalid([Mistake(path, f"{function}() takes the name or id of a resource")])
        asked = arguments[0]
        try:
            plan.budget.work(1 + len(resources) // RESOURCES_A_STEP)
        except ValueError as error:
            raise TemplateInvalid([Mistake(path, str(error))]) from None
        item = meant_by(asked, resources)
        if item is None and outside is not None:
            return outside(function, arguments, path)
        if item is not None and function == "resourceinfo":
            return resource_info(item)
        if item is not None and function == "reference" and not item.is_wanted and not is_there(item.id):
            raise left_out(item, path)
        if item is None and function == "reference" and not asked.startswith("/"):
            raise TemplateInvalid([Mistake(path, f"the resource `{asked[:200]}` is not defined in the template")])
        raise TemplateInvalid([Mistake(path, f"waits for `{asked[:200]}`", kind=MistakeKind.NOT_KNOWN_YET)])

    return runtime


def resource_info(item: PlannedResource) -> dict[str, str]:
    """What `resourceInfo()` gives; pure."""
    return {"id": item.id, "name": item.name, "type": item.type, "apiVersion": item.api_version}


def left_out(item: PlannedResource, path: str) -> TemplateInvalid:
    """That the state of a resource is asked for which is not made."""
    return TemplateInvalid([Mistake(path, f"`{item.name}` is left out, because of its condition")])


def wrong_in(error: TemplateInvalid) -> list[Mistake]:
    """The mistakes that stay when the resources are there; pure."""
    return [mistake for mistake in error.mistakes if mistake.kind is not MistakeKind.NOT_KNOWN_YET]
