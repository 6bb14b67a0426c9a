"""Types that a template defines itself (languageVersion 2.0) are held against the values given."""

import json
from typing import Any

import pytest

from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import read_image_template

DEFINITIONS = {
    "size": {"type": "int", "minValue": 1, "maxValue": 8},
    "colour": {"type": "string", "allowedValues": ["red", "green"]},
    "disk": {
        "type": "object",
        "properties": {
            "gb": {"$ref": "#/definitions/size"},
            "label": {"type": "string", "nullable": True, "maxLength": 3},
        },
        "additionalProperties": False,
    },
    "loose": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "int"}},
    "names": {"type": "array", "items": {"type": "string", "minLength": 2}, "minLength": 1},
    "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "int"}], "items": False},
    "maybe": {"$ref": "#/definitions/colour", "nullable": True},
    "shape": {
        "type": "object",
        "discriminator": {
            "propertyName": "kind",
            "mapping": {
                "round": {
                    "type": "object",
                    "properties": {"kind": {"type": "string", "allowedValues": ["round"]}, "r": {"type": "int"}},
                },
                "flat": {"$ref": "#/definitions/flat"},
            },
        },
    },
    "flat": {"type": "object", "properties": {"kind": {"type": "string"}, "w": {"type": "int"}}},
    "tree": {
        "type": "object",
        "properties": {
            "leaf": {"type": "string"},
            "more": {"type": "array", "nullable": True, "items": {"$ref": "#/definitions/tree"}},
        },
    },
    "secret": {"type": "secureObject", "properties": {"password": {"type": "string", "minLength": 40}}},
}


def mistakes(kind: str, value: Any) -> dict[str, str]:
    resource = {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "name": "it",
        "location": "x",
        "properties": {
            "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
            "distribute": [{"type": "VHD", "runOutputName": "o"}],
        },
    }
    document = {
        "languageVersion": "2.0",
        "definitions": DEFINITIONS,
        "parameters": {"p": {"$ref": f"#/definitions/{kind}"}},
        "resources": {"image": resource},
    }
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        read_image_template(json.dumps(document), file_name="t.json", parameters=[f"p={text}"])
    except TemplateInvalid as error:
        return {mistake.path: mistake.message for mistake in error.mistakes}
    return {}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("size", 8),
        ("colour", "red"),
        ("disk", {"gb": 4}),
        ("disk", {"GB": 4, "label": None}),
        ("loose", {"a": "x", "other": 1}),
        ("names", ["ab", "cd"]),
        ("pair", ["a", 1]),
        ("maybe", "green"),
        ("shape", {"kind": "round", "r": 1}),
        ("shape", {"kind": "flat", "w": 1}),
        ("tree", {"leaf": "a", "more": [{"leaf": "b"}, {"leaf": "c", "more": []}]}),
    ],
)
def test_a_fitting_value_is_taken(kind: str, value: Any) -> None:
    assert mistakes(kind, value) == {}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("size", 9, {"parameters.p": "`9` is more than 8"}),
        ("colour", "blue", {"parameters.p": "`blue` is not one of the allowed values: allowed are red, green"}),
        ("disk", {"gb": 0, "label": "long"}, {"parameters.p.gb": "less than 1", "parameters.p.label": "more than 3"}),
        ("disk", {"label": "a"}, {"parameters.p.gb": "is required"}),
        ("disk", {"gb": 1, "extra": 1}, {"parameters.p.extra": "is not a member of this type: it has gb, label"}),
        ("loose", {"a": "x", "other": "y"}, {"parameters.p.other": "must be a whole number, not a string"}),
        ("names", ["ab", "c"], {"parameters.p[1]": "less than 2"}),
        ("names", [], {"parameters.p": "less than 1"}),
        ("pair", ["a", "b"], {"parameters.p[1]": "must be a whole number"}),
        ("pair", ["a", 1, 2], {"parameters.p": "has 3 elements; 2 are allowed"}),
        ("pair", ["a"], {"parameters.p": "has 1 elements and needs 2"}),
        ("shape", {"r": 1}, {"parameters.p.kind": "is required"}),
        ("shape", {"kind": "square"}, {"parameters.p.kind": "`square` is not one of round, flat"}),
        ("shape", {"kind": "flat", "w": "x"}, {"parameters.p.w": "must be a whole number"}),
        ("tree", {"leaf": "a", "more": [{"leaf": 1}]}, {"parameters.p.more[0].leaf": "must be a string, not a number"}),
        ("secret", {"password": "hunter22"}, {"parameters.p.password": "the length of the value is less than 40"}),
        ("nothing", "x", {"parameters.p.$ref": "is not among the template's definitions"}),
    ],
)
def test_every_place_that_does_not_fit_is_named(kind: str, value: Any, expected: dict[str, str]) -> None:
    found = mistakes(kind, value)
    assert found.keys() == expected.keys()
    for path, words in expected.items():
        assert words in found[path]
        assert "hunter22" not in found[path]
