"""A deployment template in the form of a new template: fields for its parameters, secrets in no page, a deployment."""

import html
import json
from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, wait_for
from page_visitor import Visitor

from vmkiln.portal.templates import deployment_form
from vmkiln.portal.templates.deployment_form import (
    MOST_PARAMETERS,
    MOST_SHOWN_LETTERS,
    Parameter,
    deployment_in,
    given_in,
)

SECRET = "hunter22-<b>"
PARAMETERS = {
    "words": {"type": "string", "metadata": {"description": "what it <b>says"}},
    "minutes": {"type": "int", "defaultValue": 77},
    "size": {
        "type": "string",
        "defaultValue": "Standard_D2s_v3",
        "allowedValues": ["Standard_D1_v2", "Standard_D2s_v3"],
    },
    "password": {"type": "securestring"},
}
FORM = {"subscription": SUBSCRIPTION, "group": "rg1", "name": "web"}
DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/web"


def deployment(**parameters: Any) -> str:
    properties = {"buildTimeoutInMinutes": "[parameters('minutes')]", "vmProfile": {"vmSize": "[parameters('size')]"}}
    body = a_template(
        "[concat('echo ', parameters('words'))]", "[concat('echo ', parameters('password'))]", **properties
    )
    kind = "Microsoft.VirtualMachineImages/imageTemplates"
    resource = {"type": kind, "apiVersion": "2024-02-01", "name": "web", **body}
    return json.dumps({"parameters": {**PARAMETERS, **parameters}, "resources": [resource]}, indent=2)


@pytest.mark.parametrize("action", ["", "check", "plan"])
def test_parameters_become_fields_and_those_without_a_value_are_named(browser: Visitor, action: str) -> None:
    answer = browser.send("/portal/new", **FORM, action=action, body=deployment())
    assert answer.status_code == 400
    page = answer.text
    assert '<input type="text" id="parameter.words" name="parameter.words" value="" aria-invalid="true"' in page
    assert '<input type="password" id="secret.password" name="secret.password"' in page
    assert "the parameter `words` needs a value: write it here" in page
    assert "the parameter `password` needs a value" in page
    assert "Default: <code>77</code>" in page
    assert "what it &lt;b&gt;says" in page
    assert '<option value="Standard_D1_v2">' in page
    assert "properties" not in page.partition('<div class="error"')[2].partition("</div>")[0]


