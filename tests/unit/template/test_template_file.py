"""A template file becomes one image template, or every mistake in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import read_image_template

EXAMPLE = Path(__file__).parents[3] / "examples/hello-linux/template.json"
BODY: dict[str, Any] = {
    "location": "<region>",
    "identity": {"type": "None"},
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "customize": [{"type": "Shell", "inline": ["cat <file"]}],
        "distribute": [{"type": "VHD", "runOutputName": "<name>"}],
    },
}


def mistakes(text: str, *parameters: str) -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        read_image_template(text, file_name="dir/x y.json", parameters=parameters)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}


def test_the_example_is_read() -> None:
    found = read_image_template(EXAMPLE.read_text(), file_name="template.json")
    assert found.name == "hello-linux"
    assert found.api_version == "2025-10-01"
    assert found.image_template.os_type == "Linux"
    assert found.image_template.build_timeout_seconds == 1800
    assert [file.uri for file in found.image_template.scripts] == ["file:hello.sh", "file:motd"]


def test_what_is_no_template_is_refused() -> None:
    assert "neither the body" in mistakes("{}")["dir/x y.json"]
    assert "JSON object" in mistakes("[]")["dir/x y.json"]
    assert "neither the body" in mistakes('{"type": "A.B/c", "properties": {}}')["dir/x y.json"]


def test_placeholders_take_values_and_are_named_where_they_have_none() -> None:
    text = json.dumps(BODY)
    found = read_image_template(text, file_name="dir/x y.json", parameters=["Region=westus", "name=out"])
    assert found.image_template.location == "westus"
    assert found.resolved["properties"]["customize"][0]["inline"] == ["cat <file"]
    assert found.name == "x-y"
    assert "--parameters name=VALUE" in mistakes(text)["properties.distribute[0].runOutputName"]
    assert "does not ask for it" in mistakes(text, "name=out", "other=1")["parameters.other"]


def test_name_api_version_and_body_are_checked_at_once() -> None:
    wrong = BODY | {"name": "a/b", "apiVersion": "2020-01-01", "tags": 1}
    found = mistakes(json.dumps(wrong), "name=out", "region=here")
    assert set(found) == {"name", "apiVersion", "tags"}
    assert "2025-10-01" in found["apiVersion"]


def test_a_body_cut_out_of_a_deployment_is_evaluated() -> None:
    body = BODY | {"apiVersion": "[parameters('api-version')]"}
    found = read_image_template(
        json.dumps(body), file_name="x.json", parameters=["api-version=2020-02-14", "name=o", "region=here"]
    )
    assert found.api_version == "2020-02-14"
    assert list(mistakes(json.dumps(body), "name=o", "region=here")) == ["parameters.api-version"]


def test_brackets_in_a_body_of_its_own_are_plain_text() -> None:
    body = json.loads(json.dumps(BODY))
    body["properties"]["customize"][0]["inline"] = ["[ -f /x ]"]
    found = read_image_template(json.dumps(body), file_name="x.json", parameters=["name=o", "region=here"])
    assert found.resolved["properties"]["customize"][0]["inline"] == ["[ -f /x ]"]


def test_an_example_of_the_specification_is_a_body_too() -> None:
    call = {"parameters": {"api-version": "2024-02-01", "imageTemplateName": "it", "parameters": BODY}}
    found = read_image_template(json.dumps(call), file_name="x.json", parameters=["name=o", "region=here"])
    assert (found.name, found.api_version) == ("it", "2024-02-01")


def test_a_missing_location_is_the_contexts_with_a_warning() -> None:
    context = DeploymentContext(location="here")
    text = json.dumps(BODY | {"location": ""})
    found = read_image_template(text, file_name="x.json", parameters=["name=o"], context=context)
    assert found.image_template.location == "here"
    assert any("here" in warning for warning in found.warnings)


FRAGMENTS = st.sampled_from(
    [
        *("{", "}", "[", "]", ",", ":", '"', "//", "\n", "null", "1"),
        *('"resources"', '"properties"', '"parameters"', '"variables"', '"type"', '"name"', '"copy"', '"count"'),
        *('"Microsoft.VirtualMachineImages/imageTemplates"', "\"[parameters('x')]\"", '"[copyIndex()]"', '"x"'),
    ]
)


@given(st.lists(FRAGMENTS, max_size=40).map("".join), st.lists(st.text(max_size=8), max_size=2))
def test_any_text_is_read_or_refused_by_us(text: str, parameters: list[str]) -> None:
    named = ["read"]
    try:
        read_image_template(text, file_name="x.json", parameters=parameters)
    except TemplateInvalid as error:
        named = [mistake.message for mistake in error.mistakes]
    assert all(named)


WORDS = st.sampled_from(["", "x", "[variables('a')]", "[parameters('p')]", "[createArray(1)]"])
MEMBERS = st.sampled_from(["a", "type", "name", "value", "copy", "count", "input", "output", "members"])
VALUES = st.recursive(
    st.none() | st.integers(-1, 2) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(MEMBERS, inner, max_size=3),
    max_leaves=8,
)
SECTIONS = st.sampled_from(["parameters", "variables", "functions", "definitions", "extra"])


@given(st.dictionaries(SECTIONS, VALUES, max_size=4), VALUES, VALUES)
def test_any_deployment_is_read_or_refused_by_us(members: dict[str, Any], tags: Any, copy: Any) -> None:
    image = {**BODY, "type": "Microsoft.VirtualMachineImages/imageTemplates", "tags": tags, "copy": copy}
    nested = {"type": "Microsoft.Resources/deployments", "properties": {"template": {**members, "resources": [image]}}}
    for resources in ([image], [nested], {"a": nested}, tags):
        named = ["read"]
        try:
            read_image_template(json.dumps({**members, "resources": resources}), file_name="x.json", parameters=["p=1"])
        except TemplateInvalid as error:
            named = [mistake.message for mistake in error.mistakes]
        assert all(named)
