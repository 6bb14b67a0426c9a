"""The parameters a deployment template declares: their types and limits, and how a given value is held against them.

No message tells the value of a secure parameter. Source: the "Parameters in ARM templates" page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.deployment_parameters import GivenParameter
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.values import kind_of, member, member_of, same
from vmkiln.errors import Mistake, TemplateInvalid

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "bool": (bool,),
    "array": (list,),
    "object": (dict,),
}
_ARTICLES = {"int": "a whole number", "bool": "true or false", "array": "an array", "object": "an object"}


@dataclass(frozen=True)
class DeclaredParameter:
    """One parameter: its type in lower case without "secure" and its declaration, limits included."""

    name: str
    type: str
    is_secure: bool
    declaration: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Where it is declared."""
        return member_path("parameters", self.name)

    @property
    def is_required(self) -> bool:
        """Whether a value has to be given."""
        return "defaultValue" not in self.declaration and self.declaration.get("nullable") is not True


def declared_parameters(document: Mapping[str, Any]) -> dict[str, DeclaredParameter]:
    """What a template declares, by lower-case name. Raises TemplateInvalid with every mistake in the declarations."""
    found: dict[str, DeclaredParameter] = {}
    mistakes: list[Mistake] = []
    declarations = member(document, "parameters") or {}
    if not isinstance(declarations, dict):
        raise TemplateInvalid([Mistake("parameters", "must be an object")])
    for name, declaration in declarations.items():
        path = member_path("parameters", name)
        if not isinstance(declaration, dict):
            mistakes.append(Mistake(path, "must be an object with a `type`"))
            continue
        canonical = {_canonical(key): value for key, value in declaration.items()}
        definition = _definition(canonical, document)
        canonical = {**definition, **canonical}
        kind = str(definition.get("type")).lower()
        plain = kind.removeprefix("secure")
        if plain not in _KINDS:
            hint = "allowed are string, securestring, int, bool, object, secureObject, array"
            mistakes.append(Mistake(member_path(path, "type"), f"`{kind}` is not a type of parameters", hint))
        elif name.lower() in found:
            mistakes.append(Mistake(path, "is declared twice: names are without regard to case"))
        else:
            found[name.lower()] = DeclaredParameter(name, plain, plain != kind, canonical)
    if mistakes:
        raise TemplateInvalid(mistakes)
    return found


def _canonical(key: str) -> str:
    names = ("defaultValue", "allowedValues", "minValue", "maxValue", "minLength", "maxLength", "type", "nullable")
    return next((name for name in names if name.lower() == key.lower()), key)


def _definition(declaration: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The declaration itself, or the one of the template's own that its `$ref` names (languageVersion 2.0)."""
    here: Any = declaration
    for _ in range(8):
        if not isinstance(here, dict) or "$ref" not in here:
            break
        reference = str(here["$ref"]).split("/")
        here = document
        for step in reference[1:]:
            found = member_of(here, step)
            here = found[0] if found else None
    return here if isinstance(here, dict) else {}


def given_value(parameter: DeclaredParameter, given: GivenParameter) -> Any:
    """The value of a parameter that was given. Raises TemplateInvalid with its mistakes."""
    value = _read_text(parameter, given.value) if given.is_text else given.value
    check_value(parameter, value)
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
        wanted = _ARTICLES[parameter.type]
        raise TemplateInvalid([Mistake(parameter.path, f"must be {wanted}, written as JSON")]) from None


def check_value(parameter: DeclaredParameter, value: Any) -> None:
    """Holds a value against type and limits. Raises TemplateInvalid with every limit that it breaks."""
    if value is None and (parameter.declaration.get("nullable") is True):
        return
    if not isinstance(value, _KINDS[parameter.type]) or (parameter.type == "int" and isinstance(value, bool)):
        wanted = _ARTICLES.get(parameter.type, "a string")
        raise TemplateInvalid([Mistake(parameter.path, f"must be {wanted}, not {kind_of(value)}")])
    mistakes = [Mistake(parameter.path, message) for message in _broken_limits(parameter, value)]
    if mistakes:
        raise TemplateInvalid(mistakes)


def _broken_limits(parameter: DeclaredParameter, value: Any) -> list[str]:
    limits, broken = parameter.declaration, []
    shown = "the value" if parameter.is_secure or not isinstance(value, str | int) else f"`{value}`"
    allowed = limits.get("allowedValues")
    if isinstance(allowed, list):
        values = value if isinstance(value, list) and not any(same(value, item) for item in allowed) else [value]
        if not all(any(same(one, item) for item in allowed) for one in values):
            choices = "" if parameter.is_secure else f": allowed are {', '.join(str(item) for item in allowed)}"
            broken.append(f"{shown} is not one of the allowed values{choices}")
    size = value if isinstance(value, int) else len(value)
    for name, word in (("minValue", "less"), ("minLength", "less"), ("maxValue", "more"), ("maxLength", "more")):
        limit = limits.get(name)
        if not isinstance(limit, int) or name.endswith("Value") != isinstance(value, int):
            continue
        if (size < limit) if word == "less" else (size > limit):
            measure = shown if name.endswith("Value") else f"the length of {shown}"
            broken.append(f"{measure} is {word} than {limit}")
    return broken
