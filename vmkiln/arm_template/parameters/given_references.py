"""What the user tells of resources that are not in the file: `--reference ID={...}`, or a file of such members.

The id may be a name, or a name of Bicep's; `listKeys(ID)={...}` tells what another function gives.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile
from vmkiln.arm_template.planned_resource import plain_name
from vmkiln.errors import Mistake, TemplateInvalid

_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True)
class GivenReferences:
    """Answers by function and name, both in lower case; `typed` are those of the command line, as they are written."""

    answers: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    typed: Mapping[tuple[str, str], str] = field(default_factory=dict)
    _asked: set[tuple[str, str]] = field(default_factory=set, compare=False)

    def of(self, function: str, names: Iterable[str]) -> Any:
        """What was given for a resource of one of these names (as `plain_name` has them); None for nothing."""
        found = next((key for key in ((function, name) for name in names) if key in self.answers), None)
        if found is None:
            return None
        self._asked.add(found)
        return self.answers[found]

    def unasked(self) -> list[str]:
        """What was typed, and nothing has asked for so far; a file may well have more than one template needs."""
        return [text for key, text in self.typed.items() if key not in self._asked]


def given_references(sources: Sequence[ParameterFile | str]) -> GivenReferences:
    """All that was given; a later source wins. Raises TemplateInvalid with every mistake."""
    found: dict[tuple[str, str], Any] = {}
    typed: dict[tuple[str, str], str] = {}
    mistakes: list[Mistake] = []
    for source in sources:
        try:
            for name, value in _pairs(source):
                call = _CALL.fullmatch(name)
                function, resource = (call[1].lower(), call[2]) if call else ("reference", name)
                key = function, plain_name(resource.strip().strip("'"))
                found[key] = value
                if isinstance(source, str):
                    typed[key] = name
        except TemplateInvalid as error:
            mistakes += error.mistakes
    if mistakes:
        raise TemplateInvalid(mistakes)
    return GivenReferences(found, typed)


def is_answer(text: str) -> bool:
    """Whether `NAME=JSON` tells what a `list...` function answers, such as the keys of an account; pure."""
    call = _CALL.fullmatch(text.partition("=")[0])
    return call is not None and call[1].lower().startswith("list")


def _pairs(source: ParameterFile | str) -> list[tuple[str, Any]]:
    if isinstance(source, ParameterFile):
        document = read_json(source.text, file_name=source.name)
        if not isinstance(document, dict):
            raise TemplateInvalid([Mistake(source.name, "must hold a JSON object: an id and its members each")])
        return list(document.items())
    name, equals, text = source.partition("=")
    if not equals or not name.strip():
        raise TemplateInvalid([Mistake("references", f"`{source[:80]}` is not of the form ID=JSON")])
    value = read_json(text, file_name=f"{name}=")
    return [(name.strip(), value)]
