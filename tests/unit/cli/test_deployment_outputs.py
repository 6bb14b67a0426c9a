"""Outputs of a deployment template on the command line: refused beforehand when wrong, shown behind a build."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from json_contract import CONTRACT, check
from test_cli_templates import vmkiln, write

from vmkiln.cli.commands import build
from vmkiln.run.run_event import RunEnded
from vmkiln.run_state import RunState

PASSWORD = ["--parameters", "password=hunter22"]
OUTPUTS = {
    "name": {"type": "string", "value": "[concat('image of ', 'web')]"},
    "secret": {"type": "securestring", "value": "[parameters('password')]"},
}
SHOWN = {"name": {"type": "String", "value": "image of web"}, "secret": {"type": "SecureString"}}
LINES = "outputs of the deployment\n  name: image of web\n  secret: not shown, for it is of type SecureString\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def with_outputs(tmp_path: Path, outputs: dict[str, Any]) -> str:
    path = Path(write(tmp_path))
    path.write_text(json.dumps({**json.loads(path.read_text()), "outputs": outputs}, indent=1))
    return str(path)


def ends(state: RunState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a build end like this at once."""
    moment = datetime(2026, 11, 30, tzinfo=UTC).isoformat()
    summary = {"run_id": "1" * 32, "state": state, "message": "", "outputs": [], "phases": [], "started": moment}

    async def built(_request: Any, tell: Any, **_: Any) -> dict[str, Any]:
        tell(RunEnded(state, "", summary))
        return summary

    monkeypatch.setattr(build, "_build", built)


@pytest.mark.parametrize("command", [["validate"], ["plan"], ["build"], ["build", "--dry-run"]], ids=" ".join)
def test_a_mistake_in_an_output_is_told_with_its_line_and_nothing_starts(
    command: list[str], tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_outputs(tmp_path, {"bad": {"type": "string", "value": "[nothing('x')]"}})
    assert vmkiln(*command, path, *PASSWORD) == 2
    told = capsys.readouterr().err
    [line] = [number for number, text in enumerate(Path(path).read_text().splitlines(), start=1) if '"bad"' in text]
    assert f"web.json:{line}:" in told
    assert "outputs.bad: the function `nothing` is not known" in told
    assert not home.exists()


def test_a_plan_shows_what_would_come_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = with_outputs(tmp_path, OUTPUTS)
    vmkiln("plan", path, *PASSWORD)
    assert LINES in capsys.readouterr().out
    vmkiln("plan", path, *PASSWORD, "--json")
    assert json.loads(capsys.readouterr().out)["deployment_outputs"] == SHOWN


def test_outputs_are_shown_behind_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_outputs(tmp_path, OUTPUTS)
    ends(RunState.SUCCEEDED, monkeypatch)
    assert vmkiln("build", path, *PASSWORD) == 0
    assert LINES in (shown := capsys.readouterr().out)
    assert "hunter22" not in shown
    assert vmkiln("build", path, *PASSWORD, "--json") == 0
    *_, event, summary = map(json.loads, (shown := capsys.readouterr().out).splitlines())
    assert event == {"event": "DeploymentOutputs", "outputs": SHOWN}
    check(event, CONTRACT["$defs"]["event"])
    assert summary["state"] == "Succeeded"
    assert "hunter22" not in shown


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_build_that_failed_has_no_outputs(
    more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(RunState.FAILED, monkeypatch)
    assert vmkiln("build", with_outputs(tmp_path, OUTPUTS), *PASSWORD, *more) == 1
    assert "image of web" not in capsys.readouterr().out


def test_a_template_without_outputs_tells_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(RunState.SUCCEEDED, monkeypatch)
    for more in ([], ["--json"]):
        assert vmkiln("build", with_outputs(tmp_path, {}), *PASSWORD, *more) == 0
        assert "utputs of" not in (shown := capsys.readouterr().out)
        assert "DeploymentOutputs" not in shown
