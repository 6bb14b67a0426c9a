"""What a CI is told of a command that ended before there was a run: each mistake at its line."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.cli import main

TEMPLATE: dict[str, Any] = {
    "type": "Microsoft.VirtualMachineImages/imageTemplates",
    "apiVersion": "2025-10-01",
    "name": "web",
    "location": "westus2",
    "identity": {"type": "None"},
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "buildTimeoutInMinutes": 3,
        "customize": [{"type": "Shel", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
    },
}
PLACE = "images/web,1:2.json"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    Path("images").mkdir()
    Path(PLACE).write_text(json.dumps(TEMPLATE, indent=1))


def told(capfd: pytest.CaptureFixture[str], *words: str) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        main.main(list(words))
    assert ended.value.code == 2
    return [line for line in capfd.readouterr().out.splitlines() if line.startswith("::")]


@pytest.mark.parametrize("command", ["validate", "build"])
def test_each_mistake_is_marked_at_its_line_of_the_file_that_was_named(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A check that failed had its reason in the log only, and nothing beside the line of the change."""
    marks = told(capfd, command, PLACE, "--ci-marks", "github")
    lines = Path(PLACE).read_text().splitlines()
    expected = {"buildTimeoutInMinutes": "properties.buildTimeoutInMinutes", "Shel": "properties.customize[0].type"}
    assert len(marks) == len(expected)
    for word, path in expected.items():
        number = next(index for index, line in enumerate(lines, 1) if word in line)
        (mark,) = [one for one in marks if f"::{path}: " in one]
        assert mark.startswith(f"::error file=images/web%2C1%3A2.json,line={number},col=")
        assert ",title=vmkiln ValidationFailed::" in mark


@pytest.mark.parametrize("command", ["validate", "build"])
def test_what_cannot_be_built_here_and_what_is_no_template_is_marked_too(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(Path(PLACE).read_text())
    found["properties"] |= {"buildTimeoutInMinutes": 60, "customize": []}
    found["properties"]["source"]["sku"] = "13x"
    Path(PLACE).write_text(json.dumps(found))
    (mark,) = told(capfd, command, PLACE, "--ci-marks", "github")
    assert ",line=1,col=" in mark
    assert "::properties.source: the catalogue has no platform image" in mark
    (mark,) = told(capfd, command, "nothing.json", "--ci-marks", "github")
    assert mark == "::error title=vmkiln BadInput::there is no file nothing.json"


FORGED = "a\n  ::error file=README.md,line=1::forged\n##[error]forged"
FORGERIES: dict[str, dict[str, Any]] = {
    "an unknown member": {FORGED: 1},
    "no image": {"source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": FORGED}},
    "another type": {"customize": [{"type": FORGED}]},
}


@pytest.mark.parametrize("more", [[], ["--ci-marks", "github"]], ids=["unmarked", "marked"])
@pytest.mark.parametrize("command", [["validate"], ["build"], ["build", "--dry-run"]], ids=" ".join)
@pytest.mark.parametrize("forgery", [*FORGERIES, "a variable"])
def test_no_line_that_a_template_wrote_is_obeyed_by_a_ci(
    forgery: str, command: list[str], more: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """GitHub obeys lines of standard error too, also behind blanks: a template marked files that it does not touch."""
    found = {**TEMPLATE, "properties": {**TEMPLATE["properties"], "buildTimeoutInMinutes": 60, "customize": []}}
    found["properties"] |= FORGERIES.get(forgery, {})
    if forgery == "a variable":
        found = {"contentVersion": "1.0.0.0", "resources": [{**found, "name": f"[variables('{FORGED}')]"}]}
    Path(PLACE).write_text(json.dumps(found))
    with pytest.raises(SystemExit):
        main.main([*command, PLACE, *(more if "--dry-run" not in command else [])])
    said = capfd.readouterr()
    lines = (said.out + said.err).splitlines()
    assert any("forged" in line for line in lines), "it is shown"
    begins = ("::error file=images/web%2C1%3A2.json,", "::error title=vmkiln")
    ours = [line for line in lines if line.startswith(begins)]
    assert not [line for line in lines if line.lstrip().startswith("::") and line not in ours]
    assert not [line for line in lines if "##[" in line and line not in ours]


def test_a_mistake_in_a_nested_template_is_marked_at_its_own_line(capfd: pytest.CaptureFixture[str]) -> None:
    """The line of the deployment around it was marked, which has a condition, too."""
    inner = {"contentVersion": "1.0.0.0", "resources": [{"condition": "maybe", **TEMPLATE}]}
    nested = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "inner",
        "condition": True,
        "properties": {"mode": "Incremental", "template": inner, "expressionEvaluationOptions": {"scope": "inner"}},
    }
    Path(PLACE).write_text(json.dumps({"contentVersion": "1.0.0.0", "resources": [nested]}, indent=1))
    (mark,) = told(capfd, "validate", PLACE, "--ci-marks", "github")
    lines = Path(PLACE).read_text().splitlines()
    number = next(index for index, line in enumerate(lines, 1) if "maybe" in line)
    assert f",line={number}," in mark


@pytest.mark.parametrize("more", [[], ["--ci-marks", "gitlab"], ["--ci-marks", "github", "--json"]])
def test_nothing_is_marked_unasked_or_where_it_would_break_json(
    more: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    for command in ("validate", "build"):
        assert told(capfd, command, PLACE, *more) == []
