"""The JSON Schema of an image template, for editors and for `vmkiln explain`: made from the parts that read one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from vmkiln.template.api_version import is_preview, is_strict

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EXPRESSION = {"type": "string", "pattern": r"^\[.*\]$", "description": "An expression, such as [parameters('name')]."}
EVALUATED = ("integer", "number", "boolean", "array", "object")  # kinds that an expression may stand for
ENVELOPE = {
    "$schema": {"type": "string"},
    "type": {"const": "Microsoft.VirtualMachineImages/imageTemplates"},
    "apiVersion": {"type": "string"},
    "name": {"type": "string"},
    "dependsOn": {"type": "array", "items": {"type": "string"}},
}
EVERY = "every"
CODE = re.compile(r"`(\w+)`")
INDEX = re.compile(r"\[\d*\]")


@dataclass(frozen=True)
class Member:
    """A member of a template as the schema has it: its path, its shapes, whether it has to be there."""

    path: str
    shapes: tuple[Mapping[str, Any], ...]
    is_required: bool


def template_schema(api_version: str) -> dict[str, Any]:
    """The schema of a template's body of an api-version that is known; pure."""
    from vmkiln.template.image_template import ImageTemplate

    found = ImageTemplate.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = found.pop("$defs")
    found["properties"].pop("warnings")  # ours, and of no template
    found["properties"] |= {**ENVELOPE, "apiVersion": {"const": api_version}}
    if not is_preview(api_version):
        found["required"] = [*found["required"], "identity"]
    parts, words = _parts_by_name(), member_words()
    for name, definition in (*definitions.items(), ("ImageTemplate", found)):
        _fit(definition, parts.get(name), api_version)
        for member, shape in definition.get("properties", {}).items():
            if told := words.get(name, {}).get(member) or words[EVERY].get(member):
                definition["properties"][member] = {**shape, "description": told}
    title = f"Image template, api-version {api_version}"
    return {"$schema": DIALECT, **found, "title": title, "$defs": definitions}


def member_words() -> Mapping[str, Mapping[str, str]]:
    """What each member is, by the name of its part and its own; what `every` part has of that name stands there."""
    return tomllib.loads(resources.files("vmkiln.cli.commands.templates").joinpath("member_words.toml").read_text())


def _parts_by_name() -> dict[str, Any]:
    from vmkiln.template.part import Part

    found: dict[str, Any] = {}
    kinds = [Part]
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += kind.__subclasses__()
    return found


def _name_as_templates_do(definition: dict[str, Any], part: Any) -> None:
    """Its words have Python's names of the members."""
    if "description" in definition:
        names = {name: field.alias or name for name, field in part.model_fields.items()}
        told = CODE.sub(lambda found: f"`{names.get(found[1], found[1])}`", definition["description"])
        definition["description"] = told


def _fit(definition: dict[str, Any], part: Any, api_version: str) -> None:
    """Make a part's schema that of an api-version: older names, members that are read only, expressions."""
    members = definition.get("properties")
    if members is None:
        return
    if not is_strict(api_version):
        definition["additionalProperties"] = True  # what is not known is warned about, not refused
    if part is not None:
        _name_as_templates_do(definition, part)
        for name in part.read_only:
            members[name] = {"readOnly": True}
        older = part.preview_names if is_preview(api_version) else {}
        for name, member in older.items():
            if member in members:
                members[name] = members[member]
        for name, since in part.since.items():
            if name in members and since > api_version:  # done here all the same, so editors warn as `validate` does
                does = "refuses" if is_strict(api_version) else "ignores"
                told = f"Azure {does} it in api-version {api_version}: it came with {since}"
                members[name] = {**members[name], "deprecated": True, "deprecationMessage": told}
        if not is_preview(api_version):
            for name in part.preview_only:
                members.pop(name, None)
    for name, shape in members.items():
        if shape.get("type") in EVALUATED:
            is_zero_taken = part is not None and name in part.zero_means_default and shape.get("minimum", 0) > 0
            choices = [shape, *([{"const": 0}] if is_zero_taken else []), EXPRESSION]
            members[name] = {"anyOf": choices, **{key: shape[key] for key in ("default",) if key in shape}}


def members_at(schema: Mapping[str, Any], path: str) -> Member | None:
    """The member that a path names, such as `properties.customize[0].inline`; its first part may be left out. Pure."""
    names = [name for name in INDEX.sub("", path).split(".") if name]
    for start in ([], ["properties"]):
        found = _descend(schema, [*start, *names])
        if found is not None:
            return found
    return None


def _descend(schema: Mapping[str, Any], names: list[str]) -> Member | None:
    shapes: tuple[Mapping[str, Any], ...] = (schema,)
    is_required, spelled = True, []
    for name in names:
        found: list[tuple[str, Mapping[str, Any], bool]] = []
        for shape in (one for each in shapes for one in concrete(schema, each)):
            for known, member in shape.get("properties", {}).items():
                if known.lower() == name.lower():
                    found.append((known, member, known in shape.get("required", ())))
        if not found:
            return None
        spelled.append(found[0][0])
        shapes = tuple(member for _, member, _ in found)
        is_required = all(needed for _, _, needed in found)
    return Member(".".join(spelled), shapes, is_required)


def concrete(schema: Mapping[str, Any], shape: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The shapes that something may have, without references, choices and arrays around them; pure."""
    if "$ref" in shape:
        yield from concrete(schema, schema["$defs"][shape["$ref"].rpartition("/")[2]])
    elif choices := shape.get("anyOf") or shape.get("oneOf"):
        for choice in choices:
            if choice is not EXPRESSION and choice != EXPRESSION:
                yield from concrete(schema, choice)
    elif shape.get("type") == "array" and "items" in shape:
        yield from concrete(schema, shape["items"])
    else:
        yield shape


def member_paths(schema: Mapping[str, Any], shape: Mapping[str, Any] | None = None, path: str = "") -> Iterator[str]:
    """Every path of the schema, for suggestions; pure."""
    for one in concrete(schema, schema if shape is None else shape):
        for name, member in one.get("properties", {}).items():
            below = f"{path}.{name}".lstrip(".")
            yield below
            yield from member_paths(schema, member, below)
