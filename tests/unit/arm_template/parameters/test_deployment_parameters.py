"""Parameters come from files and from NAME=VALUE; what a file leaves without a value can be given."""

import json
from typing import Any

import pytest

from vmkiln.arm_template.parameters.deployment_parameters import ParameterFile, given_parameters
from vmkiln.errors import TemplateInvalid

IN_A_VAULT = {"reference": {"keyVault": {"id": "/subscriptions/s/x"}, "secretName": "n"}}
OF_INPUTS = {"expression": "[externalInputs('sys_envVar_0')]"}


def a_file(parameters: Any, word: str = "parameters") -> ParameterFile:
    return ParameterFile("p.json", json.dumps({"$schema": "x", "contentVersion": "1.0.0.0", word: parameters}))


@pytest.mark.parametrize("entry", [IN_A_VAULT, OF_INPUTS, {"metadata": {}}])
def test_what_a_file_leaves_open_is_refused_until_it_is_given(entry: dict[str, Any]) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        given_parameters([a_file({"Secret": entry})])
    assert [mistake.path for mistake in caught.value.mistakes] == ["parameters.Secret"]
    found = given_parameters([a_file({"Secret": entry}), "secret=told"])
    assert found["secret"].value == "told"
    later = given_parameters([a_file({"Secret": entry}), a_file({"secret": {"value": 1}})])
    assert later["secret"].value == 1


def test_a_later_file_that_leaves_it_open_is_refused() -> None:
    with pytest.raises(TemplateInvalid, match="key vault"):
        given_parameters(["secret=told", a_file({"secret": IN_A_VAULT})])


def test_the_members_of_a_file_go_without_regard_to_case() -> None:
    assert given_parameters([a_file({"a": {"Value": None}}, "Parameters")])["a"].value is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"x": {"value": 1}, "y": {"Value": None, "metadata": {"a": "b"}}}, {"x": 1, "y": None}),
        ({"$schema": "s", "contentVersion": "1", "x": {"value": {"value": 1}}}, {"x": {"value": 1}}),
        ({"x": {"value": 1}, "y": 2}, {"x": {"value": 1}, "y": 2}),
        ({"x": {"value": 1, "other": 2}}, {"x": {"value": 1, "other": 2}}),
        ({"x": {}}, {"x": {}}),
    ],
)
def test_the_inner_part_of_a_parameter_file_is_read_as_az_does(content: Any, expected: dict[str, Any]) -> None:
    found = given_parameters([ParameterFile("p.json", json.dumps(content))])
    assert {name: given.value for name, given in found.items()} == expected


def test_a_reference_in_the_inner_part_is_no_value() -> None:
    content = {"x": {"reference": {"keyVault": {"id": "v"}, "secretName": "s"}}}
    with pytest.raises(TemplateInvalid, match="is read from a key vault"):
        given_parameters([ParameterFile("p.json", json.dumps(content))])
