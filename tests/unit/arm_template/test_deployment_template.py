"""The one image template of a deployment is found and evaluated; what cannot be is named with its place."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile
from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

CONTEXT = DeploymentContext(now=datetime(2026, 1, 2, tzinfo=UTC))
TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
NO_IDENTITY = {"type": "None"}


def resource(**changes: Any) -> dict[str, Any]:
    properties = {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "customize": [{"type": "Shell", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "out"}],
    }
    return {
        "type": TYPE,
        "apiVersion": "2025-10-01",
        "name": "it",
        "location": "x",
        "identity": NO_IDENTITY,
        "properties": properties,
    } | changes


def deployment(*resources: Any, **members: Any) -> dict[str, Any]:
    return {"$schema": "s", "contentVersion": "1.0.0.0", "resources": list(resources)} | members


def read(document: Any, *parameters: ParameterFile | str) -> ResolvedTemplate:
    return read_image_template(json.dumps(document), file_name="t.json", parameters=parameters, context=CONTEXT)


def mistakes(document: Any, *parameters: ParameterFile | str) -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        read(document, *parameters)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}


def name_of(expression: str, *parameters: ParameterFile | str, **members: Any) -> str:
    return read(deployment(resource(name=expression), **members), *parameters).name


def test_the_image_template_is_found_beside_others_which_are_not_evaluated() -> None:
    other = {"type": "Microsoft.Authorization/roleAssignments", "name": "[nonsense()]"}
    assert read(deployment(other, resource(), other)).name == "it"


@pytest.mark.parametrize("spelling", [TYPE.lower(), f"{TYPE}/", "Microsoft.VirtualMachineImages"])
def test_the_type_is_recognised_in_the_spellings_of_real_files(spelling: str) -> None:
    assert read(deployment(resource(type=spelling))).name == "it"


def test_resources_may_be_an_object_with_symbolic_names() -> None:
    document = deployment(languageVersion="2.0") | {"resources": {"image": resource()}}
    assert read(document).name == "it"


def test_none_or_several_image_templates_are_refused() -> None:
    assert "holds no resource" in mistakes(deployment())["resources"]
    assert "resources[0], resources[1]" in mistakes(deployment(resource(), resource()))["resources"]
    nested = {"type": "Microsoft.Resources/deployments", "properties": {"templateLink": {}}}
    assert "linked" in mistakes(deployment(nested))["resources"]
    child = {"type": "A.B/c", "name": "x", "resources": [resource()]}
    assert read(deployment(child)).name == "it"


def test_a_condition_chooses_between_image_templates() -> None:
    parameters = {"windows": {"type": "bool", "defaultValue": False}}
    pair = (
        resource(name="windows", condition="[parameters('windows')]"),
        resource(name="linux", condition="[not(parameters('windows'))]"),
    )
    assert read(deployment(*pair, parameters=parameters)).name == "linux"
    assert read(deployment(*pair, parameters=parameters), "windows=true").name == "windows"


def test_a_copy_loop_may_make_exactly_one_image_template() -> None:
    loop = {"name": "each", "count": 1}
    assert read(deployment(resource(name="[concat('n', copyIndex('each', 5))]", copy=loop))).name == "n5"
    assert "holds 2" in mistakes(deployment(resource(copy=loop | {"count": 2})))["resources"]


def test_variables_parameters_and_user_functions_are_evaluated_when_needed() -> None:
    functions = [
        {
            "namespace": "my",
            "members": {
                "join": {
                    "parameters": [{"name": "a", "type": "string"}],
                    "output": {"type": "string", "value": "[concat('<', parameters('a'))]"},
                }
            },
        }
    ]
    variables = {"a": "[concat(variables('b'), '-', parameters('p'))]", "b": "x", "unused": "[nonsense()]"}
    parameters = {"p": {"type": "string", "defaultValue": "[toLower('P')]"}}
    assert name_of("[variables('A')]", variables=variables, parameters=parameters) == "x-p"
    assert name_of("[replace(my.join('z'), '<', 'y')]", functions=functions) == "yz"


def test_copy_loops_make_arrays_in_variables_and_properties() -> None:
    variables = {"copy": [{"name": "lines", "count": 2, "input": "[concat('line', copyIndex('lines'))]"}]}
    customize = [{"type": "Shell", "inline": "[variables('lines')]"}]
    target = {"type": "VHD", "runOutputName": "[concat('o', copyIndex('distribute'))]"}
    targets = {"name": "distribute", "count": 2, "input": target}
    item = resource()
    item["properties"] |= {"customize": customize, "copy": [targets]}
    del item["properties"]["distribute"]
    found = read(deployment(item, variables=variables)).resolved["properties"]
    assert found["customize"][0]["inline"] == ["line0", "line1"]
    assert [target["runOutputName"] for target in found["distribute"]] == ["o0", "o1"]
    assert "copy" not in found


def test_member_names_are_evaluated_too() -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {"[concat('/a', '/b')]": {}}}
    assert read(deployment(resource(identity=identity))).resolved["identity"]["userAssignedIdentities"] == {"/a/b": {}}


def test_a_doubled_bracket_is_plain_text() -> None:
    item = resource()
    item["properties"]["customize"] = [{"type": "Shell", "inline": ["[[ -f /x ]", "[ -f /x ] || true"]}]
    assert read(deployment(item)).resolved["properties"]["customize"][0]["inline"] == ["[ -f /x ]", "[ -f /x ] || true"]


def test_a_value_that_needs_itself_is_refused() -> None:
    variables = {"a": "[variables('b')]", "b": "[variables('a')]"}
    found = mistakes(deployment(resource(name="[variables('a')]"), variables=variables))
    assert "variables.a -> variables.b -> variables.a" in found["variables.b"]


def test_values_that_double_without_end_are_refused() -> None:
    variables: dict[str, Any] = {"v0": ["x"] * 10}
    variables |= {f"v{n}": f"[createArray(variables('v{n - 1}'), variables('v{n - 1}'))]" for n in range(1, 26)}
    found = mistakes(deployment(resource(tags="[variables('v25')]"), variables=variables))
    assert "too large" in "".join(found.values())


def test_long_chains_of_variables_are_refused_and_not_a_crash() -> None:
    variables = {f"v{n}": f"[concat(variables('v{n + 1}'))]" for n in range(500)} | {"v500": "x"}
    found = mistakes(deployment(resource(name="[variables('v0')]"), variables=variables))
    assert "nested deeper" in next(iter(found.values()))


def test_every_mistake_in_expressions_is_named_at_its_place() -> None:
    item = resource(name="[parameters('missing')]", tags={"a": "[nonsense()]"})
    item["properties"]["customize"] = [{"type": "Shell", "inline": ["[reference('x').y]"]}]
    found = mistakes(deployment(item))
    assert set(found) == {"name", "tags.a", "properties.customize[0].inline[0]"}
    assert "--reference 'x={...}'" in found["properties.customize[0].inline[0]"]


def test_a_nested_deployment_is_entered_with_its_own_parameters() -> None:
    inner = deployment(
        resource(name="[concat(parameters('who'), '-', resourceGroup().name)]"),
        parameters={"who": {"type": "string"}, "unused": {"type": "string"}},
    )
    given = {"who": {"value": "[parameters('outer')]"}, "unused": {"value": "[reference('x').y]"}}
    properties = {"template": inner, "parameters": given, "expressionEvaluationOptions": {"scope": "inner"}}
    nested = {"type": "Microsoft.Resources/deployments", "resourceGroup": "rg2", "properties": properties}
    document = deployment(nested, parameters={"outer": {"type": "string", "defaultValue": "me"}})
    assert read(document).name == "me-rg2"
    needs_state = deployment(resource(name="[parameters('unused')]"), parameters=inner["parameters"])
    properties["template"] = needs_state
    assert list(mistakes(document)) == ["resources[0].properties.parameters.unused"]


def test_a_nested_deployment_of_outer_scope_sees_the_outer_parameters() -> None:
    properties = {"template": deployment(resource(name="[parameters('outer')]"))}
    nested = {"type": "Microsoft.Resources/deployments", "properties": properties}
    assert read(deployment(nested, parameters={"outer": {"type": "string"}}), "outer=me").name == "me"


def test_all_missing_and_all_unknown_parameters_are_named_at_once() -> None:
    parameters = {
        "a": {"type": "string"},
        "b": {"type": "int", "allowedValues": [1, 2]},
        "c": {"type": "bool", "nullable": True},
    }
    found = mistakes(deployment(resource(), parameters=parameters), "x=1", "y=2")
    assert set(found) == {"parameters.a", "parameters.b", "parameters.x", "parameters.y"}
    assert "one of 1, 2" in found["parameters.b"]


@pytest.mark.parametrize(
    ("declaration", "text", "expected"),
    [
        ({"type": "string"}, "12", "12"),
        ({"type": "int"}, "12", 12),
        ({"type": "bool"}, "True", True),
        ({"type": "array"}, '["a"]', ["a"]),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"$ref": "#/definitions/word"}, "x", "x"),
    ],
)
def test_a_value_is_read_by_its_declared_type(declaration: dict[str, Any], text: str, expected: Any) -> None:
    definitions = {"word": {"type": "string"}}
    item = resource(tags={"value": "[string(parameters('p'))]"})
    document = deployment(item, parameters={"p": declaration}, definitions=definitions)
    written = expected if isinstance(expected, str) else json.dumps(expected, separators=(",", ":"))
    assert read(document, f"P={text}").resolved["tags"]["value"].lower() == written.lower()


@pytest.mark.parametrize(
    ("declaration", "text", "message"),
    [
        ({"type": "int"}, "x", "must be a whole number"),
        ({"type": "int"}, "true", "must be a whole number"),
        ({"type": "int", "maxValue": 3}, "4", "`4` is more than 3"),
        ({"type": "string", "minLength": 3}, "ab", "length of `ab` is less than 3"),
        ({"type": "string", "allowedValues": ["a", "b"]}, "c", "allowed are a, b"),
        ({"type": "text"}, "c", "not a type of parameters"),
        ({"defaultValue": "a"}, "c", "type: is required"),
    ],
)
def test_a_value_outside_the_declared_limits_is_refused(declaration: dict[str, Any], text: str, message: str) -> None:
    found = mistakes(deployment(resource(), parameters={"p": declaration}), f"p={text}")
    assert message in "".join(found.values())


def test_parameter_files_come_in_two_forms_and_the_last_word_wins() -> None:
    wrapped = ParameterFile("a.json", '{"$schema": "s", "parameters": {"p": {"value": "one"}}} // comment')
    plain = ParameterFile("b.json", '{"p": "two"}')
    parameters = {"p": {"type": "string"}}
    assert name_of("[parameters('p')]", wrapped, parameters=parameters) == "one"
    assert name_of("[parameters('p')]", wrapped, plain, parameters=parameters) == "two"
    assert name_of("[parameters('p')]", wrapped, plain, "p=three", parameters=parameters) == "three"


def test_a_parameter_file_that_is_wrong_is_refused_with_its_name() -> None:
    document = deployment(resource())
    assert list(mistakes(document, ParameterFile("a.json", "{"))) == ["a.json:1:2"]
    assert list(mistakes(document, ParameterFile("a.json", "[]"))) == ["a.json"]
    vault = ParameterFile("a.json", '{"parameters": {"p": {"reference": {}}, "q": 1}}')
    assert set(mistakes(document, vault)) == {"parameters.p", "parameters.q"}
    assert "NAME=VALUE" in mistakes(document, "p")["parameters"]


def test_a_secret_is_told_to_the_caller_and_to_no_message() -> None:
    parameters = {
        "token": {"type": "secureString", "maxLength": 40},
        "keys": {"type": "secureObject", "defaultValue": {"a": "hidden-two"}},
    }
    item = resource(tags={"a": "[parameters('keys').a]"})
    item["properties"]["customize"] = [{"type": "Shell", "inline": ["[parameters('token')]"]}]
    document = deployment(item, parameters=parameters)
    found = read(document, "token=hidden-one")
    assert set(found.mask.secrets) == {"hidden-one", "hidden-two"}
    assert "hidden" not in repr(found.warnings)
    item["properties"]["distribute"][0]["runOutputName"] = "[concat('bad name ', parameters('token'))]"
    text = str(mistakes(document, "token=hidden-one"))
    assert "bad name ***" in text
    assert "hidden" not in text
    assert "hidden" not in str(mistakes(document, "token=" + "hidden" * 9))


def test_parameters_are_told_by_name_and_by_the_digest_of_what_is_no_secret() -> None:
    parameters = {
        "size": {"type": "int", "defaultValue": 7},
        "Token": {"type": "secureString"},
        "address": {"type": "string"},
        "unused": {"type": "string", "defaultValue": "x"},
    }
    lines = ["[parameters('token')]", "[parameters('address')]", "[string(parameters('size'))]"]
    item = resource()
    item["properties"]["customize"] = [{"type": "Shell", "inline": lines}]
    found = read(deployment(item, parameters=parameters), "token=hidden-one", "address=https://x/?hidden-one")
    seven = hashlib.sha256(b"7").hexdigest()
    assert [parameter.as_data for parameter in found.parameters] == [
        {"name": "address", "secret": True},
        {"name": "size", "sha256": seven},
        {"name": "Token", "secret": True},
    ]
