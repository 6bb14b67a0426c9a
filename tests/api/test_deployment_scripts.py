"""Deployments whose script starts the run of the image template in them."""

from typing import Any

import pytest
from in_process import GROUP, TEMPLATE, InProcess, add_group, code_of, ended_run, provisioned, wait_for
from test_deployments import DEPLOYMENT, body, deployed, the_image_template

SCRIPTS = f"{GROUP}/providers/Microsoft.Resources/deploymentScripts"
SCRIPT = f"{SCRIPTS}/build"
WAITING = "az image builder run -g rg1 -n $NAME"
AT_ONCE = (
    "Invoke-AzResourceAction -ResourceName ${env:NAME} -ResourceGroupName rg1 -ResourceType "
    "Microsoft.VirtualMachineImages/imageTemplates -ApiVersion 2020-02-14 -Action Run -Force"
)


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def script(text: str, kind: str = "AzureCLI", **properties: Any) -> dict[str, Any]:
    variables = [{"name": "NAME", "value": "web"}, {"name": "TOKEN", "secureValue": "hunter22"}]
    given = {"azCliVersion": "2.40.0", "retentionInterval": "P1D", "timeout": "PT1H", "scriptContent": text}
    return {
        "type": "Microsoft.Resources/deploymentScripts",
        "apiVersion": "2020-10-01",
        "name": "build",
        "location": "westus2",
        "kind": kind,
        "dependsOn": ["[resourceId('Microsoft.VirtualMachineImages/imageTemplates', 'web')]"],
        "properties": {**given, "environmentVariables": variables, **properties},
    }


def without_frame(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name not in {"type", "apiVersion", "name", "dependsOn"}}


def test_a_deployment_ends_when_the_run_that_its_script_starts_has_ended(live: InProcess) -> None:
    found = deployed(live, body(the_image_template(), script(WAITING)))
    assert found["provisioningState"] == "Succeeded", found
    status = live.get(TEMPLATE).json()["properties"]["lastRunStatus"]
    assert status["runState"] == "Succeeded"
    kept = live.get(SCRIPT).json()
    assert (kept["kind"], kept["properties"]["provisioningState"]) == ("AzureCLI", "Succeeded")
    assert "hunter22" not in live.get(SCRIPT).text
    log = live.get(f"{SCRIPT}/logs/default").json()["properties"]["log"]
    assert "started the run" in log
    assert "is Succeeded" in log
    assert live.get(f"{SCRIPT}/logs").json()["value"][0]["properties"]["log"] == log
    for path in (SCRIPTS, f"{GROUP.rpartition('/resourceGroups')[0]}/providers/Microsoft.Resources/deploymentScripts"):
        assert [item["name"] for item in live.get(path).json()["value"]] == ["build"]


def test_a_script_that_does_not_wait_is_done_at_once(live: InProcess) -> None:
    found = deployed(live, body(the_image_template(), script(AT_ONCE, "AzurePowerShell")))
    assert found["provisioningState"] == "Succeeded", found
    assert live.get(SCRIPT).json()["properties"]["provisioningState"] == "Succeeded"
    assert ended_run(live, TEMPLATE)["runState"] == "Succeeded"


def test_a_secure_value_is_in_nothing_that_is_kept_of_a_script(live: InProcess) -> None:
    provisioned(live, TEMPLATE, without_frame(the_image_template()))
    outputs = "\n$DeploymentScriptOutputs['token'] = ${env:TOKEN}\n$DeploymentScriptOutputs['name'] = ${env:NAME}"
    text = f"{AT_ONCE} # as hunter22{outputs}"
    answer = live.put(SCRIPT, without_frame(script(text, "AzurePowerShell")))
    assert answer.status_code == 201, answer.text
    assert answer.json()["properties"]["outputs"] == {"token": "***", "name": "web"}
    assert "hunter22" not in answer.text
    row = live.service.store.resources.get(SCRIPT)
    assert "hunter22" not in str(row)
    assert live.put(SCRIPT, without_frame(script(text, "AzurePowerShell"))).status_code == 200
    assert len(live.service.store.runs.of_template(TEMPLATE)) == 1, "it is the same script"


def test_a_failed_run_fails_the_script_and_the_deployment(live: InProcess) -> None:
    template = the_image_template()
    template["properties"]["customize"][0]["inline"] = ["fail"]
    found = deployed(live, body(template, script(WAITING)))
    assert found["provisioningState"] == "Failed"
    assert "DeploymentScriptError" in str(found["error"])
    assert live.get(SCRIPT).json()["properties"]["provisioningState"] == "Failed"


def test_the_same_script_once_more_starts_no_second_run(live: InProcess) -> None:
    provisioned(live, TEMPLATE, without_frame(the_image_template()))
    assert live.put(SCRIPT, without_frame(script(WAITING))).status_code == 201
    wait_for(lambda: live.get(SCRIPT).json()["properties"]["provisioningState"] == "Succeeded")
    assert live.put(SCRIPT, without_frame(script(WAITING))).status_code == 200
    assert len(live.service.store.runs.of_template(TEMPLATE)) == 1
    assert live.put(SCRIPT, without_frame(script(WAITING, forceUpdateTag="2"))).status_code == 200
    assert len(live.service.store.runs.of_template(TEMPLATE)) == 2
    wait_for(lambda: live.get(SCRIPT).json()["properties"]["provisioningState"] == "Succeeded")
    assert live.request("DELETE", SCRIPT).status_code == 200
    assert live.request("DELETE", SCRIPT).status_code == 204
    assert live.get(SCRIPT).status_code == 404


def test_another_script_is_refused_before_anything_is_made(live: InProcess) -> None:
    content = body(the_image_template(), script("az group create -n other -l westus2"))
    refused = live.request("POST", f"{DEPLOYMENT}/validate", content)
    assert (refused.status_code, code_of(refused)) == (400, "InvalidTemplate")
    assert "resources[1].properties.scriptContent" in refused.text
    assert "autoRun" in refused.text
    assert live.get(TEMPLATE).status_code == 404
    alone = live.put(SCRIPT, without_frame(script("echo hello")))
    assert (alone.status_code, code_of(alone)) == (400, "DeploymentScriptNotSupported")


def test_a_script_runs_nothing_its_caller_may_not_run(live: InProcess) -> None:
    provisioned(live, TEMPLATE, without_frame(the_image_template()))
    elsewhere = live.put(SCRIPT, without_frame(script("az image builder run -g other -n web")))
    assert elsewhere.status_code == 404
    live.access.roles["writer"] = [("Contributor", SCRIPT), ("Reader", GROUP)]
    refused = live.put(SCRIPT, without_frame(script(WAITING)), token="writer")
    assert (refused.status_code, code_of(refused)) == (403, "AuthorizationFailed")
    assert not live.service.store.runs.of_template(TEMPLATE)
