"""What somebody wrote into the form of a new template: its text as a template, and every mistake of it; pure.

A chosen source stands in for the one in the text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from vmkiln.arm_template.deployment_context import is_deployment_template
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.portal.templates.read_text import ReadText, read_text
from vmkiln.provisioning.kept_texts import sent_back
from vmkiln.template.checked_template import check_image_template

FIELDS = ("subscription", "group", "name", "source")  # of the form, besides the template itself
INVALID_JSON = "InvalidJson"  # the code of a mistake in the template's text
MOST_NAME_LETTERS = 500  # of a chosen source
PARTS = 3  # of a platform image's name
GROUP_NAME = re.compile(r"[\w.()-]{1,90}")
GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def source_named(chosen: str) -> dict[str, str] | None:
    """The source that a choice means, a platform image's three names or an image's id; None for what is neither."""
    if len(chosen) > MOST_NAME_LETTERS:
        return None
    if chosen.startswith("/"):
        is_version = "/galleries/" in chosen.lower()
        kind, member = ("SharedImageVersion", "imageVersionId") if is_version else ("ManagedImage", "imageId")
        return {"type": kind, member: chosen}
    names = chosen.split(":")
    if len(names) != PARTS or not all(names):
        return None
    return {
        "type": "PlatformImage",
        **dict(zip(("publisher", "offer", "sku"), names, strict=True)),
        "version": "latest",
    }


def with_source(values: Mapping[str, str]) -> dict[str, str]:
    """The form with the chosen source in its template's text, and nothing chosen any more.

    Raises: `TemplateInvalid` where the text cannot be written anew without a loss, as one with comments.
    """
    chosen = values["source"]
    if not chosen:
        return dict(values)
    source = source_named(chosen)
    if source is None:
        raise TemplateInvalid([Mistake("source", f"`{chosen[:90]}` is no source of this list")])
    try:
        body = json.loads(values["body"], object_pairs_hook=_all_of)
    except (ValueError, RecursionError):
        message = "is not put into a text that is not plain JSON, as YAML or one with comments: write it there yourself"
        raise TemplateInvalid([Mistake("source", message)]) from None
    if isinstance(body, dict) and is_deployment_template(body):
        message = "is not put into a deployment template: write it there yourself, or give its parameter"
        raise TemplateInvalid([Mistake("source", message)])
    properties = body.setdefault(_name_in(body, "properties"), {}) if isinstance(body, dict) else None
    if not isinstance(properties, dict):
        raise TemplateInvalid([Mistake("source", "needs a template with `properties` to be put into")])
    properties[_name_in(properties, "source")] = source
    return {**values, "body": json.dumps(body, indent=2, ensure_ascii=False), "source": ""}


def _all_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose members has the name of another, in any case, for one of them would be lost."""
    if len({name.lower() for name, _ in members}) < len(members):
        raise ValueError("a name is there twice")
    return dict(members)


def _name_in(members: Mapping[str, Any], wanted: str) -> str:
    """How a member is written there, in any case."""
    return next((name for name in members if name.lower() == wanted), wanted)


def mistakes_of(values: Mapping[str, str], text: ReadText) -> list[dict[str, str]]:
    """What is wrong with the form's own fields, and why its text cannot be read."""
    return [*field_mistakes(values), *(detail_of(_placed(one.path), one) for one in text.mistakes)]


def field_mistakes(values: Mapping[str, str]) -> list[dict[str, str]]:
    """What is wrong with the form's own fields."""
    return [
        {"code": "InvalidParameter", "target": name, "message": text}
        for name, is_right, text in (
            ("subscription", bool(GUID.fullmatch(values["subscription"])), "the subscription must be a GUID"),
            (
                "group",
                bool(GROUP_NAME.fullmatch(values["group"])),
                _wrong("the resource group", values["group"]),
            ),
            (
                "name",
                bool(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", values["name"])),
                _wrong("the template", values["name"]),
            ),
        )
        if not is_right
    ]


def check(values: Mapping[str, str]) -> tuple[list[dict[str, str]], list[str]]:
    """Every mistake of a form and its template, as far as they show without the service, and warnings."""
    text = read_text(values)
    return looked_at(text, mistakes_of(values, text))


def looked_at(text: ReadText, details: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """The same of a text that was read, with the mistakes that were found before."""
    body = text.value
    if text.mistakes:  # of the rest nothing can be said
        return details, []
    if not isinstance(body, dict):
        return [*details, {"code": INVALID_JSON, "target": "line 1, column 1", "message": "must be an object"}], []
    _, mistakes = sent_back(body, {}, {}, "")  # a secret that another template keeps is none of a new one
    if body.get("identity") is None:
        mistakes.append(Mistake.missing("identity", 'write {"type": "None"} for no identity'))
    warnings: list[str] = []
    try:
        warnings = list(check_image_template(body).warnings)
    except TemplateInvalid as error:
        mistakes += error.mistakes
    return [*details, *(detail_of(one.path, one) for one in dict.fromkeys(mistakes))], warnings


def detail_of(place: str, mistake: Mistake) -> dict[str, str]:
    """A mistake as a detail of the API's errors."""
    message = f"{mistake.message} ({mistake.hint})" if mistake.hint else mistake.message
    return {"code": INVALID_JSON, "target": place, "message": message}


def _wrong(what: str, name: str) -> str:
    return f"{what} needs a name" if not name else f"{what} cannot be named `{name[:90]}`: letters, digits, . _ - alone"


def _placed(path: str) -> str:
    """Where a mistake of JSON stands, for whoever looks at the text."""
    _, line, column = path.rsplit(":", 2)
    return f"line {line}, column {column}"
