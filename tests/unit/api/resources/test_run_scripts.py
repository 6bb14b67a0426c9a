"""Scripts that start the run of an image template, as public templates write them."""

from typing import Any

import pytest

from vmkiln.api.resources.run_scripts import read_script

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
WEB = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/{TYPE}/web"
ACTION = f"-ResourceType {TYPE} -ApiVersion '2020-02-14' -Action Run"

POWERSHELL = {
    "named, with quotes": (
        f'Invoke-AzResourceAction -ResourceName "web" -ResourceGroupName "rg1" {ACTION} -Force',
        False,
    ),
    "bare words and continued lines": (
        f"Invoke-AzResourceAction `\n -ResourceName web `\n -ResourceGroupName rg1 {ACTION}",
        False,
    ),
    "an id": (f"Invoke-AzResourceAction -ResourceId '{WEB}' -Action Run -Force | Out-Null", False),
    "variables": (
        "$name = 'web'\n$rg = \"rg${number}\"\n# a comment's apostrophe\n"
        "Invoke-AzResourceAction -ResourceName $name "
        f"-ResourceGroupName $rg {ACTION} -Force",
        False,
    ),
    "environment variables": (
        f'Connect-AzAccount -Identity\nInvoke-AzResourceAction -ResourceName "${{env:template}}" '
        f"-ResourceGroupName $env:group {ACTION}",
        False,
    ),
    "a hash table": (
        "$p = @{\n  ResourceName = 'web'\n  ResourceGroupName = 'rg1'\n"
        f"  ResourceType = '{TYPE}'; Action = 'Run'\n}}\n"
        "Invoke-AzResourceAction @p -Force",
        False,
    ),
    "a loop that waits": (
        f"Invoke-AzResourceAction -ResourceName web -ResourceGroupName rg1 {ACTION} -Force\n"
        "$status = 'Started'\nwhile ($status -ne 'Succeeded' -and $status -ne 'Failed') {\n  Start-Sleep -Seconds 30\n"
        "  $status = (Get-AzImageBuilderTemplate -ImageTemplateName web -ResourceGroupName rg1)"
        ".LastRunStatusRunState\n}",
        True,
    ),
    "its own command": ("Start-AzImageBuilderTemplate -ResourceGroupName rg1 -Name web", True),
    "its own command, not waiting": (
        "Start-AzImageBuilderTemplate -ResourceGroupName rg1 -ImageTemplateName web -NoWait",
        False,
    ),
    "a REST call": (f"Invoke-AzRestMethod -Method POST -Path '{WEB}/run?api-version=2022-02-14'", False),
    "tried and caught": (
        "try { Start-AzImageBuilderTemplate -ResourceGroupName rg1 -Name web -NoWait } catch { throw $_ }",
        False,
    ),
}
SHELL = {
    "waits": ("az image builder run -g rg1 -n web", True),
    "does not wait": (
        "#!/bin/bash\nset -euo pipefail\naz login --identity\n"
        "az image builder run --resource-group=rg1 --name 'web' --no-wait",
        False,
    ),
    "from the environment": ('az image builder run -g "$group" -n ${template} --no-wait', False),
    "an action, or another": (
        f"az image builder run -g rg1 -n web --no-wait 2>/dev/null || \\\n az resource invoke-action -g rg1 -n web "
        f"--resource-type {TYPE} --action Run",
        False,
    ),
    "a REST call": (
        f'az rest --method post --url "https://management.azure.com{WEB}/run?api-version=2022-02-14"',
        False,
    ),
    "a loop": (
        "az image builder run -g rg1 -n web --no-wait\nwhile true; do\n  s=$(az image builder show -g rg1 -n web)\n"
        '  echo "$s"\n  sleep 30\ndone',
        True,
    ),
}
GIVEN = [
    {"name": "template", "value": "web"},
    {"name": "group", "secureValue": "rg1"},
    {"name": "number", "value": "1"},
]


def read(text: str, kind: str, **properties: Any) -> Any:
    given = {"scriptContent": text, "environmentVariables": GIVEN, **properties}
    return read_script(given, kind, subscription_id=SUBSCRIPTION)


