"""What each customizer of a Windows template becomes."""

from pathlib import Path
from typing import Any

import pytest

from vmkiln.template.customizers.file import FileCustomizer
from vmkiln.template.customizers.powershell import PowerShellCustomizer
from vmkiln.template.customizers.windows_restart import WindowsRestartCustomizer, duration_seconds
from vmkiln.template.customizers.windows_update import WindowsUpdateCustomizer
from vmkiln.windows.steps import (
    Copied,
    PowerShell,
    Restart,
    Rights,
    Update,
    WindowsCustomizer,
    WindowsFile,
    WindowsStep,
    copied,
    windows_step,
)

COPY = Copied(Path("/copies/1"), 3, "0" * 64)


def step_of(customizer: WindowsCustomizer) -> WindowsStep:
    return windows_step(customizer, "name", "p", {"p.scriptUri": COPY, "p.sourceUri": COPY})


@pytest.mark.parametrize(
    ("members", "rights"),
    [
        ({}, Rights.PLAIN),
        ({"runElevated": True}, Rights.ELEVATED),
        ({"runElevated": True, "runAsSystem": True}, Rights.SYSTEM),
    ],
)
def test_a_powershell_step_has_the_rights_that_it_asks_for(members: dict[str, Any], rights: Rights) -> None:
    customizer = PowerShellCustomizer.model_validate({"type": "PowerShell", "inline": ["dir"], **members})
    assert step_of(customizer) == PowerShell("name", "p", ("dir",), rights, (0,))


def test_exit_codes_are_numbers_also_where_a_template_writes_texts() -> None:
    body = {"type": "PowerShell", "scriptUri": "https://x.example/s.ps1", "validExitCodes": ["0", "3010"]}
    found = step_of(PowerShellCustomizer.model_validate(body))
    assert found == PowerShell("name", "p", COPY, Rights.PLAIN, (0, 3010))


def test_a_restart_has_a_command_of_its_own_only_when_the_template_says_so() -> None:
    own = {
        "type": "WindowsRestart",
        "restartCommand": "shutdown /r",
        "restartCheckCommand": "x",
        "restartTimeout": "1h30m",
    }
    assert step_of(WindowsRestartCustomizer.model_validate(own)) == Restart("name", "p", "shutdown /r", "x", 5400)
    assert step_of(WindowsRestartCustomizer(type="WindowsRestart")) == Restart("name", "p", "", "", 300)


def test_files_and_updates_keep_what_the_template_says() -> None:
    file = FileCustomizer.model_validate({"type": "File", "sourceUri": "https://x.example/f", "destination": "c:\\f"})
    assert step_of(file) == WindowsFile("name", "p", COPY, "c:\\f")
    update = {
        "type": "WindowsUpdate",
        "searchCriteria": "IsInstalled=0",
        "filters": ["include:$true"],
        "updateLimit": 20,
    }
    found = step_of(WindowsUpdateCustomizer.model_validate(update))
    assert found == Update("name", "p", "IsInstalled=0", ("include:$true",), 20)


def test_a_copy_is_known_by_its_size_and_digest(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert copied(tmp_path / "f") == Copied(
        tmp_path / "f", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_long_text_is_no_duration_and_is_not_looked_through() -> None:
    """That took time by the square of its digits, in which the service answered nobody."""
    assert duration_seconds("0" * 98 + "1s") == 1
    assert duration_seconds("0" * 99 + "1s") is None
    assert duration_seconds("0" * 4_000_000) is None
