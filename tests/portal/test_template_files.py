"""An image template leaves as an ARM template and as Bicep: with no secret in them, and a deployment makes it anew."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, provisioned, wait_for
from page_visitor import Visitor

from vmkiln.portal.templates.bicep_text import text_of
from vmkiln.portal.templates.template_files import bicep_text

SIGNATURE = "c2lnbmF0dXJlLW9mLWFjY2Vzcw"
SAS = f"https://scripts.example/a.sh?sv=2024-11-04&sp=r&sig={SIGNATURE}"
ODD = "[not('an', 'expression')]"
ESCAPES = {"\\\\": "\\", "\\'": "'", "\\n": "\n", "\\r": "\r", "\\t": "\t", "\\$": "$"}
FORM = {"subscription": SUBSCRIPTION, "group": "rg1", "name": "again"}
SECOND = f"{TEMPLATE}2"


@pytest.fixture
def kept(living: InProcess) -> dict[str, Any]:
    """A template with a secret in it, and with texts that look like expressions."""
    add_group(living)
    body = a_template(f"curl -o /tmp/a '{SAS}'", ODD, buildTimeoutInMinutes=77)
    return dict(provisioned(living, TEMPLATE, {**body, "tags": {"team-1": "it's ${web}"}}))


def test_a_deployment_of_the_arm_file_makes_the_same(browser: Visitor, living: InProcess, kept: dict[str, Any]) -> None:
    answer = browser.get(f"/portal{TEMPLATE}/arm")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''web.json"
    assert SIGNATURE not in answer.text
    document = answer.json()
    secret = [name for name, one in document["parameters"].items() if one["type"] == "securestring"]
    assert secret == ["secret1"]
    about = document["parameters"]["secret1"]["metadata"]["description"]
    assert about == "What is kept apart in properties.customize[0].inline[0]."
    assert document["resources"][0]["properties"]["customize"][0]["inline"][1] == f"[{ODD}"
    fields = {"parameter.name": "web2", "secret.secret1": kept_text(browser)}
    made = browser.send("/portal/new", **FORM, **fields, body=answer.text)
    assert made.status_code == 303, made.text
    wait_for(lambda: living.get(SECOND).status_code == 200)
    found = living.get(SECOND).json()
    assert found["tags"] == kept["tags"]
    for name in ("source", "distribute", "buildTimeoutInMinutes"):
        assert found["properties"][name] == kept["properties"][name]
    assert found["properties"]["customize"][0]["inline"][1] == ODD


def kept_text(browser: Visitor) -> str:
    """What somebody gives for the secret: any text will do here."""
    assert SIGNATURE not in browser.get(f"/portal{TEMPLATE}/bicep").text
    return "another-secret-0815"


def test_the_same_in_bicep(browser: Visitor, kept: dict[str, Any]) -> None:
    answer = browser.get(f"/portal{TEMPLATE}/bicep")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''web.bicep"
    lines = answer.text.split("\n")
    for line in (
        "param name string = 'web'",
        "param location string = 'westus2'",
        "@secure()",
        "param secret1 string",
        "resource imageTemplate 'Microsoft.VirtualMachineImages/imageTemplates@2025-10-01' = {",
        "  name: name",
        "  location: location",
        "    'team-1': 'it\\'s \\${web}'",
        "    buildTimeoutInMinutes: 77",
        "          '[not(\\'an\\', \\'expression\\')]'",
    ):
        assert line in lines, line
    assert "${secret1}" in answer.text
    assert kept["properties"]["provisioningState"] == "Succeeded"
    assert "provisioningState" not in answer.text


def test_who_may_read_takes_it_away_and_nobody_else(browser: Visitor, kept: dict[str, Any]) -> None:
    assert f'href="/portal{TEMPLATE}/bicep" download' in browser.get(f"/portal{TEMPLATE}").text
    for token, status in (("reader", 200), ("stranger", 403)):
        browser.token = token
        for kind in ("arm", "bicep"):
            assert browser.get(f"/portal{TEMPLATE}/{kind}").status_code == status
    browser.token = "owner"
    assert browser.get(f"/portal{GROUP}/providers/{kept['type']}/none/arm").status_code == 404


@given(st.text())
def test_every_text_is_one_literal_of_bicep(text: str) -> None:
    written = text_of(text)
    literal = re.fullmatch(r"'((?:[^'\\$]|\\['\\nrt$]|\\u\{[0-9a-f]+\}|\$(?!\{))*)'", written)
    assert literal, written
    assert "\n" not in written

    def meant(found: re.Match[str]) -> str:
        return ESCAPES.get(found[0]) or chr(int(found[0][3:-1], 16))

    assert re.sub(r"\\u\{[0-9a-f]+\}|\\.", meant, literal[1]) == text


def test_values_of_bicep() -> None:
    value: Any = {"a b": [1, True, None, 1.5, []], "nothing": {}}
    expected = "{\n  'a b': [\n    1\n    true\n    null\n    json('1.5')\n    []\n  ]\n  nothing: {}\n}"
    assert text_of(value) == expected
    template = {"name": "web", "location": "westus2", "properties": {"source": json.loads('{"type": "***kept***"}')}}
    assert "    type: secret1\n" in bicep_text(template)
