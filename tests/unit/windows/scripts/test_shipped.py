"""The PowerShell that a Windows build brings along: read by a parser, and held to the rules of our own."""

import base64
import json
import re

import pytest
from powershell_rules import mistakes_of_habit, mistakes_of_syntax

from vmkiln.windows import scripts

HEAD = "Set-StrictMode -Version 3.0\n$ErrorActionPreference = 'Stop'\n"
SYSPREP = "Sysprep.exe /oobe /generalize /quiet /quit"


@pytest.mark.parametrize("name", scripts.NAMES)
def test_each_script_is_powershell_5_and_keeps_our_rules(name: str) -> None:
    text = scripts.text(name)
    assert mistakes_of_syntax(text) == []
    assert mistakes_of_habit(text) == []


@pytest.mark.parametrize(
    "wrong",
    ["$a = $b ?? 1", "$a && $b", "$a = $true ? 1 : 2", "$a ??= 1", "try { $a }", "if ($a) {", "$x = @{ a = ", "'open"],
)
def test_what_5_refuses_is_found(wrong: str) -> None:
    assert mistakes_of_syntax(HEAD + wrong + "\n") != []


@pytest.mark.parametrize(
    "wrong",
    ["ls", "Get-Item x | % { $_ }", "Invoke-WebRequest x", "& $other", "& 'C:\\x.exe'", "Write-Output '\u00e4'"],
)
def test_what_our_rules_forbid_is_found(wrong: str) -> None:
    assert mistakes_of_habit(HEAD + wrong + "\n") != []
    assert mistakes_of_habit(wrong + "\n" + HEAD) != []


def test_the_default_has_the_line_that_templates_edit_once() -> None:
    text = scripts.text(scripts.DEFAULT_DEPROVISIONING)
    assert text.count(SYSPREP) == 1
    edited = re.sub(SYSPREP, "Sysprep.exe /oobe /generalize /quit /mode:vm", text)  # as PowerShell's -replace
    assert "/mode:vm" in edited
    assert mistakes_of_syntax(edited) == []


def test_a_missing_deprovisioning_script_is_told_in_azures_words() -> None:
    joined = re.sub(r"' \+\n\s+'", "", scripts.text(scripts.DEPROVISION))
    assert (
        "Deprovisioning script [c:\\DeprovisioningScript.ps1] could not be found. Image build may fail or the VM "
        "created from the Image may not boot. Please make sure the deprovisioning script is not accidentally deleted "
        "by a Customizer in the Template."
    ) in joined


@pytest.mark.parametrize("name", scripts.WITH_DATA)
def test_what_a_template_says_is_data_and_never_script(name: str) -> None:
    data = {"name": "'; exit 0 #", "filters": ["include:$_.Title -like '*\u00e4*'"], "destination": "@DATA@"}
    text = scripts.with_data(name, data)
    assert mistakes_of_syntax(text) == []
    assert mistakes_of_habit(text) == []
    [encoded] = re.findall(r"FromBase64String\('([^']*)'\)", text)
    assert json.loads(base64.b64decode(encoded)) == data
    assert scripts.text(name).count(scripts.PLACE) == 1


def test_no_script_is_read_by_a_name_that_is_not_ours() -> None:
    with pytest.raises(KeyError):
        scripts.text("../__init__.py")
    with pytest.raises(KeyError):
        scripts.with_data(scripts.FIRST_BOOT, {})


def kinds(name: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, scripts.text(name)))


def test_every_kind_of_change_is_taken_back_in_an_order() -> None:
    made = kinds(scripts.FIRST_BOOT, r"kind = '(\w+)'")
    assert made == kinds(scripts.DEPROVISION, r"(?m)^        '(\w+)' \{$")
    [order] = re.findall(r"foreach \(\$kind in @\((.*)\)\) \{", scripts.text(scripts.DEPROVISION))
    assert made == set(re.findall(r"\w+", order))


