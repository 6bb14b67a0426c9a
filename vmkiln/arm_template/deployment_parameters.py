"""The values of a deployment's parameters: from parameter files, `NAME=VALUE` strings and default values.

Source: the "Parameters in ARM templates" and "Create Resource Manager parameter file" pages.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.lenient_json import read_json
from vmkiln.errors import Mistake, TemplateInvalid


@dataclass(frozen=True)
class ParameterFile:
    """A parameter file that was read: `{"parameters": {"x": {"value": ...}}}` or plain `{"x": ...}`."""

    name: str
    text: str


@dataclass(frozen=True)
class GivenParameter:
    """A value that the user gave. `is_text`: it came as NAME=VALUE and is still to be read by its declared type."""

    name: str
    value: Any
    is_text: bool


def given_parameters(sources: Sequence[ParameterFile | str]) -> dict[str, GivenParameter]:
    """All values that were given, by lower-case name; a later source wins. Raises TemplateInvalid."""
    found: dict[str, GivenParameter] = {}
    mistakes: list[Mistake] = []
    for source in sources:
        if isinstance(source, ParameterFile):
            found |= {name.lower(): GivenParameter(name, value, False) for name, value in _in_file(source, mistakes)}
            continue
        name, equals, text = source.partition("=")
        if not equals or not name.strip():
            mistakes.append(Mistake("parameters", f"`{name}` is not of the form NAME=VALUE"))
            continue
        found[name.strip().lower()] = GivenParameter(name.strip(), text, True)
    if mistakes:
        raise TemplateInvalid(mistakes)
    return found


def _in_file(file: ParameterFile, mistakes: list[Mistake]) -> list[tuple[str, Any]]:
    document = read_json(file.text, file_name=file.name)
    if not isinstance(document, dict):
        mistakes.append(Mistake(file.name, "must hold a JSON object"))
        return []
    wrapped = document.get("parameters")
    if not isinstance(wrapped, dict):
        return [(name, value) for name, value in document.items() if name not in ("$schema", "contentVersion")]
    values = []
    for name, entry in wrapped.items():
        if isinstance(entry, Mapping) and "value" in entry:
            values.append((name, entry["value"]))
        elif isinstance(entry, Mapping) and "reference" in entry:
            message = "is read from a key vault, which a local build cannot reach"
            mistakes.append(Mistake(f"parameters.{name}", message, f"give it a value: --parameters {name}=VALUE"))
        else:
            mistakes.append(Mistake(f"parameters.{name}", f'in {file.name} must have the form {{"value": ...}}'))
    return values


@dataclass(frozen=True)
class ParameterUsed:
    """A parameter by its name, with the SHA-256 of its value's JSON in hexadecimal; of a secret there is none: ''."""

    name: str
    sha256: str

    @property
    def as_data(self) -> dict[str, Any]:
        """As a statement of an image's provenance has it."""
        return {"name": self.name, **({"sha256": self.sha256} if self.sha256 else {"secret": True})}


def parameter_used(name: str, value: Any, *, is_secret: bool) -> ParameterUsed:
    """Tell of a value no more than its digest, and nothing of a secret, for a digest of a short one can be guessed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return ParameterUsed(name, "" if is_secret else hashlib.sha256(text.encode()).hexdigest())
