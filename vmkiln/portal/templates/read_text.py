"""The text of a form, read once, in JSON or YAML: what it holds, why it cannot be read, where its parts stand; pure.

Placeholders of our examples are filled in behind the reading, so that a place is one of what was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.json_places import Places
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.yaml_text import is_yaml, json_of_yaml
from vmkiln.errors import Mistake, TemplateInvalid

MOST_CHECKED_LETTERS = 128 * 1024
NAME = "template"  # what a mistake's place calls the text
IMAGES_NAME = "/images/NAME"
TOO_MUCH = f"a text in YAML may have at most {MOST_CHECKED_LETTERS // 1024} KiB here"


@dataclass(frozen=True)
class ReadText:
    """What stands in a form: its value, or the `mistakes` that keep it from being read, and the places of its parts."""

    value: Any
    places: Places
    mistakes: tuple[Mistake, ...] = ()


def read_text(values: Mapping[str, str]) -> ReadText:
    """The text of a form, with the form's own fields in place of the examples' placeholders."""
    text, begins = values["body"], dict[str, int]()
    noted = begins if len(text) <= MOST_CHECKED_LETTERS else None  # of what is longer nobody asks for a place
    try:
        return ReadText(_filled(_value(text, noted), values), Places(text, begins))
    except TemplateInvalid as error:
        return ReadText(None, Places(text, {}), error.mistakes)


def _value(text: str, places: dict[str, int] | None) -> Any:
    """Raises: `TemplateInvalid`."""
    if not is_yaml(text):
        return read_json(text, file_name=NAME, places=places)
    if places is None:
        raise TemplateInvalid([Mistake(f"{NAME}:1:1", TOO_MUCH, "write it as JSON, or give it to vmkiln")])
    return read_json(json_of_yaml(text, NAME, places=places), file_name=NAME)


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    """A value with the names of the form in its texts and in its members' names."""
    if isinstance(value, dict):
        return {_named(name, values): _filled(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    return _named(value, values) if isinstance(value, str) else value


def _named(text: str, values: Mapping[str, str]) -> str:
    text = text.replace("/subscriptions/SUBSCRIPTION/", f"/subscriptions/{values['subscription']}/")
    text = text.replace("/resourceGroups/GROUP/", f"/resourceGroups/{values['group']}/")
    return text.removesuffix("NAME") + values["name"] if text.endswith(IMAGES_NAME) else text
