"""The text of the form is read once, in JSON or YAML, with the form's own names in the examples' places."""

import json
from typing import Any

import pytest

from vmkiln.arm_template.json_places import Place
from vmkiln.portal.templates import read_text as module
from vmkiln.portal.templates.examples import IMAGE
from vmkiln.portal.templates.read_text import MOST_CHECKED_LETTERS, read_text
from vmkiln.portal.templates.written_template import check

FORM = {"subscription": "11111111-1111-1111-1111-111111111111", "group": 'g"', "name": "web"}
FILLED = IMAGE.replace("SUBSCRIPTION", FORM["subscription"]).replace("GROUP", 'g"').replace("NAME", "web")


@pytest.mark.parametrize(
    "body", [f'{{"a": ["{IMAGE}"],\r\n "b": 1}}', f'{{"a": [\n"{IMAGE}"], "b": 1}}', f"a:\r\n- {IMAGE}\r\nb: 1"]
)
def test_names_of_the_form_stand_for_placeholders_and_move_no_place(body: str) -> None:
    found = read_text({**FORM, "body": body})
    assert (found.value, found.mistakes) == ({"a": [FILLED], "b": 1}, ())
    line = body[: body.index("b", body.index("NAME"))].count("\n") + 1
    place = found.places.of("b")
    assert place is not None
    assert place.line == line


def test_a_member_may_be_named_by_a_placeholder() -> None:
    body = json.dumps({"identity": {"userAssignedIdentities": {IMAGE: {}}}, "other": "a/images/NAMES"})
    found = read_text({**FORM, "body": body}).value
    assert found == {"identity": {"userAssignedIdentities": {FILLED: {}}}, "other": "a/images/NAMES"}


def test_a_mistake_of_yaml_has_its_line_and_its_length_a_limit() -> None:
    [mistake] = read_text({**FORM, "body": "a: 1\r\nb: [\r\n"}).mistakes
    assert mistake.path == "template:3:1"
    [mistake] = read_text({**FORM, "body": "a: " + "x" * MOST_CHECKED_LETTERS}).mistakes
    assert "a text in YAML may have at most 128 KiB here" in mistake.message


def test_a_text_without_a_value_has_no_places() -> None:
    assert read_text({**FORM, "body": '{"a": '}).places.of("a") is None
    assert read_text({**FORM, "body": '{"a": 1}'}).places.of("a") == Place(1, 2)


def test_a_secret_that_another_template_keeps_is_a_mistake() -> None:
    body: dict[str, Any] = {"properties": {"customize": [{"inline": ["echo ***kept***"]}]}}
    details, _ = check({**FORM, "group": "g", "body": json.dumps(body)})
    [kept] = [one for one in details if "stands for a secret" in one["message"]]
    assert kept["target"] == "properties.customize[0].inline[0]"


def test_a_long_text_is_read_without_places(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[Any] = []

    def read(text: str, *, file_name: str, places: Any = None) -> Any:
        noted.append(places)
        return {}

    monkeypatch.setattr(module, "read_json", read)
    read_text({**FORM, "body": "{" + " " * MOST_CHECKED_LETTERS})
    assert noted == [None]
