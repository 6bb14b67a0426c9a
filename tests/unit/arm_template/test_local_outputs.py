"""Outputs of a deployment that is read on the command line: mistakes are found, the rest is worked out or left open."""

from typing import Any

import pytest
from test_local_deployment import ID, IDENTITIES, RG, document, image, mistakes, nested, read

from vmkiln.arm_template.local_outputs import LocalOutput, outputs_as_data, outputs_lines

SECRET = "hunter22-and-more"
SECURE = {"password": {"type": "secureString", "defaultValue": SECRET}}
PRINCIPAL = f"[reference('{ID}/given', '2018-11-30').principalId]"
OUTSIDE = f"reference() asks for the state of `{ID}/given`, it is not in this file"


def output(value: Any, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"type": kind, "value": value, **more}


def told(outputs: dict[str, Any], *resources: dict[str, Any], references: tuple[str, ...] = (), **members: Any) -> Any:
    found = read(document([image(), *resources], outputs=outputs, **members), references=references)
    return {one.name: one for one in found.outputs}


def test_outputs_are_worked_out_as_a_deployment_would() -> None:
    outputs = {
        "id": output("[resourceId('Microsoft.VirtualMachineImages/imageTemplates', 'it')]"),
        "state": output("[reference('it').provisioningState]"),
        "out": output("[reference('it').distribute[0].runOutputName]"),
        "three": {"type": "array", "copy": {"count": 3, "input": "[copyIndex()]"}},
        "none": output("x", condition=False),
    }
    assert {name: (one.type, one.value) for name, one in told(outputs).items()} == {
        "id": ("String", f"{RG}/providers/Microsoft.VirtualMachineImages/imageTemplates/it"),
        "state": ("String", "Succeeded"),
        "out": ("String", "out"),
        "three": ("Array", [0, 1, 2]),
    }


def test_every_mistake_in_outputs_is_told_with_those_of_the_template() -> None:
    wrong = {
        "a": output("[nothing()]"),
        "b": output("[variables('no')]"),
        "c": output("c"),
        "d": output(PRINCIPAL),
    }
    assert set(mistakes(document([image()], outputs=wrong))) == {"outputs.a", "outputs.b"}
    properties = image()["properties"] | {"distribute": []}
    both = mistakes(document([image(properties=properties)], outputs=wrong))
    assert set(both) == {"properties.distribute", "outputs.a", "outputs.b"}


def test_a_missing_parameter_is_told_alone() -> None:
    needed = {"needed": {"type": "string"}}
    found = mistakes(document([image()], parameters=needed, outputs={"a": output("[parameters('needed')]")}))
    assert set(found) == {"parameters.needed"}


def test_an_output_that_only_azure_knows_is_left_open_and_can_be_given() -> None:
    assert told({"who": output(PRINCIPAL)})["who"] == LocalOutput("who", not_known=OUTSIDE)
    given = told({"who": output(PRINCIPAL)}, references=(f'{ID}/given={{"principalId": "p"}}',))
    assert given["who"].value == "p"
    linked = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "far"}
    linked["properties"] = {"mode": "Incremental", "templateLink": {"uri": "https://x.example/t.json"}}  # type: ignore[assignment]
    asks = output("[reference('far').outputs.x.value]")
    assert told({"far": asks}, linked)["far"].not_known == "a linked deployment is not fetched"


def test_an_output_with_a_mistake_is_wrong_whatever_it_waits_for() -> None:
    found = mistakes(document([image()], outputs={"both": output([PRINCIPAL, "[nothing()]"], "array")}))
    assert list(found) == ["outputs.both[1]"]


def test_outputs_of_nested_deployments_are_looked_at_too() -> None:
    made = {"type": IDENTITIES, "apiVersion": "2023-01-31", "name": "id1"}
    inner = nested("inner", document([made], outputs={"a": output("[nothing()]"), "b": output(PRINCIPAL)}))
    outer = nested("outer", document([inner]))
    deepest = "resources[1].properties.template.resources[0].properties.template.outputs.a"
    assert set(mistakes(document([image(), outer]))) == {deepest}
    takes = {"p": {"type": "string"}}
    given = document([], parameters=takes, outputs={"a": output("[parameters('p')]")})
    wrong = nested("inner", given, parameters={"p": "[nothing()]"})
    assert set(mistakes(document([image(), wrong]))) == {"resources[1].properties.parameters.p"}
    open_one = nested("inner", given, parameters={"p": PRINCIPAL})
    assert read(document([image(), open_one])).outputs == ()


