"""`vmkiln setup`: the one thing that is missing, or a first build."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_doctor import MISSING, OK, SLOW, examined
from typer.testing import CliRunner

from vmkiln.cli.commands import build
from vmkiln.cli.commands.build_options import BuildOptions
from vmkiln.cli.main import app
from vmkiln.host.doctor.fitness import Finding, Status
from vmkiln.template.checked_template import check_image_template

TUN = Finding("tap", Status.FAILED, "no tun", "modprobe tun")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[BuildOptions]:
    """What would have been built, in a folder of its own."""
    found: list[BuildOptions] = []

    def built(options: BuildOptions, *_: Any, **__: Any) -> None:
        found.append(options)

    monkeypatch.setattr(build, "built", built)
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return found


def test_the_first_thing_that_is_missing_is_told_alone(
    asked: list[BuildOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    examined(monkeypatch, OK, SLOW, MISSING, TUN)
    done = CliRunner().invoke(app, ["setup"])
    assert getattr(done.exception, "exit_code", None) == 3
    assert (getattr(done.exception, "hint", None), "1 more after that" in str(done.exception)) == ("get Packer", True)
    assert "modprobe" not in done.output
    assert (asked, list(tmp_path.glob("*.json"))) == ([], [])


def test_a_fit_machine_builds_a_first_image_and_is_told_what_comes_next(
    asked: list[BuildOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    examined(monkeypatch, OK, SLOW)
    done = CliRunner().invoke(app, ["setup"])
    assert done.exit_code == 0, done.output
    assert [options.template for options in asked] == [Path("first-image.json")]
    body = json.loads((tmp_path / "first-image.json").read_text())
    assert check_image_template({name: body[name] for name in ("location", "identity", "properties")}).warnings == ()
    assert "vmkiln serve" in done.stderr
    (tmp_path / "first-image.json").write_text("{}")
    CliRunner().invoke(app, ["setup"])
    assert (tmp_path / "first-image.json").read_text() == "{}", "what is there is the user's"


def test_a_template_of_ones_own_is_built(
    asked: list[BuildOptions], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    examined(monkeypatch, OK)
    done = CliRunner().invoke(app, ["setup", "mine.json"])
    assert (done.exit_code, [options.template for options in asked]) == (0, [Path("mine.json")])
    assert (list(tmp_path.glob("*.json")), "first-image" in done.stderr) == ([], False)
