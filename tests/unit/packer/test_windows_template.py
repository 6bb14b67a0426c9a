"""What the container instance is given for a Windows VM."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import InputError
from vmkiln.packer.packer_template import InputFile
from vmkiln.packer.windows_template import LARGEST_UPLOAD_BYTES, WinRmConnection, shown, windows_input
from vmkiln.windows.steps import (
    Copied,
    PowerShell,
    Restart,
    Rights,
    Update,
    WindowsDeprovision,
    WindowsFile,
    WindowsStep,
)

CONNECTION = WinRmConnection(2222, "packer", "SECRET", "CERTIFICATE", 1800)
PLAIN = PowerShell("plain", "a", ("dir {{user `x`}}",))
SMALL = Copied(Path("/copies/1"), LARGEST_UPLOAD_BYTES, "0" * 64)
LARGE = Copied(Path("/copies/2"), LARGEST_UPLOAD_BYTES + 1, "1" * 64)


def template_of(*steps: WindowsStep) -> dict[str, Any]:
    template: dict[str, Any] = json.loads(windows_input(steps, CONNECTION).packer.text_of("template.json"))
    return template


def test_packer_logs_in_over_https_and_believes_the_runs_certificate_only() -> None:
    (builder,) = template_of(PLAIN)["builders"]
    assert builder == {
        "type": "null", "communicator": "winrm", "winrm_host": "127.0.0.1", "winrm_port": 2222,
        "winrm_username": "packer", "winrm_password": "SECRET", "winrm_use_ssl": True, "winrm_insecure": False,
        "winrm_timeout": "1800s",
    }  # fmt: skip
    content = windows_input([PLAIN], CONNECTION).packer
    assert content.text_of("certificate.pem") == "CERTIFICATE"
    assert "SSL_CERT_FILE=/aib/packerInput/certificate.pem" in content.text_of("environment").splitlines()


def test_the_password_is_in_no_plan_and_in_no_log_of_the_value() -> None:
    elevated = PowerShell("n", "p", (), Rights.ELEVATED)
    told = json.dumps(shown(windows_input([elevated], CONNECTION)))
    assert "SECRET" not in told + repr(CONNECTION)


def test_no_command_is_inline_and_each_script_runs_once() -> None:
    steps = (PLAIN, PowerShell("n", "p", SMALL, Rights.ELEVATED), WindowsDeprovision())
    for provisioner in template_of(*steps)["provisioners"]:
        assert "inline" not in provisioner
        for name in ("execute_command", "elevated_execute_command"):
            command = provisioner[name]
            asked, marked, run = (
                command.index(text) for text in ("Test-Path '{{.Path}}.ran'", "New-Item -ItemType File", "&'{{.Path}}'")
            )
            assert asked < marked < run
            assert "{exit 16001}" in command


@pytest.mark.parametrize(
    ("rights", "user", "password"),
    [(Rights.PLAIN, None, None), (Rights.ELEVATED, "packer", "SECRET"), (Rights.SYSTEM, "SYSTEM", "")],
)
def test_a_script_runs_as_whom_it_asks_for(rights: Rights, user: str | None, password: str | None) -> None:
    (found,) = template_of(PowerShell("n", "p", (), rights, (0, 3010)))["provisioners"]
    assert (found.get("elevated_user"), found.get("elevated_password")) == (user, password)
    assert found["valid_exit_codes"] == [0, 3010]


def test_what_is_large_travels_on_the_disc_by_its_steps_number() -> None:
    steps = (PowerShell("n", "p", SMALL), PowerShell("n", "p", LARGE), WindowsFile("n", "p", SMALL, "c:\\f"))
    content = windows_input(steps, CONNECTION)
    assert content.disc == (InputFile("0001-file", source=LARGE.path), InputFile("0002-file", source=SMALL.path))
    assert InputFile("0000-powershell.ps1", source=SMALL.path) in content.packer.files
    assert len(content.packer.text_of("0001-powershell.ps1")) < LARGEST_UPLOAD_BYTES


def test_a_restart_gives_the_answer_time_to_arrive_unless_told() -> None:
    own, usual = template_of(Restart("r", "p", "mine", "check", 60), Restart("r", "p", "", "", 90))["provisioners"]
    assert (own["restart_command"], own["restart_check_command"], own["restart_timeout"]) == ("mine", "check", "60s")
    assert "/t 5" in usual["restart_command"]
    assert "restart_check_command" not in usual


@pytest.mark.parametrize("step", [Restart("r", "p", "{{x}}", "", 60), Restart("r", "p", "", "{{x}}", 60)])
def test_a_command_that_packer_would_interpret_is_refused(step: Restart) -> None:
    with pytest.raises(InputError, match="interpret"):
        template_of(step)


def test_an_update_step_has_bounded_rounds_each_with_a_restart() -> None:
    found = template_of(Update("u", "p", "c", (), 10, rounds=2))["provisioners"]
    assert [part.get("scripts", [part["type"]])[0].rpartition("/")[2] for part in found] == [
        "0000-update-01.ps1", "windows-restart", "0000-update-02.ps1", "windows-restart", "0000-update-last.ps1",
    ]  # fmt: skip
    assert found[0]["valid_exit_codes"] == [0, 3010]
    assert found[-1]["valid_exit_codes"] == [0]
    assert {part["elevated_user"] for part in found if "scripts" in part} == {"SYSTEM"}
    assert all(part["check_registry"] for part in found if part["type"] == "windows-restart")


def test_packer_does_not_come_back_after_the_deprovisioning() -> None:
    (found,) = template_of(WindowsDeprovision())["provisioners"]
    assert found["skip_clean"] is True
    assert found["scripts"] == ["/aib/packerInput/0000-deprovision.ps1"]