def test_a_mistake_is_placed_in_the_deployment_that_has_it() -> None:
    """Both have a second resource, which have the same path in the one and in the other."""
    wrong = {"type": IDENTITIES, "apiVersion": "2023-01-31", "name": "two", "properties": {"x": "[nothing()]"}}
    made = {"type": IDENTITIES, "apiVersion": "2023-01-31", "name": "one"}
    inner = nested("inner", document([made, wrong], outputs={"a": output("[reference('two').x]")}))
    found = mistakes(document([image(), inner]))
    assert set(found) == {"resources[1].properties.template.resources[1].properties.x"}


@pytest.mark.parametrize(("condition", "is_there"), [(True, True), ("True", True), ("False", False), (False, False)])
def test_an_output_is_left_out_alike_wherever_it_is_asked_for(condition: Any, is_there: bool) -> None:
    inner = nested("inner", document([], outputs={"a": output("v", condition=condition)}))
    asks = output("[coalesce(tryGet(tryGet(reference('inner').outputs, 'a'), 'value'), 'left out')]")
    found = told({"a": output("v", condition=condition), "asks": asks}, inner)
    assert ("a" in found) is is_there
    assert found["asks"].value == ("v" if is_there else "left out")


def test_no_output_tells_a_secret() -> None:
    outputs = {
        "secret": output("[parameters('password')]", "securestring"),
        "made": output("[concat('a-', uniqueString('x'))]", "secureString"),
        "leak": output("[concat('so: ', parameters('password'))]"),
        "again": output("[concat('a-', uniqueString('x'))]"),
    }
    found = told(outputs, parameters=SECURE)
    assert (found["secret"].type, found["secret"].value) == ("SecureString", None)
    assert found["leak"].value == "so: ***"
    assert found["again"].value == "***"
    assert SECRET not in repr(found)
    wrong = mistakes(document([image()], parameters=SECURE, outputs={"a": output("[split(parameters('password'))]")}))
    assert SECRET not in str(wrong)


def test_keys_that_are_given_are_secrets() -> None:
    account, key = f"{RG}/providers/Microsoft.Storage/storageAccounts/s", "x9/" * 12
    keys = f'{{"keys": [{{"keyName": "key1", "value": "{key}", "permissions": "FULL"}}]}}'
    asks = "listKeys(resourceId('Microsoft.Storage/storageAccounts', 's'), '2023-01-01').keys[0]"
    outputs = {
        "key": output(f"[{asks}.value]"),
        "text": output(f"[concat('AccountKey=', {asks}.value)]"),
        "name": output(f"[{asks}.keyName]"),
    }
    template = document([image(tags={"x": f"[{asks}.value]"})], outputs=outputs)
    found = read(template, references=(f"listKeys({account})={keys}",))
    assert [one.value for one in found.outputs] == ["***", "AccountKey=***", "key1"]
    assert not [warning for warning in found.warnings if "--reference" in warning]
    assert found.mask(f"the log has {key}") == "the log has ***"
    far = output("[concat('so: ', listOutputsWithSecureValues('/far', '2022-09-01').pw)]")
    assert told({"far": far}, references=('listOutputsWithSecureValues(/far)={"pw": "hunter22"}',))["far"].value == (
        "so: ***"
    )


@pytest.mark.parametrize("template", [document([image()]), image(name="web")], ids=["a deployment", "a body"])
def test_a_reference_that_nothing_asks_for_is_told(template: dict[str, Any]) -> None:
    found = read(template, references=("/subscriptions/s/none={}",))
    assert "--reference /subscriptions/s/none: nothing in the template asks for it" in found.warnings


def test_parameters_that_only_outputs_need_did_not_make_the_image() -> None:
    declared = {name: {"type": "string", "defaultValue": name} for name in ("image", "other")}
    template = document(
        [image(tags={"x": "[parameters('image')]"})],
        parameters=declared,
        outputs={"a": output("[parameters('other')]")},
    )
    assert [one.name for one in read(template).parameters] == ["image"]


def test_outputs_read_as_az_shows_them_and_no_secret_has_a_line() -> None:
    found = (
        LocalOutput("a", "String", "x\x1b[2J"),
        LocalOutput("b", "Object", {"c": "\u00e4"}),
        LocalOutput("s", "SecureString", is_secure=True),
        LocalOutput("who", not_known=OUTSIDE),
    )
    data = outputs_as_data(found)
    assert data == {
        "a": {"type": "String", "value": "x\x1b[2J"},
        "b": {"type": "Object", "value": {"c": "\u00e4"}},
        "s": {"type": "SecureString"},
        "who": {"not_known": OUTSIDE},
    }
    assert outputs_lines(data) == [
        "outputs of the deployment",
        "  a: x\\x1b[2J",
        '  b: {"c": "\u00e4"}',
        "  s: not shown, for it is of type SecureString",
        f"  who: not known here: {OUTSIDE}",
    ]
    assert outputs_lines({}) == []
