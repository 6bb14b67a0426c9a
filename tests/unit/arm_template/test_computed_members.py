"""A member of a deployment or a resource may be one expression, which gives all that could be written in its place."""

import json
from typing import Any

import pytest
from test_local_deployment import CONTEXT, DEPLOYMENTS, document, image, mistakes, nested, read

from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.arm_template.nested_deployment import Written
from vmkiln.errors import TemplateInvalid

INNER = document(
    [image(name="[parameters('called')]", tags="[parameters('tags')]")],
    parameters={"called": {"type": "string"}, "tags": {"type": "object", "defaultValue": {}}},
)
GIVEN = {"called": {"value": "kiln"}, "tags": {"value": {"a": "[[b]"}}}
SHELL = {"type": "Shell", "name": "one", "inline": ["true"]}


def module(parameters: Any, **members: Any) -> dict[str, Any]:
    found = nested("in", INNER)
    found["properties"]["parameters"] = parameters
    return document([found], variables={"given": GIVEN}, **members)


@pytest.mark.parametrize(
    "expression",
    [
        "[variables('given')]",
        "[if(true(), variables('given'), createObject())]",
        "[union(variables('given'), createObject('called', createObject('value', 'kiln')))]",
        "[createObject('called', createObject('value', 'kiln'), 'tags', variables('given').tags)]",
        "[json(string(variables('given')))]",
    ],
)
def test_the_parameters_of_a_nested_deployment_may_be_one_expression(expression: str) -> None:
    found = read(module(expression))
    assert (found.name, found.resolved["tags"]) == ("kiln", {"a": "[b]"}), "and are not evaluated once more"
    [plan] = _children(module(expression))
    assert [item.name for item in plan.planned()] == ["kiln"]


def test_computed_parameters_may_come_from_another_deployment_of_the_file() -> None:
    told = nested("first", document([], outputs={"all": {"type": "object", "value": {"called": {"value": "kiln"}}}}))
    after = module("[reference('first').outputs.all.value]")["resources"]
    assert read(document([told, *after])).name == "kiln"


def test_computed_parameters_that_nobody_knows_are_told_with_their_place() -> None:
    unknown = mistakes(module("[reference('elsewhere').outputs.all.value]"))
    assert list(unknown) == ["resources[0].properties.parameters"]


@pytest.mark.parametrize("wrong", ["[variables('given').called.value]", "[createArray()]", 7])
def test_parameters_that_are_no_object_are_refused(wrong: Any) -> None:
    for found in (mistakes(module(wrong)), _mistakes_of_plan(module(wrong))):
        assert "must be an object" in found["resources[0].properties.parameters"]


@pytest.mark.parametrize("wrong", ["kiln", "[variables('given').called.value]", ["kiln"]])
def test_a_parameter_without_value_is_refused_at_its_place(wrong: Any) -> None:
    found = mistakes(module({"called": wrong}))
    assert "must be an object with `value`" in found["resources[0].properties.parameters.called"]


TEMPLATE = document([image(name="[[parameters('called')]")], parameters={"called": {"type": "string"}})


@pytest.mark.parametrize(
    "properties",
    [
        "[variables('whole')]",
        "[if(true(), variables('whole'), createObject())]",
        {"template": "[variables('whole').template]", "parameters": {"called": {"value": "kiln"}}},
        {"template": "[variables('whole').template]", "parameters": "[variables('whole').parameters]"},
    ],
)
def test_properties_and_template_of_a_nested_deployment_may_be_expressions(properties: Any) -> None:
    whole = {"mode": "Incremental", "template": TEMPLATE, "parameters": {"called": {"value": "kiln"}}}
    resource = {"type": DEPLOYMENTS, "apiVersion": "2022-09-01", "name": "in", "properties": properties}
    template = document([resource], variables={"whole": whole})
    assert read(template).name == "kiln"
    [plan] = _children(template)
    assert [item.name for item in plan.planned()] == ["kiln"]


@pytest.mark.parametrize("options", ["[createObject('scope', 'inner')]", {"scope": "[toUpper('inner')]"}])
def test_the_scope_of_a_nested_deployment_may_be_an_expression(options: Any) -> None:
    template = module(GIVEN)
    template["resources"][0]["properties"]["expressionEvaluationOptions"] = options
    assert read(template).name == "kiln"