def test_a_deployment_makes_what_the_form_says(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    fields = {"parameter.words": "one two", "parameter.minutes": "33", "secret.password": SECRET}
    checked = browser.send("/portal/new", **FORM, action="check", **fields, body=deployment())
    assert (checked.status_code, "No mistake was found" in checked.text) == (200, True)
    assert 'value="one two"' in checked.text
    assert SECRET not in html.unescape(checked.text)
    assert living.get(DEPLOYMENT).status_code == 404
    made = browser.send("/portal/new", **FORM, **fields, body=deployment())
    assert (made.status_code, made.headers["location"]) == (303, f"/portal{DEPLOYMENT}")
    wait_for(lambda: living.get(TEMPLATE).status_code == 200)
    properties = living.get(TEMPLATE).json()["properties"]
    assert properties["buildTimeoutInMinutes"] == 33
    assert properties["vmProfile"]["vmSize"] == "Standard_D2s_v3"
    assert "echo one two" in properties["customize"][0]["inline"]
    wait_for(lambda: living.get(DEPLOYMENT).json()["properties"]["provisioningState"] != "Running")
    for path in (DEPLOYMENT, TEMPLATE):
        assert SECRET not in html.unescape(browser.get(f"/portal{path}").text)


def test_a_secret_is_not_kept_over_a_login(browser: Visitor) -> None:
    browser.token = ""
    fields = {"parameter.words": "kept", "secret.password": SECRET}
    page = html.unescape(browser.send("/portal/new", **FORM, **fields, body=deployment()).text)
    assert "kept" in page
    assert SECRET not in page


def test_a_refused_deployment_shows_the_form_and_no_secret(browser: Visitor, living: InProcess) -> None:
    add_group(living)
    fields = {"parameter.words": "x", "parameter.minutes": "many", "secret.password": SECRET}
    page = browser.send("/portal/new", **FORM, **fields, body=deployment()).text
    assert "the parameter `minutes` must be a whole number" in page
    assert SECRET not in html.unescape(page)
    fields |= {"parameter.minutes": "5", "parameter.size": "Standard_None"}
    short = deployment(password={"type": "securestring", "minLength": 50})
    for text in (deployment(), short):
        refused = browser.send("/portal/new", **FORM, action="check", **fields, body=text)
        assert refused.status_code == 400
        assert SECRET not in html.unescape(refused.text)
        fields.pop("parameter.size", "")


@pytest.mark.parametrize("action", ["", "check", "plan"])
def test_a_deployment_needs_its_group(browser: Visitor, action: str) -> None:
    fields = {"parameter.words": "x", "secret.password": SECRET}
    answer = browser.send("/portal/new", **FORM, **fields, action=action, body=deployment())
    page = answer.text
    assert (answer.status_code, "No mistake was found" in page) == (400, False)
    assert "there is no resource group of this name" in page.partition('id="group-wrong">')[2].partition("</p>")[0]


def test_values_are_read_by_their_type() -> None:
    kinds = {"i": "int", "b": "bool", "o": "object", "a": "array", "s": "string"}
    declared = {name: {"type": kind} for name, kind in kinds.items()}
    written = deployment_in({"parameters": declared, "resources": []})
    assert written is not None
    texts = {"i": "-5", "b": "True", "o": '{"x": 1}', "a": "[1]", "s": "007"}
    given, details = given_in(written, {f"parameter.{name}": text for name, text in texts.items()})
    assert details == []
    assert {name: one["value"] for name, one in given.items()} == {
        "i": -5,
        "b": True,
        "o": {"x": 1},
        "a": [1],
        "s": "007",
    }
    _, details = given_in(written, {f"parameter.{name}": "{" for name in kinds})
    assert len(details) == 4


def test_too_many_parameters_are_told_and_not_shown(browser: Visitor) -> None:
    many = {f"p{number}": {"type": "string"} for number in range(MOST_PARAMETERS + 1)}
    page = browser.send("/portal/new", **FORM, body=deployment(**many)).text
    assert f"fields for {MOST_PARAMETERS} at most" in page
    assert page.count('id="parameter.') <= MOST_PARAMETERS


def parameters_of(definitions: Any, **declared: Any) -> dict[str, Parameter]:
    written = deployment_in({"parameters": declared, "definitions": definitions, "resources": []})
    assert written is not None
    return {one.name: one for one in written.parameters}


def test_a_secret_is_found_behind_references_and_in_members() -> None:
    key, text = {"$ref": "#/definitions/key"}, {"type": "string"}
    definitions = {
        "key": {"type": "secureString"},
        "login": {"type": "object", "properties": {"user": text, "password": key}},
        "tree": {"type": "object", "properties": {"name": text, "next": {"$ref": "#/definitions/tree"}}},
    }
    branches = {"a": {"type": "object", "properties": {"x": text}}, "b": {"$ref": "#/definitions/login"}}
    secret = {
        "named": key,
        "inside": {"type": "object", "properties": {"deeper": {"$ref": "#/definitions/login"}}},
        "each": {"type": "array", "items": key},
        "first": {"type": "array", "prefixItems": [text, key]},
        "others": {"type": "object", "additionalProperties": key},
        "either": {"type": "object", "discriminator": {"propertyName": "kind", "mapping": branches}},
        "gone": {"$ref": "#/definitions/none"},
        "within": {"type": "array", "items": {"$ref": "#/definitions/none"}},
        "odd": {"type": "[variables('x')]"},
    }
    plain = {"words": text, "tree": {"$ref": "#/definitions/tree"}, "free": {"type": "object"}, "none": {}}
    found = parameters_of(definitions, **secret, **plain)
    assert {name for name, one in found.items() if one.is_secure} == set(secret)
    assert {one.field for one in found.values()} == {f"secret.{name}" for name in secret} | {
        f"parameter.{name}" for name in plain
    }


def test_a_type_behind_a_reference_is_that_of_the_field() -> None:
    kind = {"type": "string", "allowedValues": ["a", "b"], "nullable": True, "metadata": {"description": "which"}}
    one = parameters_of({"kind": kind}, it={"$ref": "#/definitions/kind"})["it"]
    assert (one.type, one.is_needed, one.about) == ("string", False, "which")
    assert [choice.value for choice in one.allowed] == ["a", "b"]


def test_types_that_cost_too_much_to_be_read_are_secure(monkeypatch: pytest.MonkeyPatch) -> None:
    large = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(40)}}
    declared = {"large": large, "words": {"type": "string", "defaultValue": SECRET}}
    assert not any(one.is_secure for one in parameters_of({}, **declared).values())
    monkeypatch.setattr(deployment_form, "MOST_STEPS", 40)
    found = parameters_of({}, **declared)
    assert all(one.is_secure for one in found.values())
    assert (found["words"].is_needed, found["words"].default) == (False, "set in the template")


def test_a_choice_is_sent_as_it_stands_in_the_template(browser: Visitor) -> None:
    long = "x" * 200
    allowed = {"string": [long, "b"], "int": [1, 2], "bool": [True], "object": [{"a": long}]}
    declared = {kind: {"type": kind, "allowedValues": values} for kind, values in allowed.items()}
    document = {"parameters": declared, "resources": []}
    written = deployment_in(document)
    assert written is not None
    for one in written.parameters:
        sent = [given_in(written, {one.field: choice.value})[0][one.name]["value"] for choice in one.allowed]
        assert sent == allowed[one.type]
        assert all(len(choice.text) <= MOST_SHOWN_LETTERS for choice in one.allowed)
    assert parameters_of({}, some={"type": "array", "allowedValues": ["a", "b"]})["some"].allowed == ()
    page = browser.send("/portal/new", **FORM, **{"parameter.string": long}, body=json.dumps(document)).text
    assert f'<option value="{long}" selected>{long[: MOST_SHOWN_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}</option>' in page


def test_a_mistake_of_json_loses_no_parameter_but_the_secure(browser: Visitor) -> None:
    fields = {"parameter.words": 'one "two"', "secret.password": SECRET}
    page = browser.send("/portal/new", **FORM, **fields, body=deployment()[:-1]).text
    assert '<input type="hidden" name="parameter.words" value="one &#34;two&#34;">' in page
    assert SECRET not in html.unescape(page)
    again = browser.send("/portal/new", **FORM, **fields, body=deployment()).text
    assert 'type="hidden" name="parameter.words"' not in again
