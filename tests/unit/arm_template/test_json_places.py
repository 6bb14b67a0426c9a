"""Where the parts of a template stand in its text."""

import pytest

from vmkiln.arm_template.json_places import Place, Places
from vmkiln.arm_template.lenient_json import read_json

TEXT = """{ // mine
  "location": "westus2",
  "properties": {"customize": [
    {"type": "Shell"},
    {"type": "Shell", "Inline": ["a",
      "b"]}], "x y": {"z": 1}}
}"""


def places_in(text: str) -> Places:
    begins: dict[str, int] = {}
    read_json(text, file_name="t", places=begins)
    return Places(text, begins)


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("location", 2, 3),
        ("properties.customize[1].inline", 5, 23),
        ("properties.customize[1].inline[1]", 6, 7),
        ("properties.customize[1].name", 5, 5),
        ("properties.customize[7].name", 3, 18),
        ("properties['x y'].z", 6, 23),
        ("properties['x y'].nothing['a b'][3]", 6, 15),
        ("properties.source.publisher", 3, 3),
    ],
)
def test_a_path_leads_to_its_place_or_to_what_it_is_missing_in(path: str, line: int, column: int) -> None:
    assert places_in(TEXT).of(path) == Place(line, column)


@pytest.mark.parametrize("path", ["identity", "", "the template", "[", "a['b", "." * 100])
def test_what_is_nowhere_has_no_place(path: str) -> None:
    assert places_in(TEXT).of(path) is None


def test_what_is_deep_has_no_place_of_its_own() -> None:
    names = ["n" * 100] * 60
    deep = "".join(f'{{"{name}": ' for name in names) + "[" + "0," * 20000 + "0]" + "}" * len(names)
    found = places_in(deep)
    assert found.of(".".join(names) + "[7]") == Place(1, 2 * 105 + 2)
    assert len(found.begins) < 10
