"""Each mistake in a template's file is told with its line and column, as compilers do, whatever it is written in."""

import json
from pathlib import Path
from typing import Any

import pytest
from json_contract import check_answer

from vmkiln.cli import main
from vmkiln.cli.written.written_template import WrittenTemplate
from vmkiln.errors import Mistake

JSON_BODY = """{
  // a comment
  "location": "westus2",
  "properties": {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
    "customize": [
      {"type": "Shell", "inline": ["true"]},
      {"type": "Sh"}
    ],
    "distribute": [{"type": "VHD", "runOutputName": "x"}],
    "buildTimeoutInMinutes": 3
  }
}
"""
YAML_BODY = """\
location: westus2
properties:
  source: {type: PlatformImage, publisher: Debian, offer: debian-12, sku: "12"}
  customize:
    - type: Shell
      inline: ["true"]
    - type: Sh
  distribute:
    - {type: VHD, runOutputName: x}
  buildTimeoutInMinutes: 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


def mistakes(capfd: pytest.CaptureFixture[str], name: str, text: str, *more: str) -> dict[str, tuple[Any, Any]]:
    """The places of the mistakes that `validate` finds in a file of this text, by their paths."""
    Path(name).write_text(text)
    assert ended("validate", name, *more, "--json") == 2
    found = json.loads(capfd.readouterr().out)
    check_answer("validate", found)
    told = found["mistakes"] if not found["valid"] else found["cannot_be_built_because"]
    return {one["path"]: (one["line"], one["column"]) for one in told}


def test_mistakes_have_their_lines_in_json(capfd: pytest.CaptureFixture[str]) -> None:
    found = mistakes(capfd, "web.json", JSON_BODY)
    assert found["properties.customize[1].type"] == (8, 8)
    assert found["properties.buildTimeoutInMinutes"] == (11, 5)
    assert ended("build", "web.json", "--json") == 2
    told = json.loads(capfd.readouterr().out)["error"]
    assert [(one["line"], one["column"]) for one in told["details"]] == list(found.values())
    assert "\n  web.json:8:8: properties.customize[1].type: " in told["message"]


def test_mistakes_have_their_lines_in_yaml(capfd: pytest.CaptureFixture[str]) -> None:
    found = mistakes(capfd, "web.yaml", YAML_BODY)
    assert found["properties.customize[1].type"] == (7, 7)
    assert found["properties.buildTimeoutInMinutes"] == (10, 3)


def test_mistakes_have_their_lines_in_a_deployment(capfd: pytest.CaptureFixture[str]) -> None:
    """Paths begin at the image template, which stands somewhere inside."""
    body = {"type": "Microsoft.VirtualMachineImages/imageTemplates", "apiVersion": "2024-02-01", "name": "web"}
    inside = json.dumps({**body, "identity": {"type": "None"}})[:-1] + "," + JSON_BODY.lstrip("{")
    text = '{"resources": [\n{"type": "Other/things", "name": "a", "apiVersion": "2024-02-01"},\n' + inside + "]}"
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    found = mistakes(capfd, "main.json", '{"$schema": "' + schema + '", "contentVersion": "1.0.0.0",' + text[1:])
    assert found["properties.customize[1].type"] == (10, 8)
    assert found["properties.buildTimeoutInMinutes"] == (13, 5)


@pytest.mark.parametrize(
    ("begin", "lines"),
    [
        ('{"$schema": "x",\n"parameters": {},\n"resources": [', {"parameters.a": 2, "resources[0].name": 4}),
        ('{"$schema": "x",\n\n"resources": [', {"parameters.a": 0, "outputs.a": 0}),
        ('{"properties":\n{"template": {"$schema": "x",\n"resources": [', {"parameters.a": 0}),
        ('{"id": "x",\n"properties": {"source": {}},\n"value": [', {}),
    ],
)
def test_a_line_is_that_of_the_template_or_of_what_is_around_it(begin: str, lines: dict[str, int]) -> None:
    """A parameter that nobody declares was told at the image template, and a source in a request at its beginning."""
    inside = '\n{"type": "Microsoft.VirtualMachineImages/imageTemplates", "name": "web",\n"properties": {"source": 1}}'
    text = begin + inside + "]" + "}" * (begin.count("{") - begin.count("}"))
    wanted = {"identity": 4, "properties.source.type": 5, "properties.customize": 5, **lines}
    written = WrittenTemplate("a.json", "json", text, text)
    found = written.placed([Mistake(path, "is odd") for path in wanted])
    assert {mistake.path: mistake.line for mistake in found} == wanted


def test_what_is_no_json_has_its_line_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert mistakes(capfd, "bad.yaml", "a: 1\nproperties: [\n") == {"bad.yaml:3:1": (3, 1)}
    assert mistakes(capfd, "bad.json", '{\n  "properties": }') == {"bad.json:2:17": (2, 17)}


def test_what_cannot_be_built_here_has_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    good = JSON_BODY.replace('"Sh"}', '"Shell", "inline": ["true"]}').replace('Minutes": 3', 'Minutes": 60')
    text = good.replace('"sku": "12"', '"sku": "13x"').replace('"location"', '"identity": {"type": "None"}, "location"')
    found = mistakes(capfd, "sku.json", text)
    assert [place[0] for place in found.values()] == [5]
    for command in (["build"], ["build", "--dry-run"], ["plan"], ["validate"]):
        assert ended(*command, "sku.json") == 2
        assert "\n  sku.json:5:" in capfd.readouterr().err


def test_what_is_compiled_has_no_lines() -> None:
    """Those of the JSON that comes out are nowhere in the author's file."""
    mistake = Mistake("properties.source", "is odd")
    assert WrittenTemplate("a.bicep", "bicep", "resource a", '{"properties": {"source": 1}}').placed([mistake]) == (
        mistake,
    )
