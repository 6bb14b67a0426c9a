"""A deployment template in the form of a new template: its parameters as fields, and what was written into them; pure.

A secure parameter is a field that no page has the value of again: neither this form nor a login in between.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.deployment_template import is_deployment_template
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.values import member
from vmkiln.errors import TemplateInvalid
from vmkiln.portal.visit import UNSEEN

OPEN = "parameter."  # how the names of fields begin
MOST_PARAMETERS = 60
MOST_SHOWN_LETTERS = 120  # of a default
SECURE = {"securestring", "secureobject"}
TEXTS = {"string", "securestring"}


@dataclass(frozen=True)
class Parameter:
    """A parameter as the form asks for it; `default` is told, and of a secure one only that there is one."""

    name: str
    type: str
    is_needed: bool
    default: str
    allowed: tuple[str, ...]
    about: str

    @property
    def is_secure(self) -> bool:
        """Whether its value is shown to nobody."""
        return self.type in SECURE

    @property
    def field(self) -> str:
        """The name of its field."""
        return f"{UNSEEN if self.is_secure else OPEN}{self.name}"


@dataclass(frozen=True)
class Written:
    """A deployment template that stands in the form."""

    document: Mapping[str, Any]
    parameters: tuple[Parameter, ...]


def deployment_in(text: str) -> Written | None:
    """The deployment template that a text is; None for anything else, which is told of elsewhere."""
    try:
        document = read_json(text, file_name="template")
    except TemplateInvalid:
        return None
    if not isinstance(document, dict) or not is_deployment_template(document):
        return None
    declared = member(document, "parameters")
    items = declared.items() if isinstance(declared, dict) else ()
    return Written(document, tuple(_parameter(name, item) for name, item in items if isinstance(item, dict)))


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


def _parameter(name: str, declared: Mapping[str, Any]) -> Parameter:
    kind = str(member(declared, "type") or "").lower()
    has_default = "defaultvalue" in {key.lower() for key in declared}
    nullable = member(declared, "nullable") is True
    default = member(declared, "defaultValue")
    allowed, metadata = member(declared, "allowedValues"), member(declared, "metadata")
    about = str(member(metadata, "description") or "") if isinstance(metadata, dict) else ""
    return Parameter(
        name=str(name),
        type=kind,
        is_needed=not has_default and not nullable,
        default="" if not has_default else "set in the template" if kind in SECURE else _shown(default),
        allowed=tuple(_shown(item) for item in allowed) if isinstance(allowed, list) and kind not in SECURE else (),
        about=about[:MOST_SHOWN_LETTERS],
    )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_SHOWN_LETTERS else f"{text[: MOST_SHOWN_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