@pytest.mark.parametrize("name", POWERSHELL)
def test_a_powershell_script_that_starts_a_run_is_recognised(name: str) -> None:
    text, waits = POWERSHELL[name]
    script, mistakes = read(text, "AzurePowerShell")
    assert (mistakes, script.template_ids, script.waits) == ([], (WEB,), waits)


@pytest.mark.parametrize("name", SHELL)
def test_a_shell_script_that_starts_a_run_is_recognised(name: str) -> None:
    text, waits = SHELL[name]
    script, mistakes = read(text, "azurecli")
    assert (mistakes, script.template_ids, script.waits) == ([], (WEB,), waits)


@pytest.mark.parametrize(
    "arguments", ["-Template web -Group rg1", "-group 'rg1' -template \"web\"", "'rg1' \"web\"", "-Group rg1 web"]
)
def test_arguments_go_to_the_parameters_of_a_powershell_script(arguments: str) -> None:
    text = (
        "param(\n  [Parameter(Mandatory = $true)]\n  [string] $Group,\n  [string]$Template,\n"
        "  [string]$Wait = 'no'\n)\n"
        f"Invoke-AzResourceAction -ResourceName $Template -ResourceGroupName $Group {ACTION} -Force"
    )
    script, mistakes = read(text, "AzurePowerShell", arguments=arguments, environmentVariables=[])
    assert (mistakes, script.template_ids) == ([], (WEB,))


def test_arguments_go_to_the_positions_of_a_shell_script() -> None:
    script, mistakes = read('az image builder run -g "$1" -n $2', "AzureCLI", arguments="rg1 'web'")
    assert (mistakes, script.template_ids) == ([], (WEB,))


def test_what_a_script_puts_out_is_known_as_far_as_it_is_plain() -> None:
    text = (
        f"Invoke-AzResourceAction -ResourceId '{WEB}' -Action Run\n$DeploymentScriptOutputs = @{{}}\n"
        "$DeploymentScriptOutputs['name'] = \"the ${template}\"\n$DeploymentScriptOutputs['time'] = $(Get-Date)\n"
    )
    script, mistakes = read(text, "AzurePowerShell")
    assert (mistakes, script.outputs) == ([], {"name": "the web"})


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("Write-Host hello", "AzurePowerShell", "starts no run"),
        ("az storage blob upload -f x\naz image builder run -g rg1 -n web", "AzureCLI", "`az storage blob upload"),
        (
            "New-AzVM -Name x\nStart-AzImageBuilderTemplate -ResourceGroupName rg1 -Name web",
            "AzurePowerShell",
            "`New-AzVM",
        ),
        ("curl -X POST https://x\naz image builder run -g rg1 -n web", "AzureCLI", "`curl"),
        ("az image builder run -g rg1 -n $unknown", "AzureCLI", "`unknown`"),
        ("az image builder run -g rg1 -n $(cat name)", "AzureCLI", "known only when it runs"),
        (
            "Invoke-AzResourceAction -ResourceName vm -ResourceGroupName rg1 "
            "-ResourceType Microsoft.Compute/virtualMachines -Action Run",
            "AzurePowerShell",
            "does not say which",
        ),
        (f"az resource delete --ids {WEB}", "AzureCLI", "`az resource delete"),
        ("az image builder run -g rg1 -n web", "Bash", "AzurePowerShell or AzureCLI"),
        ("", "AzureCLI", "is missing"),
    ],
)
def test_another_script_is_refused_with_what_to_do(text: str, kind: str, told: str) -> None:
    script, mistakes = read(text, kind)
    assert script is None
    assert told in str(mistakes[0])
    if kind != "Bash":
        assert "autoRun" in str(mistakes[0])
        assert "condition" in str(mistakes[0])


def test_a_script_behind_an_address_is_not_fetched() -> None:
    script, mistakes = read_script({"primaryScriptUri": "https://x/y.ps1"}, "AzurePowerShell", subscription_id="s")
    assert script is None
    assert "not fetched" in str(mistakes[0])
