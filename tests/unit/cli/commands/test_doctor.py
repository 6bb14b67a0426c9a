"""`vmkiln doctor`: its JSON, its table and its exit status."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.host.accelerator import Verdict
from vmkiln.host.doctor import examination
from vmkiln.host.doctor.examination import Examination
from vmkiln.host.doctor.fitness import Finding, Status
from vmkiln.host.qemu import Accelerator

OK = Finding("qemu-img", Status.OK, "/usr/bin/qemu-img 7.2.22")
SLOW = Finding("accelerator", Status.WARNING, "tcg: no KVM [here]", "use a host with KVM")
MISSING = Finding("packer", Status.FAILED, "not installed", "get Packer")
TCG = Verdict(Accelerator.TCG, "no KVM")


def examined(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> dict[str, Any]:
    asked: dict[str, Any] = {}

    async def examine(**arguments: Any) -> Examination:
        asked.update(arguments)
        return Examination(findings, TCG)

    monkeypatch.setattr("vmkiln.host.doctor.examination.examine", examine)
    return asked


def test_json_has_a_verdict_and_each_finding_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, OK, MISSING)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 3
    assert json.loads(result.stdout) == {
        "canBuild": False,
        "accelerator": {"accelerator": "tcg", "reason": "no KVM"},
        "findings": [
            {"name": "qemu-img", "status": "ok", "found": "/usr/bin/qemu-img 7.2.22", "remedy": None},
            {"name": "packer", "status": "failed", "found": "not installed", "remedy": "get Packer"},
        ],
    }


def test_a_fit_machine_exits_with_0_even_with_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, OK, SLOW)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "builds can run here" in result.stdout
    assert "-> accelerator: use a host with KVM" in result.stdout
    assert "no KVM [here]" in result.stdout


def test_an_unfit_machine_is_told_what_to_do_failures_first(monkeypatch: pytest.MonkeyPatch) -> None:
    examined(monkeypatch, SLOW, MISSING)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 3
    assert result.stdout.index("-> packer: get Packer") < result.stdout.index("-> accelerator")


def test_what_is_kept_lies_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "state"))
    asked = examined(monkeypatch, OK)
    CliRunner().invoke(app, ["doctor"])
    assert asked["state"] == tmp_path / "state"
    assert asked["kernel_directory"].is_relative_to(tmp_path / "state")
    assert asked["accelerator_directory"].is_relative_to(tmp_path / "state")


def test_each_check_is_told_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was silent for more than a minute where a guest is emulated."""
    asked = examined(monkeypatch, OK)
    whole = examination.examine

    async def examine(**arguments: Any) -> Examination:
        arguments["progress"]("booting a guest to judge the accelerator")
        return await whole(**arguments)

    monkeypatch.setattr("vmkiln.host.doctor.examination.examine", examine)
    for more in ([], ["--json"]):
        result = CliRunner().invoke(app, ["doctor", *more])
        assert result.stderr == "booting a guest to judge the accelerator\n"
        assert "booting" not in result.stdout
    assert asked
