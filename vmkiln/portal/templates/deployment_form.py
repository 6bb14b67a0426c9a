"""A deployment template in the form of a new template: its parameters as fields, and what was written into them; pure.

A secure parameter is a field that no page has the value of again: neither this form nor a login in between. So is one
with anything secure inside, and one whose type cannot be told. A type may be one of the template's `definitions`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.budget import MAXIMUM_STEPS, Budget
from vmkiln.arm_template.deployment_context import is_deployment_template
from vmkiln.arm_template.parameters.declared_type import KINDS, LONGEST_KIND, plain_kind, resolved
from vmkiln.arm_template.values import member
from vmkiln.portal.templates.source_choice import Choice
from vmkiln.portal.templates.template_face import shortened
from vmkiln.portal.visit import UNSEEN

OPEN = "parameter."  # how the names of fields begin
MOST_PARAMETERS = 60
MOST_SHOWN_LETTERS = 120  # of a default
MOST_STEPS = 50_000  # of looking at all parameters' types
TEXTS = {"string", "securestring"}


@dataclass(frozen=True)
class Parameter:
    """A parameter as the form asks for it; `default` is told, and of a secure one only that there is one.

    The value of one that `is_secure` is shown to nobody.
    """

    name: str
    type: str
    is_secure: bool
    is_needed: bool
    default: str
    allowed: tuple[Choice, ...]
    about: str

    @property
    def field(self) -> str:
        """The name of its field."""
        return f"{UNSEEN if self.is_secure else OPEN}{self.name}"


@dataclass(frozen=True)
class Written:
    """A deployment template that stands in the form."""

    document: Mapping[str, Any]
    parameters: tuple[Parameter, ...]


def deployment_in(document: Any) -> Written | None:
    """The deployment template that a text held; None for anything else, which is told of elsewhere."""
    if not isinstance(document, dict) or not is_deployment_template(document):
        return None
    declared = member(document, "parameters")
    items = declared.items() if isinstance(declared, dict) else ()
    budget = Budget(steps=MAXIMUM_STEPS - MOST_STEPS)
    found = (_parameter(name, item, document, budget) for name, item in items if isinstance(item, dict))
    return Written(document, tuple(found))


def given_in(written: Written, values: Mapping[str, str]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The parameters as a deployment is given them, and every mistake in their fields."""
    given: dict[str, Any] = {}
    details: list[dict[str, str]] = []
    if len(written.parameters) > MOST_PARAMETERS:
        message = f"declares {len(written.parameters)} parameters; this form has fields for {MOST_PARAMETERS} at most"
        return {}, [_wrong("parameters", f"{message}: `vmkiln template create FILE --parameters FILE` takes all")]
    for parameter in written.parameters:
        text = values.get(parameter.field, "")
        if not text:
            if parameter.is_needed:
                details.append(
                    _wrong(parameter.field, f"the parameter `{parameter.name}` needs a value: write it here")
                )
            continue
        try:
            given[parameter.name] = {"value": _value(parameter.type, text)}
        except ValueError as error:
            details.append(_wrong(parameter.field, f"the parameter `{parameter.name}` {error}"))
    return given, details


def _wrong(field: str, message: str) -> dict[str, str]:
    return {"code": "InvalidParameter", "target": field, "message": message}


def _value(kind: str, text: str) -> Any:
    """What a field means for a parameter of this type. Raises: `ValueError`, which tells nothing of the text."""
    if kind in TEXTS:
        return text
    if kind == "int":
        if not text.strip().removeprefix("-").isdecimal() or len(text) > 20:
            raise ValueError("must be a whole number")
        return int(text)
    if kind == "bool":
        if text.strip().lower() not in {"true", "false"}:
            raise ValueError("must be true or false")
        return text.strip().lower() == "true"
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("must be JSON, such as {} or []") from None


def _parameter(name: str, declared: Mapping[str, Any], document: Mapping[str, Any], budget: Budget) -> Parameter:
    schema: Mapping[str, Any] = {key: value for key, value in declared.items() if key.lower() == "defaultvalue"}
    try:
        schema, is_secure = resolved(declared, document, budget), _has_secret(declared, document, budget)
    except ValueError:  # too much to be looked at
        is_secure = True
    named = schema.get("type")
    kind = named[:LONGEST_KIND].lower() if isinstance(named, str) else ""
    has_default, metadata = any(key.lower() == "defaultvalue" for key in schema), schema.get("metadata")
    default = "set in the template" if is_secure else _shown(schema.get("defaultValue"))
    about = str(member(metadata, "description") or "") if isinstance(metadata, dict) else ""
    return Parameter(
        name=str(name),
        type=kind,
        is_secure=is_secure,
        is_needed=not has_default and schema.get("nullable") is not True,
        default=default if has_default else "",
        allowed=() if is_secure else _choices(kind, schema.get("allowedValues")),
        about=about[:MOST_SHOWN_LETTERS],
    )


def _has_secret(declared: Mapping[str, Any], document: Mapping[str, Any], budget: Budget) -> bool:
    """Whether a value of that type is secure, or may have anything in it that is; also where that cannot be told.

    Raises ValueError when the budget is spent.
    """
    waiting: list[Any] = [declared]
    seen: set[int] = set()  # a type may be part of itself
    while waiting:
        one = waiting.pop()
        if not isinstance(one, dict) or id(one) in seen:
            continue
        seen.add(id(one))
        schema = resolved(one, document, budget)
        kind, is_secure = plain_kind(schema)
        if is_secure or (kind not in KINDS and ("type" in schema or member(one, "$ref") is not None)):
            return True
        parts = _parts(schema)
        budget.work(len(parts))
        waiting += parts
    return False


def _parts(schema: Mapping[str, Any]) -> list[Any]:
    """The declarations of what a value of that type may have in it."""
    properties, first, chosen = (schema.get(name) for name in ("properties", "prefixItems", "discriminator"))
    branches = member(chosen, "mapping") if isinstance(chosen, dict) else None
    return [
        schema.get("additionalProperties"),
        schema.get("items"),
        *(properties.values() if isinstance(properties, dict) else ()),
        *(first if isinstance(first, list) else ()),
        *(branches.values() if isinstance(branches, dict) else ()),
    ]


def _choices(kind: str, allowed: Any) -> tuple[Choice, ...]:
    """The allowed values; of an array's several may be chosen, so it stays a field for a text."""
    if not isinstance(allowed, list) or kind == "array":
        return ()
    return tuple(Choice(_as_written(kind, value), _shown(value)) for value in allowed)


def _as_written(kind: str, value: Any) -> str:
    """What is written into a field for a value of this type: `_value` makes the same of it."""
    return value if isinstance(value, str) and kind in TEXTS else json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, most=MOST_SHOWN_LETTERS)
