"""The values of a deployment's parameters: from parameter files, `NAME=VALUE` strings and default values.

Source: the "Parameters in ARM templates" and "Create Resource Manager parameter file" pages.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.values import member
from vmkiln.errors import Mistake, TemplateInvalid

ENTRY = {"value", "reference", "expression"}  # what a parameter file may give a parameter, in lower case


@dataclass(frozen=True)
class ParameterFile:
    """A parameter file that was read: `{"parameters": {"x": {"value": ...}}}`, its inside, or plain `{"x": ...}`."""

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
    without: dict[str, Mistake] = {}  # those that a file gives no value, by their name in lower case
    mistakes: list[Mistake] = []
    for source in sources:
        if isinstance(source, ParameterFile):
            for given in _in_file(source, mistakes):
                if isinstance(given, GivenParameter):
                    found[given.name.lower()] = given
                    without.pop(given.name.lower(), None)
                else:
                    without[given.path.removeprefix("parameters.").lower()] = given
            continue
        name, equals, text = source.partition("=")
        if not equals or not name.strip():
            mistakes.append(Mistake("parameters", f"`{name}` is not of the form NAME=VALUE"))
            continue
        found[name.strip().lower()] = GivenParameter(name.strip(), text, True)
        without.pop(name.strip().lower(), None)
    mistakes += without.values()
    if mistakes:
        raise TemplateInvalid(mistakes)
    return found


def _in_file(file: ParameterFile, mistakes: list[Mistake]) -> list[GivenParameter | Mistake]:
    """What a file gives; of a parameter that it names and gives no value, what is wrong."""
    document = read_json(file.text, file_name=file.name)
    if not isinstance(document, dict):
        mistakes.append(Mistake(file.name, "must hold a JSON object"))
        return []
    wrapped = member(document, "parameters")
    if not isinstance(wrapped, dict):
        plain = [(name, value) for name, value in document.items() if name not in ("$schema", "contentVersion")]
        if plain and all(_is_entry(value) for _, value in plain):  # as az takes them, too
            return [_entry(name, entry, file) for name, entry in plain]
        return [GivenParameter(name, value, False) for name, value in plain]
    return [_entry(name, entry, file) for name, entry in wrapped.items()]


def _is_entry(value: Any) -> bool:
    names = {name.lower() for name in value} if isinstance(value, dict) else set()
    return bool(names & ENTRY) and names <= ENTRY | {"metadata"}


def _entry(name: str, entry: Any, file: ParameterFile) -> GivenParameter | Mistake:
    spelled = {key.lower(): value for key, value in entry.items()} if isinstance(entry, dict) else {}
    where, way = f"parameters.{name}", f"give it a value: --parameters {name}=VALUE"
    if "value" in spelled:
        return GivenParameter(name, spelled["value"], False)
    if "reference" in spelled:
        return Mistake(where, "is read from a key vault, which a local build cannot reach", way)
    if "expression" in spelled:
        return Mistake(where, f"in {file.name} is worked out by whoever deploys it, from inputs of its own", way)
    return Mistake(where, f'in {file.name} must have the form {{"value": ...}}')


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
