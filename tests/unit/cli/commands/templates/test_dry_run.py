"""`vmkiln build --dry-run` is the plan of that build: what its options do, what it would refuse; it starts nothing."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from vmkiln.cli import main
from vmkiln.cli.commands import build
from vmkiln.host.saved import saved_vm
from vmkiln.settings import Settings
from vmkiln.warm.checkpoint import About, record_of, scope_of

EXAMPLE = Path(__file__).parents[5] / "examples" / "hello-linux" / "template.json"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No state of its own yet, and no build that could begin."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(build, "_build", None)
    return tmp_path / "home"


@pytest.fixture
def template(tmp_path: Path) -> str:
    body = json.loads(EXAMPLE.read_text())
    body["name"] = "web"
    body["properties"]["customize"] = [{"type": "Shell", "name": "update", "inline": ["true"]}]
    path = tmp_path / "web.json"
    path.write_text(json.dumps(body))
    return str(path)


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(list(arguments))
    return int(ended.value.code or 0)


def planned(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert vmkiln(*arguments, "--json") == status
    return json.loads(capsys.readouterr().out)


def keep(home: Path, *, hours_old: float) -> None:
    """Something that is kept behind the first customizer."""
    settings = Settings(home=home)
    scope = scope_of(template_id="", resource_group="vmkiln", name="web")
    workplace = saved_vm.begun(settings.saved_vms, saved_vm.key_of({"scope": scope}))
    made = time.time() - hours_old * 3600
    about = About(scope, 1, "update", run_id="r", template="web", made=made, instance_id="i")
    saved_vm.finished(workplace, b"", "digest", about=record_of(about))
    saved_vm.named(workplace)


def test_a_dry_run_is_the_plan_and_starts_nothing(
    template: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(capsys, "build", template, "--dry-run") == planned(capsys, "plan", template)
    assert not home.exists(), "nothing is written either"
    assert vmkiln("build", template, "--dry-run", "--summary-file", "s.md") == 0
    told = capsys.readouterr()
    assert told.out.startswith("image template web (")
    assert "s.md is not written" in told.err
    assert told.err.endswith("this was a dry run: nothing was started\n")


def test_a_dry_run_says_what_its_options_do(template: str, capsys: pytest.CaptureFixture[str]) -> None:
    cold = planned(capsys, "build", template, "--dry-run", "--cold")
    assert cold["begins"][0] == "the build VM is booted: warm starts are off"
    without = planned(capsys, "build", template, "--dry-run", "--no-cache")
    assert without["begins"][1] == "the customizers begin at the first: `--no-cache` asks for that"
    held = planned(capsys, "build", template, "--dry-run", "--on-error", "hold", "--hold-for", "30")
    assert held["limits"]["held_minutes_when_it_fails"] == 30
    assert vmkiln("build", template, "--dry-run", "--progress", "json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "web"


def test_what_is_too_old_for_a_build_is_not_in_its_plan(
    template: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(home, hours_old=30)
    assert planned(capsys, "plan", template)["begins"][1].endswith("kept on this machine: none")
    older = planned(capsys, "build", template, "--dry-run", "--max-age", "31")
    assert older["begins"][1].endswith("kept on this machine: 1 (update)")


def test_a_dry_run_refuses_what_the_build_would(template: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.loads(Path(template).read_text())
    body["properties"]["customize"] = [{"type": "Shell", "scriptUri": "local.sh"}]
    Path(template).write_text(json.dumps(body))
    Path(template).with_name("local.sh").write_text("true\n")
    assert vmkiln("plan", template) == 0
    capsys.readouterr()
    for more in ([], ["--dry-run"]):
        assert vmkiln("build", template, *more) == 2
        assert "is a local file" in capsys.readouterr().err
    assert vmkiln("build", template, "--dry-run", "--allow-local-files") == 0
    assert not home.exists()


def test_a_dry_run_refuses_options_that_contradict(template: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("build", template, "--dry-run", "--hold-for", "30") == 2
    assert "add `--on-error hold`" in capsys.readouterr().err
    assert vmkiln("build", template, "--dry-run", "--resume", "abcd") == 2
    assert "there is no run abcd" in capsys.readouterr().err
    for more in ([], ["--dry-run"]):
        assert vmkiln("build", template, "--resume", "", *more) == 2, "it would begin from the beginning"
        assert "no run is named" in capsys.readouterr().err
