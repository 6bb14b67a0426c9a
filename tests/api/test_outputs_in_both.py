"""What the service says of a deployment's outputs, the command line says of the same file: mistakes, and values."""

import json
from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, InProcess, add_group
from test_deployments import DEPLOYMENT, IDENTITIES, IDENTITY, body, deployed, nested, the_image_template

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.local_outputs import outputs_as_data
from vmkiln.errors import TemplateInvalid
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

CONTEXT = DeploymentContext(
    subscription_id=SUBSCRIPTION.rpartition("/")[2],
    resource_group=GROUP.rpartition("/")[2],
    location="westus2",
    template_name="d1",
)
MADE = {**IDENTITY, "name": "made"}
ASKED = f"[reference(resourceId('{IDENTITIES}', 'made')).clientId]"


def output(value: Any, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"type": kind, "value": value, **more}


def of_file(content: dict[str, Any]) -> ResolvedTemplate:
    return read_image_template(json.dumps(content["properties"]["template"]), file_name="t.json", context=CONTEXT)


@pytest.mark.parametrize(
    "outputs",
    [
        {"o": output("[nothing()]")},
        {"o": output("[parameters('none')]"), "p": output("[variables('none')]")},
        {"o": output(["[add(1)]", "fine", "[nothing()]"], "array")},
        {"o": {"type": "array", "copy": {"count": 900, "input": "x"}}},
        {"o": "no object"},
        {"o": output("x", condition="[nothing()]")},
        {"o": output("[string(createObject('a'))]"), "fine": output("fine")},
        {"o": output({"a": 1}), "p": output("1", "int"), "q": output([], "object"), "r": output(1, "bool")},
        {"o": output("[null()]"), "fine": output("[null()]", nullable=True)},
        {"o": {"value": "x"}, "p": output("x", "text"), "q": output("x", "securestrin")},
        {"o": {"type": "array", "items": {"type": "int"}, "value": [1, "two"]}, "p": output("x", minLength=2)},
        {"o": output([ASKED, "[nothing()]"], "array"), "p": output({"a": ASKED, "b": "[add(1)]"}, "object")},
    ],
    ids=["function", "names", "elements", "loop", "form", "condition", "arguments", "type", "null", "no type", "limits",
         "beside what waits"],
)  # fmt: skip
def test_both_refuse_the_same_outputs_at_the_same_places(service: InProcess, outputs: dict[str, Any]) -> None:
    add_group(service)
    for content in (
        body(the_image_template(), MADE, outputs=outputs),
        body(the_image_template(), MADE, nested({"template": {"resources": [MADE], "outputs": outputs}})),
    ):
        refused = service.request("POST", f"{DEPLOYMENT}/validate", content)
        assert refused.status_code == 400, refused.text
        with pytest.raises(TemplateInvalid) as caught:
            of_file(content)
        told = {(detail["target"], detail["message"]) for detail in refused.json()["error"]["details"]}
        assert {(mistake.path, str(mistake)) for mistake in caught.value.mistakes} == told


def test_both_work_out_the_same_outputs(living: InProcess) -> None:
    add_group(living)
    outputs = {
        "id": output(f"[resourceId('{IDENTITIES}', 'made')]"),
        "state": output("[reference('web').provisioningState]"),
        "group": output("[resourceGroup().name]"),
        "many": {"type": "array", "copy": {"count": 2, "input": "[concat('n', copyIndex())]"}},
        "left": output("x", condition=False),
        "whole": output({"n": "[add(1, 2)]"}, "object"),
        "secret": output("hunter22", "secureString"),
        "told": output("so: hunter22"),
    }
    content = body(the_image_template(), MADE, outputs=outputs)
    found = deployed(living, content)
    assert found["provisioningState"] == "Succeeded", found
    assert outputs_as_data(of_file(content).outputs) == found["outputs"]
