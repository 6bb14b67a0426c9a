"""The parameters a deployment template declares, and how a given value is held against them.

No message tells the value of a secure parameter. Source: the "Parameters in ARM templates" page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vmkiln.arm_template.budget import MOST_MISTAKES, Budget
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.parameters.declared_type import (
    ARTICLES,
    KINDS,
    first_mistakes,
    plain_kind,
    resolved,
    unknown_type,
)
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.arm_template.values import member
from vmkiln.errors import Mistake, TemplateInvalid


@dataclass(frozen=True)
class DeclaredParameter:
    """One parameter: its type in lower case without "secure" and its declaration, limits included.

    `document` is the template, whose `definitions` the declaration may name; `inside` the path at which that stands,
    with a dot behind it, where it is nested in another.
    """

    name: str
    type: str
    is_secure: bool
    declaration: Mapping[str, Any]
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    inside: str = ""

    @property
    def path(self) -> str:
        """Where it is declared."""
        return member_path(f"{self.inside}parameters", self.name)

    @property
    def is_required(self) -> bool:
        """Whether a value has to be given."""
        return "defaultValue" not in self.declaration and self.declaration.get("nullable") is not True


def declared_parameters(document: Mapping[str, Any], budget: Budget, inside: str = "") -> dict[str, DeclaredParameter]:
    """What a template declares, by lower-case name. Raises TemplateInvalid with every mistake in the declarations."""
    found: dict[str, DeclaredParameter] = {}
    mistakes: list[Mistake] = []
    declarations = member(document, "parameters") or {}
    if not isinstance(declarations, dict):
        raise TemplateInvalid([Mistake(f"{inside}parameters", "must be an object")])
    for name, declaration in declarations.items():
        path = member_path(f"{inside}parameters", name)
        if not isinstance(declaration, dict):
            mistakes.append(Mistake(path, "must be an object with a `type`"))
            continue
        try:
            schema = resolved(declaration, document, budget)
        except ValueError as error:
            raise TemplateInvalid([Mistake(path, str(error))]) from None
        kind, is_secure = plain_kind(schema)
        if kind not in KINDS:
            mistakes.append(unknown_type(path, declaration, schema, of="parameters"))
        elif name.lower() in found:
            mistakes.append(Mistake(path, "is declared twice: names are without regard to case"))
        else:
            found[name.lower()] = DeclaredParameter(name, kind, is_secure, schema, document, inside)
        if len(mistakes) >= MOST_MISTAKES:
            break
    if mistakes:
        raise TemplateInvalid(mistakes)
    return found


def given_value(parameter: DeclaredParameter, given: GivenParameter, budget: Budget) -> Any:
    """The value of a parameter that was given. Raises TemplateInvalid with its mistakes."""
    value = _read_text(parameter, given.value) if given.is_text else given.value
    check_value(parameter, value, budget)
    return value


def _read_text(parameter: DeclaredParameter, text: str) -> Any:
    if parameter.type == "string":
        return text
    words = {"true": True, "false": False}
    if parameter.type == "bool" and text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return read_json(text, file_name=f"{parameter.name}=")
    except TemplateInvalid:
        wanted = ARTICLES.get(parameter.type, "an object")
        raise TemplateInvalid([Mistake(parameter.path, f"must be {wanted}, written as JSON")]) from None


def check_value(parameter: DeclaredParameter, value: Any, budget: Budget) -> None:
    """Holds a value against type and limits. Raises TemplateInvalid with everything that is wrong with it."""
    declared, path = parameter.declaration, parameter.path
    mistakes = first_mistakes(value, declared, parameter.document, path, budget, is_secure=parameter.is_secure)
    if mistakes:
        raise TemplateInvalid(mistakes)
