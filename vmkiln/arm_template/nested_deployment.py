"""A nested deployment as it says of itself: its template, its parameters, and in whose scope it is evaluated.

Each of them may be one expression, and so may its `properties` as a whole, or a parameter's entry: the Bicep compiler
writes a condition as `[if(empty(x), createObject('value', null()), createObject('value', x))]`, and a template that was
loaded from a file as `[variables('$fxv#0')]`. A template that comes out of an expression is evaluated once more, in a
scope of its own: what was meant for the scope around it is evaluated by then.
Source: "Using linked and nested templates"; ARM's reference of deployments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmkiln.arm_template.evaluation import Scope, evaluate_value
from vmkiln.arm_template.expression import is_expression
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.plain_text import check_size
from vmkiln.arm_template.values import kind_of, member
from vmkiln.errors import Mistake, MistakeKind, TemplateInvalid


@dataclass(frozen=True)
class Written:
    """A value as the template has it, and its place; `is_plain` when it is worked out already."""

    value: Any
    path: str
    is_plain: bool = False

    @property
    def is_computed(self) -> bool:
        """Whether it is, or comes out of, one expression."""
        return self.is_plain or (isinstance(self.value, str) and is_expression(self.value))

    def opened(self, scope: Scope) -> "Written":
        """What an expression in its place gives; itself where none stands there. Raises TemplateInvalid."""
        if self.is_plain or not self.is_computed:
            return self
        found = evaluate_value(self.value, scope, self.path)
        check_size(found, self.path, scope.budget)
        return Written(found, self.path, is_plain=True)

    def member(self, name: str) -> "Written":
        """The member of that name, whatever its case; null where there is none."""
        found = member(self.value, name) if isinstance(self.value, dict) else None
        return Written(found, member_path(self.path, name), self.is_plain)

    def evaluated(self, scope: Scope) -> Any:
        """Its value with every expression in it evaluated. Raises TemplateInvalid."""
        return self.value if self.is_plain else evaluate_value(self.value, scope, self.path)


@dataclass(frozen=True)
class NestedTemplate:
    """The template of a nested deployment, whether it has a scope of its own, and what it gives as parameters."""

    template: Mapping[str, Any]
    is_inner: bool
    given: Written

    def parameters(self, scope: Scope) -> dict[str, Written]:
        """What each parameter is given, not evaluated where it need not be. Raises TemplateInvalid."""
        whole = self.given.opened(scope)
        if whole.value is None:
            return {}
        if not isinstance(whole.value, dict):
            raise TemplateInvalid([Mistake(whole.path, f"must be an object, not {kind_of(whole.value)}")])
        return {
            name: Written(entry, member_path(whole.path, name), whole.is_plain) for name, entry in whole.value.items()
        }


def is_computed(raw: Mapping[str, Any]) -> bool:
    """Whether the template of a nested deployment has to be worked out before it can be looked into; pure."""
    properties = Written(member(raw, "properties"), "properties")
    return properties.is_computed or properties.member("template").is_computed


def nested_template(raw: Mapping[str, Any], path: str, scope: Scope) -> NestedTemplate:
    """What a nested deployment says of itself. Raises TemplateInvalid for a linked one."""
    properties = Written(member(raw, "properties"), member_path(path, "properties")).opened(scope)
    template = properties.member("template").opened(scope)
    if not isinstance(template.value, dict):
        if template.value is not None:
            raise TemplateInvalid([Mistake(template.path, f"must be an object, not {kind_of(template.value)}")])
        message = "a linked deployment is not fetched"
        hint = "put the template itself under `template`"
        where = properties.member("templateLink").path
        raise TemplateInvalid([Mistake(where, message, hint, kind=MistakeKind.NOT_KNOWN_HERE)])
    without = replace(scope, runtime=None)
    options = properties.member("expressionEvaluationOptions").opened(without)
    asked = options.member("scope").evaluated(without)
    is_inner = template.is_plain or (isinstance(asked, str) and asked.lower() == "inner")
    return NestedTemplate(template.value, is_inner, properties.member("parameters"))


def parameter_value(entry: Written, scope: Scope) -> Any:
    """The value that a nested deployment gives to a parameter; the whole entry may be an expression.

    Raises TemplateInvalid.
    """
    opened = entry.opened(scope)
    value = opened.member("value")
    if value.value is None and opened.member("reference").value is not None:
        mistake = Mistake(
            entry.path,
            "is read from a key vault, which is not reached",
            "give it as `value`",
            kind=MistakeKind.NOT_KNOWN_HERE,
        )
        raise TemplateInvalid([mistake])
    if not isinstance(opened.value, dict):
        raise TemplateInvalid([Mistake(entry.path, f"must be an object with `value`, not {kind_of(opened.value)}")])
    return replace(value, path=entry.path).evaluated(scope)