def test_a_computed_template_nobody_knows_is_told_if_there_is_no_other() -> None:
    resource = {
        "type": DEPLOYMENTS,
        "apiVersion": "2022-09-01",
        "name": "in",
        "properties": "[reference('elsewhere').whole]",
    }
    assert list(mistakes(document([resource]))) == ["resources[0].properties"]
    assert read(document([resource, image()])).name == "it", "another image template is built all the same"


def test_a_template_that_its_condition_leaves_out_is_said_so() -> None:
    for left_out in (image(condition=False), nested("in", document([image()]), condition="[equals(1, 2)]")):
        [(path, text)] = mistakes(document([left_out])).items()
        assert path == "resources[0]"
        assert "its condition leaves out" in text


MEMBERS = {
    "properties": image()["properties"],
    "identity": {"type": "None"},
    "tags": {"a": "b"},
    "dependsOn": [],
}


@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_the_image_template_may_be_expressions(name: str) -> None:
    template = document([image(**{name: "[variables('it')]"})], variables={"it": MEMBERS[name]})
    assert read(template).image_template == read(document([image(**{name: MEMBERS[name]})])).image_template


@pytest.mark.parametrize("name", ["source", "customize", "distribute", "vmProfile", "validate", "optimize"])
def test_members_of_its_properties_may_be_expressions(name: str) -> None:
    plain = {
        **image()["properties"],
        "vmProfile": {"osDiskSizeGB": 40},
        "validate": {"inVMValidations": [SHELL]},
        "optimize": {"vmBoot": {"state": "Disabled"}},
    }
    computed = {**plain, name: f"[json(variables('{name}'))]"}
    template = document([image(properties=computed)], variables={name: f" {json.dumps(plain[name])}"})
    assert read(template).image_template == read(document([image(properties=plain)])).image_template


def test_a_step_that_is_null_is_refused_in_these_words() -> None:
    properties = image()["properties"] | {"customize": ["[if(false(), variables('it'), null())]", SHELL]}
    found = mistakes(document([image(properties=properties)], variables={"it": SHELL}))
    assert found == {"properties.customize[0]": "properties.customize[0]: must be an object, not null"}


# copy


@pytest.mark.parametrize(("copy", "count"), [("copy", "count"), ("Copy", "Count")])
def test_loops_are_known_in_any_case(copy: str, count: str) -> None:
    loop = {copy: [{"name": "customize", count: 2, "input": {**SHELL, "name": "[string(copyIndex('customize'))]"}}]}
    properties = {name: value for name, value in image()["properties"].items() if name != "customize"}
    inside = read(document([image(properties=properties | loop)]))
    of_variables = read(
        document([image(properties=properties | {"customize": "[variables('customize')]"})], variables=loop)
    )
    for found in (inside, of_variables):
        assert [step["name"] for step in found.resolved["properties"]["customize"]] == ["0", "1"]


def test_a_loop_that_is_not_in_an_array_is_refused() -> None:
    loop = {"name": "customize", "count": 2, "input": SHELL}
    for wrong in (loop, [loop, SHELL]):
        found = mistakes(document([image(properties=image()["properties"] | {"copy": wrong})]))
        assert "must be an array of loops" in found["properties.copy"]


def test_a_member_that_is_only_called_copy_stays() -> None:
    assert read(document([image(tags={"copy": "yes", "Copy2": "no"})])).resolved["tags"]["copy"] == "yes"


@pytest.mark.parametrize("loop", ["[variables('loop')]", [{"name": "loop", "count": 1}]])
def test_a_loop_of_resources_that_is_no_object_is_refused(loop: Any) -> None:
    template = document([image(copy=loop)], variables={"loop": {"name": "loop", "count": 1}})
    for found in (mistakes(template), _mistakes_of_plan(template)):
        assert "must be an object with `name` and `count`" in found["resources[0].copy"]


def test_what_is_worked_out_already_is_not_evaluated_again() -> None:
    assert Written("[parameters('none')]", "p", is_plain=True).evaluated(
        DeploymentPlan(document([]), {}, CONTEXT)._scope
    ) == ("[parameters('none')]")


def _plan(template: dict[str, Any]) -> DeploymentPlan:
    return DeploymentPlan(template, {}, CONTEXT)


def _children(template: dict[str, Any]) -> list[DeploymentPlan]:
    plan = _plan(template)
    return [plan.child(item, None) for item in plan.planned() if item.type == DEPLOYMENTS]


def _mistakes_of_plan(template: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        _children(template)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}
