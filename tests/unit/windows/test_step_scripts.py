"""The PowerShell of one step: a template's text is data in it."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from vmkiln.windows.step_scripts import file_from_disc, of_lines, restart_if_needed, script_from_disc, update_round
from vmkiln.windows.steps import Copied, Update, WindowsFile

EVIL = "'; Remove-Item C:\\ -Recurse; '{{user `x`}}"
SOURCE = Copied(Path("/copies/1"), 7, "ab" * 32)


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r"FromBase64String\('([^']+)'\)", text)
    assert found
    data: dict[str, Any] = json.loads(base64.b64decode(found.group(1)))
    return data


def test_a_file_steps_destination_is_data() -> None:
    text = file_from_disc("0003-file", WindowsFile("n", "p", SOURCE, EVIL))
    assert data_of(text) == {"name": "0003-file", "destination": EVIL, "sha256": "ab" * 32, "bytes": 7}
    assert "Remove-Item C:" not in text
    assert text.isascii()


def test_a_rounds_criteria_and_filters_are_data_and_its_state_is_the_steps() -> None:
    step = Update("n", "p", EVIL, (EVIL,), 20)
    data = data_of(update_round(7, step))
    state = "C:\\Windows\\Temp\\vmkiln\\0007-update"
    assert data == {"criteria": EVIL, "filters": [EVIL], "limit": 20, "state": state, "isLast": False}
    assert data_of(update_round(7, step, is_last=True))["isLast"] is True
    assert restart_if_needed(7) == f"cmd /c if exist {state}.restart (shutdown /r /f /t 5) else (exit 0)"


def test_a_large_script_is_run_from_a_compared_copy_as_it_is() -> None:
    text = script_from_disc(2, "0002-file", SOURCE)
    laid = re.search(r"WriteAllBytes\('(.+?)', \[Convert\]::FromBase64String\('([^']+)'\)", text)
    assert laid
    assert data_of(base64.b64decode(laid.group(2)).decode())["destination"] == r"C:\Windows\Temp\vmkiln\0002\script.ps1"
    last = text.splitlines()[-6:]
    assert last == [
        r"& 'C:\Windows\Temp\vmkiln\0002\copy-file.ps1'",
        "if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }",
        "Set-StrictMode -Off",
        "$ErrorActionPreference = 'Continue'",
        r"& 'C:\Windows\Temp\vmkiln\0002\script.ps1'",
        "exit $LASTEXITCODE",
    ]


def test_lines_become_a_script_that_windows_reads_in_its_letters() -> None:
    assert of_lines(("dir\r", "exit 3")) == "dir\nexit 3\n"
    assert of_lines(("echo \u00fc",)) == "\ufeffecho \u00fc\n"
    assert of_lines(()) == ""
