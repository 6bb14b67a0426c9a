"""Whatever stands in place of a part of a deployment template, its reader refuses it with its place or makes do."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.arm_template.planned_resource import runtime_before
from vmkiln.cli.written.written_template import WrittenTemplate, placed_error
from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import read_image_template

ODD: tuple[Any, ...] = (
    5, -1, 1.5, "x", "", True, None, [], {}, [1], [None], {"a": 1}, {"$ref": 5}, {"$ref": "#/definitions/a"},
    "[null()]",
)  # fmt: skip
TYPE_MEMBERS = (
    "properties", "additionalProperties", "discriminator", "items", "prefixItems", "allowedValues", "minLength",
    "maxLength", "minValue", "maxValue", "sealed", "nullable", "metadata", "$ref", "type",
)  # fmt: skip
VALUES = (({"x": 1}, "object"), ([1, 2], "array"), ("t", "string"), (3, "int"))
TOP_MEMBERS = (
    "parameters", "variables", "functions", "outputs", "definitions", "resources", "contentVersion", "languageVersion",
)  # fmt: skip
RESOURCE_MEMBERS = (
    "copy", "condition", "dependsOn", "name", "type", "apiVersion", "location", "tags", "scope", "existing",
    "resources", "properties", "subscriptionId", "resourceGroup",
)  # fmt: skip
NESTED_MEMBERS = ("template", "parameters", "expressionEvaluationOptions", "templateLink")
CIRCLE = {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}}


def image(**changes: Any) -> dict[str, Any]:
    properties = {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "distribute": [{"type": "VHD", "runOutputName": "out"}],
    }
    body = {"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "name": "it"}
    return {**body, "location": "westus", "identity": {"type": "None"}, "properties": properties, **changes}


def document(*resources: Any, **members: Any) -> dict[str, Any]:
    return {"$schema": "s", "contentVersion": "1.0.0.0", "resources": list(resources), **members}


def nested(inside: Any, scope: str = "inner", **members: Any) -> dict[str, Any]:
    properties = {"template": inside, "expressionEvaluationOptions": {"scope": scope}, **members}
    return {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "n",
        "properties": properties,
    }


def with_type(declaration: dict[str, Any], value: Any) -> dict[str, Any]:
    asked = image(tags={"a": "[string(parameters('p'))]"})
    return document(asked, parameters={"p": {**declaration, "defaultValue": value}}, definitions={"a": {"type": "int"}})


def with_function(space: Any) -> dict[str, Any]:
    return document(image(tags={"a": "[a.b('q')]"}), functions=[space])


def odd_documents() -> Iterator[dict[str, Any]]:
    for odd in ODD:
        for member, (value, kind) in itertools.product(TYPE_MEMBERS, VALUES):
            yield with_type({"type": kind, member: odd}, value)
        for choice in ({"propertyName": "k", "mapping": odd}, {"propertyName": odd, "mapping": {"a": odd}}):
            yield with_type({"type": "object", "discriminator": choice}, {"k": "a"})
        yield from (document(image(), **{member: odd}) for member in TOP_MEMBERS if member != "resources")
        yield document(image()) | {"resources": odd}
        yield from (document(image(**{member: odd})) for member in RESOURCE_MEMBERS)
        yield from (document(nested(document(image()), **{member: odd})) for member in NESTED_MEMBERS)
        yield from (document({**nested(document(image())), member: odd}) for member in RESOURCE_MEMBERS)
        function = {"parameters": [{"name": "p", "type": "string"}], "output": {"type": "string", "value": "x"}}
        yield with_function(odd)
        yield with_function({"namespace": odd, "members": {"b": function}})
        yield from (
            with_function({"namespace": "a", "members": {"b": {**function, part: odd}}})
            for part in ("parameters", "output")
        )
        yield with_function({"namespace": "a", "members": {"b": odd}})
        yield document(image(), outputs={"o": {"type": "string", "value": "x", "copy": odd}})
        yield document(image(), outputs={"o": {"type": odd, "value": odd, "condition": odd}}, definitions=CIRCLE)
        loop = {"name": "v", "count": odd, "input": odd}
        yield document(image(tags={"a": "[string(variables('v'))]"}), variables={"copy": [loop], "w": odd})


def test_no_odd_declaration_breaks_the_reader_and_each_mistake_has_its_place() -> None:
    refused = 0
    for template in odd_documents():
        text = json.dumps(template)
        try:
            read_image_template(text, file_name="t.json")
        except TemplateInvalid as error:
            refused += 1
            told = placed_error(error, WrittenTemplate("t.json", "json", text, text))
            assert [str(one) for one in told.mistakes if not one.line and ":" not in one.path] == [], text
    assert refused > 300


def test_no_odd_declaration_breaks_the_plan_of_a_service() -> None:
    for template in odd_documents():
        try:
            plan = DeploymentPlan(template, {}, DeploymentContext())
            runtime = runtime_before(plan)
            for resource in plan.planned():
                plan.body(resource, runtime)
                plan.output_mistakes(runtime)
        except TemplateInvalid:
            pass


@pytest.mark.parametrize("condition", ["maybe", 0, 1, [], "[null()]", "[string('no')]"])
def test_a_condition_that_is_neither_true_nor_false_is_told(condition: Any) -> None:
    """The image template was taken for left out, and its author told to give parameters."""
    for template in (
        document(image(condition=condition)),
        document(image(), outputs={"o": {"type": "string", "value": "x", "condition": condition}}),
    ):
        with pytest.raises(TemplateInvalid) as raised:
            read_image_template(json.dumps(template), file_name="t.json")
        (mistake,) = raised.value.mistakes
        assert mistake.path in {"resources[0].condition", "outputs.o.condition"}
        assert mistake.message.startswith("must be true or false")


@pytest.mark.parametrize("condition", ["true", "True", True, None, "[equals(1, 1)]"])
def test_a_condition_that_holds_keeps_the_image_template(condition: Any) -> None:
    assert read_image_template(json.dumps(document(image(condition=condition))), file_name="t.json").name == "it"


def test_types_that_name_each_other_in_a_circle_are_told_so() -> None:
    for members in ({"parameters": {"p": CIRCLE["a"]}}, {"outputs": {"p": {**CIRCLE["a"], "value": "x"}}}):
        with pytest.raises(TemplateInvalid, match="leads in a circle"):
            read_image_template(json.dumps(document(image(), **members, definitions=CIRCLE)), file_name="t.json")


@pytest.mark.parametrize(
    ("template", "given", "path"),
    [
        (document(image(name="[variables('v')]"), variables={"v": "[no(1)]"}), {}, "template.variables.v"),
        (
            document(image(name="[parameters('p')]"), parameters={"p": {"type": "string", "defaultValue": "[no(1)]"}}),
            {},
            "template.parameters.p",
        ),
        (document(image(), parameters={"p": {"type": "int"}}), {"p": {"value": "a"}}, "template.parameters.p"),
        (document(image(), parameters={"p": {"type": "strin"}}), {}, "template.parameters.p.type"),
        (document(image(), parameters={"p": {"type": "string"}}), {}, "template.parameters.p"),
        (document(image()), {"p": {"value": 1}}, "parameters.p"),
        (document(image(), functions=[{"members": 5}]), {}, "template.functions[0].members"),
    ],
)
def test_a_mistake_in_a_nested_template_is_told_at_its_place_in_the_file(
    template: dict[str, Any], given: dict[str, Any], path: str
) -> None:
    """It was told as one of the template around it, and without a line."""
    text = json.dumps(document(nested(document(nested(template, parameters=given)))))
    with pytest.raises(TemplateInvalid) as raised:
        read_image_template(text, file_name="t.json")
    (mistake,) = placed_error(raised.value, WrittenTemplate("t.json", "json", text, text)).mistakes
    around = "resources[0].properties.template.resources[0].properties"
    assert mistake.path == f"{around}.{path}"
    assert mistake.line == 1
    assert "--parameters" not in str(mistake)


def test_a_nested_template_of_inner_scope_sees_nothing_around_it() -> None:
    asks = document(image(name="[parameters('who')]"))
    around = {"parameters": {"who": {"type": "string", "defaultValue": "outer"}}}
    outer = read_image_template(json.dumps(document(nested(asks, "outer"), **around)), file_name="t.json")
    assert outer.name == "outer"
    for given in ((), ("who=typed",)):
        with pytest.raises(TemplateInvalid, match="the parameter `who` is not declared"):
            read_image_template(json.dumps(document(nested(asks), **around)), file_name="t.json", parameters=given)