def test_the_port_is_opened_last_and_all_before_is_recorded_first() -> None:
    text = scripts.text(scripts.FIRST_BOOT)
    acts = re.findall(r"(?m)^(?:    )?Invoke-Act '(\w+)'", text)
    assert acts[0] == "record"
    assert acts[-1] == "listener"
    for change in re.findall(r"(?ms)^function (?:Set-RegistryValue|Set-WsManValue).*?^}", text):
        assert change.index("Save-Change") < max(change.rfind("New-ItemProperty"), change.rfind("Set-Item"))


@pytest.mark.parametrize(
    ("name", "in_this_order"),
    [
        (scripts.FIRST_BOOT, ["NetworkCategory -ne 'Public'", "-NetworkCategory Private", "Invoke-Act 'network'",
                              "Invoke-Act 'winrm' { Start-WinRm }", "Invoke-Act 'listener'"]),
        (scripts.DEFAULT_DEPROVISIONING, ["$agentSeconds = 300", "-not (Get-Service -Name $name -ErrorAction",
                                          "continue }", "AddSeconds($agentSeconds)", "break", SYSPREP]),
        (scripts.DEFAULT_DEPROVISIONING, ["$sysprepSeconds = 2700", "setuperr.log\" -Tail", "setupact.log\" -Tail 40",
                                          "exit 1", SYSPREP, "Get-Process -Name sysprep", "$looksWithout -gt 2) {",
                                          "-gt $until) { Stop-With"]),
        (scripts.DEPROVISION, ["Win32_EncryptableVolume", "-MethodName Decrypt", "-gt $until) { throw",
                               "\n    Wait-Decryption", "\n    Assert-NoRestartPending"]),
        (scripts.DEPROVISION, ["Get-AppxProvisionedPackage", "-contains $package.Name) { continue }",
                               "single users only", "\n    Write-Warnings"]),
        (scripts.UPDATE_ROUND, ["$busyMinutes = 10", "'0x80240016'", "$installer.IsBusy -and (Get-Date) -lt $until",
                                "$busy -contains $result) {\n                Wait-Installer\n",
                                "Exit-ForRestart \"$text, another installation"]),
    ],
    ids=["public network", "agents", "sysprep gives up", "encrypted", "packages of one user", "another installation"],
)  # fmt: skip
def test_what_is_done_about_a_trap_stands_in_its_script(name: str, in_this_order: list[str]) -> None:
    text, at = scripts.text(name), 0
    for part in in_this_order:
        assert part in text[at:], f"`{part}` is missing, or comes before its turn"
        at = text.index(part, at) + len(part)


def test_what_the_first_script_makes_by_name_the_last_removes() -> None:
    last = scripts.text(scripts.DEPROVISION)
    for name in ("vmkiln-build", "HKLM:\\SOFTWARE\\vmkiln", "C:\\DeprovisioningScript.ps1"):
        assert name in scripts.text(scripts.FIRST_BOOT)
        assert name in last
    assert "$user = 'packer'" in last


def test_a_listener_of_the_image_is_recorded_and_put_back() -> None:
    text = scripts.text(scripts.FIRST_BOOT)
    recorded = text.index("Save-Change 'listener' @{ kind = 'listener'; thumbprint = $run.thumbprint; old = $old }")
    assert text.index("$old = @{ port = $had.Port") < recorded < text.index("Set-WSManInstance")
    last = scripts.text(scripts.DEPROVISION)
    assert last.index("if ($there.Count -gt 0 -and $Change.old)") < last.index("Remove-WSManInstance")


def test_what_sysprep_has_taken_away_itself_is_no_failure() -> None:
    (listener,) = re.findall(r"(?ms)^        'listener' \{.*?^        \}", scripts.text(scripts.DEPROVISION))
    for removal in ("Remove-WSManInstance", "Remove-Item"):
        assert re.search(rf"if \([^\n]*\) \{{[^}}]*{removal}", listener)
