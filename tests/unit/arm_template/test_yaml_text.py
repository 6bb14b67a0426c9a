"""YAML is read as JSON's values with the places of what was written, and costs no more than it is long."""

import json

import pytest

from vmkiln.arm_template.json_places import Place, Places
from vmkiln.arm_template.yaml_text import is_yaml, json_of_yaml
from vmkiln.errors import TemplateInvalid

TEXT = """\
# mine
location: westus2
properties:
  customize:
    - {type: Shell}
    - type: &shell Shell
      inline: [a,
        b]
  "x y": {<<: {z: 1}, type: *shell}
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("Location", 2, 1),
        ("properties.customize[1]", 6, 7),
        ("properties.customize[1].inline[1]", 8, 9),
        ("properties.customize[0].name", 5, 7),
        ("properties['x y'].type", 9, 23),
        ("properties['x y'].z", 9, 3),
    ],
)
def test_a_path_leads_to_its_place_in_yaml(path: str, line: int, column: int) -> None:
    begins: dict[str, int] = {}
    json_of_yaml(TEXT, "t", places=begins)
    assert Places(TEXT, begins).of(path) == Place(line, column)


@pytest.mark.parametrize(
    ("text", "place"),
    [("---\n---\na: {b: 1}\n", Place(3, 5)), ("a: {b: 1}\n---\na: {b: 1}\n", None), ("a: {b: 1}\n---\n", Place(1, 5))],
)
def test_places_are_those_of_the_only_document(text: str, place: Place | None) -> None:
    begins: dict[str, int] = {}
    json_of_yaml(text, "t", places=begins)
    assert Places(text, begins).of("a.b") == place


def test_numbers_are_by_tens_and_words_are_texts() -> None:
    text = "a: 010\nb: 09\nc: -5\nd: yes\ne: 2024-02-01\nf: true\ng: 1.5\nh: ~\n"
    found = json.loads(json_of_yaml(text, "t"))
    assert found == {"a": 10, "b": 9, "c": -5, "d": "yes", "e": "2024-02-01", "f": True, "g": 1.5, "h": None}


@pytest.mark.parametrize(
    "text",
    [
        "a: !!timestamp x", "a: !!bool x", "a: !!int x", "a: !!float x", "a: !!binary x", "a: !!set {x}", "!!map x",
        "a: " + "9" * 5000, "a: .inf", "a: \x07", "a: &a {<<: *a}", "a: *b", "%YAML 9\n---",
        "a:\n" + "".join(" " * n + "-\n" for n in range(1, 600)), "a: " + "[" * 500, "<<: 5", "<<: [5]",
        "a: !!map [x]",
    ],
)  # fmt: skip
def test_what_json_cannot_hold_is_one_mistake_with_a_place(text: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        json_of_yaml(text, "t")
    [mistake] = caught.value.mistakes
    name, line, column = mistake.path.split(":")
    assert (name, int(line) > 0, int(column) > 0) == ("t", True, True)


def test_merges_of_much_and_often_are_refused() -> None:
    much = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\n"
    assert len(json.loads(json_of_yaml(much + "b: {<<: [*a, *a]}\n", "t"))["b"]) == 1000
    with pytest.raises(TemplateInvalid, match="merges bring in too much"):
        json_of_yaml(f"{much}b: {{<<: [{', '.join(['*a'] * 300)}]}}\n", "t")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("location: x", True), ("# c\n\nlocation: x", True), ("---\r\na: b", True), ("\ufefflocation: x", True),
        ("{}", False), ("[]", False), ("", False), ("// c\n{}", False), ("resource x 'y'", False), ("http://x", False),
    ],
)  # fmt: skip
def test_yaml_is_known_by_how_it_begins(text: str, wanted: bool) -> None:
    assert is_yaml(text) is wanted
